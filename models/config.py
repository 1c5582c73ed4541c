"""What can be chosen about a model, and what an environment says about its grid.

Both travel in RLlib's ``model_config``, a plain dict that survives JSON: the fields of
`ModelConfig` at the top level, and the environment's channels under `GRID_CHANNELS`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

GRID_CHANNELS = "grid_channels"
"""Key of RLlib's ``model_config`` that holds the environment's list of grid channels."""

EncoderName = Literal["small", "blog", "mlp"]
Precision = Literal["float32", "bfloat16"]
ChannelKind = Literal["flag", "category"]

# PPO and APPO write this into every model_config. It asks for nothing here: actor and critic
# always share the encoder and the memory. `max_seq_len` is RLlib's own: the pieces that its learner
# pipeline cuts episodes into; it follows the algorithm's fragment length, not the model.
_RLLIB_KEYS = frozenset({"vf_share_layers", "max_seq_len"})


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Size and shape of the actor-critic network."""

    encoder: EncoderName = "small"
    """What reads the grid: `small`, a strided CNN made for CPUs; `blog`, the 64-channel CNN of the
    original experiment; `mlp`, the flattened grid, a baseline that can't see what lies beside
    what."""

    lstm: bool = True
    """Whether the network remembers. Without, it is a feed-forward net on the present view."""

    grid_planes: int = 8
    """Planes that the encoder reads: every flag and every value of a category has a learned vector
    of this length, summed per cell. 0 gives each flag and each value a plane of its own (one-hot),
    which costs about twice as much and learned more slowly on a task of seeing."""

    global_size: int = 32
    """Width of the layer that reads the `global` vector."""

    hidden_size: int = 128
    """Width of the layer that joins the grid's and the global features; the LSTM's input."""

    lstm_size: int = 128
    """Width of the LSTM's state (h and c each). Unused without `lstm`."""

    precision: Precision = "float32"
    """What the layers between the grid's first convolution and the LSTM compute in, acting and
    learning alike. The weights, that convolution, the LSTM, actor and critic are float32 in any
    case."""

    def __post_init__(self) -> None:
        if self.encoder not in get_args(EncoderName):
            raise ValueError(
                f"encoder {self.encoder!r} is unknown: choose one of {_listed(EncoderName)}."
            )
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision {self.precision!r} is unknown: choose one of {_listed(Precision)}."
            )
        if not isinstance(self.lstm, bool):
            raise ValueError(f"lstm must be True or False, not {self.lstm!r}.")
        for name, least in (
            ("grid_planes", 0),
            ("global_size", 1),
            ("hidden_size", 1),
            ("lstm_size", 1),
        ):
            value = getattr(self, name)
            if not _is_int(value) or value < least:
                raise ValueError(
                    f"{name} is {value!r}: give an integer, {least} or more"
                    f" (default {getattr(ModelConfig, name)})."
                )

    def to_dict(
        self, *, grid_channels: Sequence[Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Returns RLlib's ``model_config``: a plain dict that JSON can hold.

        Args:
            grid_channels: The environment's channels, in the grid's order; see
                `parse_grid_channels`. Left out of the dict if None.
        """
        fields = dataclasses.asdict(self)
        if grid_channels is not None:
            fields[GRID_CHANNELS] = [dict(channel) for channel in grid_channels]
        return fields

    @classmethod
    def from_dict(cls, model_config: Mapping[str, Any]) -> ModelConfig:
        """Reads the fields from RLlib's ``model_config``; the grid's channels are left alone.

        Raises:
            ValueError: A key is unknown or a value makes no sense.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        for key in model_config:
            if key not in fields | {GRID_CHANNELS} | _RLLIB_KEYS:
                near = difflib.get_close_matches(key, fields | {GRID_CHANNELS}, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(fields)}."
                raise ValueError(f"model_config has the unknown key {key!r}: {remedy}")
        return cls(**{key: value for key, value in model_config.items() if key in fields})


@dataclass(frozen=True, kw_only=True)
class GridChannel:
    """What the bytes of one channel of the grid mean."""

    name: str
    """The environment's name for the channel, for messages."""

    kind: ChannelKind
    """`flag`: 0 or 1. `category`: 0 means that nothing is there, 1.. name what is; the numbers have
    no order."""

    num_values: int
    """Values that a byte can take, 0 included. 2 for a flag."""


def parse_grid_channels(
    model_config: Mapping[str, Any], num_channels: int
) -> tuple[GridChannel, ...]:
    """Reads what the environment says about its grid.

    Args:
        model_config: RLlib's dict. Under `GRID_CHANNELS` one dict a channel, such as
            ``{"name": "solid", "kind": "flag"}`` or
            ``{"name": "thing", "kind": "category", "num_values": 5}``. Other keys of a channel,
            texts for people for instance, are ignored.
        num_channels: Channels of the grid in the observation space.

    Raises:
        ValueError: The list is missing, has another length than the grid, or a channel makes no
            sense.
    """
    listed = model_config.get(GRID_CHANNELS)
    if listed is None:
        raise ValueError(
            f"model_config has no {GRID_CHANNELS!r}: add the environment's list of channels,"
            " one dict with 'name' and 'kind' for each."
        )
    if len(listed) != num_channels:
        raise ValueError(
            f"{GRID_CHANNELS} describes {len(listed)} channels but the observation's grid has"
            f" {num_channels}: describe each of them once, in the grid's order."
        )
    return tuple(_parse_channel(index, channel) for index, channel in enumerate(listed))


def _parse_channel(index: int, channel: Mapping[str, Any]) -> GridChannel:
    name = str(channel.get("name", f"number {index}"))
    kind = channel.get("kind")
    if kind not in get_args(ChannelKind):
        raise ValueError(
            f"grid channel {name!r} has kind {kind!r}: choose one of {_listed(ChannelKind)}."
        )
    num_values = channel.get("num_values", 2 if kind == "flag" else None)
    if kind == "flag" and num_values != 2:
        raise ValueError(
            f"grid channel {name!r} is a flag with num_values {num_values!r}: leave it out, or"
            " make it a category."
        )
    if not _is_int(num_values) or not 2 <= num_values <= 256:
        raise ValueError(
            f"grid channel {name!r} is a category with num_values {num_values!r}: give an integer"
            " from 2 to 256, the value 0 (nothing there) included."
        )
    return GridChannel(name=name, kind=kind, num_values=num_values)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(literal: Any) -> str:
    return ", ".join(repr(name) for name in get_args(literal))
