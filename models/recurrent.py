"""The default model: one network that sees, remembers, acts and judges.

    grid   uint8   (C, height, width) -> CNN  -+
                                               +-> concat -> Linear -> LSTM -+-> actor: logits
    global float32 (G,)               -> MLP  -+                             +-> critic: value

With `lstm=False` actor and critic read the joint layer, and only the present view counts. Games
without a grid are read by `models.readers.Reader` in place of CNN, MLP and joint layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from models.config import ModelConfig, parse_grid_channels
from models.encoders import build_encoder
from models.lstm import State, unroll, zero_state
from models.readers import Reader

EPISODE_START = "episode_start"
"""Key of a batch: bool, (B, T) or (B,), true where a step is the first of its episode. Without it
no episode starts in the batch, and the states given are used as they are."""


class RecurrentActorCritic(TorchRLModule, ValueFunctionAPI):
    """Actor-critic with a CNN and an optional LSTM, for RLlib's new API stack.

    The observation space is a Dict of `grid`, uint8 (C, height, width), and `global`, float32
    (G,), or without a grid of numbers and pictures, see `models.readers`; the action space is
    Discrete. ``model_config`` holds the fields of `ModelConfig` and, with a grid, the environment's
    channels under `GRID_CHANNELS`.

    A batch holds, with or without the axis T:

    ====================  ==============================================  =========================
    ``obs``               ``grid`` uint8 (B, T, C, height, width),
                          ``global`` float32 (B, T, G)
    ``state_in``          ``h`` and ``c``, float32 (B, L): before the
                          first step                                      only with an LSTM
    `EPISODE_START`       bool (B, T)                                     optional
    ====================  ==============================================  =========================

    and the answer ``action_dist_inputs``, float32 (B, T, num_actions), with an LSTM ``state_out``,
    and from the train forward ``embeddings``, float32 (B, T, L), which `compute_values` takes so
    that the network runs once.

    The critic stays in place on env runners (this is no `InferenceOnlyAPI`): who samples records
    values with one linear layer more.

    Raises:
        ValueError: Spaces or model_config make no sense for this model.
    """

    def __init__(self, *args: Any, catalog_class: Any = None, **kwargs: Any) -> None:
        # RLlib fills in its algorithm's catalog, which can't read a Dict space and warns about it.
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Builds the network; RLlib calls it once."""
        config = ModelConfig.from_dict(self.model_config)
        num_actions = _check_actions(self.action_space)
        self.settings = config
        self.reader: Reader | None = None
        if _has_grid(self.observation_space):
            self._build_grid_layers(config)
        else:
            self.reader = Reader(self.observation_space, config.hidden_size)
        self.lstm = None
        embedding_size = config.hidden_size
        if config.lstm:
            self.lstm = nn.LSTM(config.hidden_size, config.lstm_size, batch_first=True)
            embedding_size = config.lstm_size
        self.actor = nn.Linear(embedding_size, num_actions)
        self.critic = nn.Linear(embedding_size, 1)
        self._initialise()

    def _build_grid_layers(self, config: ModelConfig) -> None:
        grid_shape, global_length = _check_observations(self.observation_space)
        self.encoder = build_encoder(
            config.encoder,
            grid_shape,
            parse_grid_channels(self.model_config, grid_shape[0]),
            num_planes=config.grid_planes,
            hidden_size=config.hidden_size,
        )
        self.global_net = nn.Sequential(
            nn.Linear(global_length, config.global_size), nn.ReLU(inplace=True)
        )
        self.joint = nn.Sequential(
            nn.Linear(self.encoder.num_features + config.global_size, config.hidden_size),
            nn.ReLU(inplace=True),
        )

    def get_initial_state(self) -> State:
        """State that an episode starts with, without the batch axis: `h` and `c`, zeros (L,).

        Empty without an LSTM, from which RLlib sees that the module isn't stateful.
        """
        if self.lstm is None:
            return {}
        return {key: value[0] for key, value in self.initial_states(1).items()}

    def initial_states(self, num_rows: int) -> State:
        """States that episodes start with: `h` and `c`, zeros (num_rows, L); {} without an LSTM."""
        if self.lstm is None:
            return {}
        return zero_state(num_rows, self.lstm.hidden_size, like=self.actor.weight.detach())

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, Tensor],
        states: State,
        episode_start: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, State]:
        """One step for many rows, without gradients and without RLlib's batches.

        Args:
            observations: `grid` uint8 (B, C, height, width) and `global` float32 (B, G).
            states: Before the step, `h` and `c` float32 (B, L); {} without an LSTM.
            episode_start: bool (B,), rows whose episode begins with this step.

        Returns:
            logits: float32 (B, num_actions).
            values: float32 (B,).
            states: After the step.
        """
        embeddings, states = self._embed(observations, states, episode_start)
        return self.actor(embeddings), self._value(embeddings), states

    def unroll(
        self, features: Tensor, state: State, episode_start: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Runs the memory over features (B, T, hidden_size); see `models.lstm.unroll`."""
        return unroll(self.lstm, features, state, episode_start)

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Value estimates, float32 (B, T), or (B,) for a batch without time.

        Args:
            batch: As for the forward passes; not read if `embeddings` are given.
            embeddings: What `forward_train` gave for this batch, to save a second pass.
        """
        if embeddings is None:
            embeddings, _ = self._embed_batch(batch)
        return self._value(embeddings)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        embeddings, states = self._embed_batch(batch)
        answer = {Columns.ACTION_DIST_INPUTS: self.actor(embeddings)}
        # RLlib's default module returns no empty states either: connectors would store them.
        return answer | ({Columns.STATE_OUT: states} if states else {})

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        embeddings, states = self._embed_batch(batch)
        answer = {
            Columns.ACTION_DIST_INPUTS: self.actor(embeddings),
            Columns.EMBEDDINGS: embeddings,
        }
        return answer | ({Columns.STATE_OUT: states} if states else {})

    def _embed_batch(self, batch: Mapping[str, Any]) -> tuple[Tensor, State]:
        states = batch.get(Columns.STATE_IN, {})
        return self._embed(batch[Columns.OBS], states, batch.get(EPISODE_START))

    def _embed(
        self, observations: Mapping[str, Tensor], states: State, episode_start: Tensor | None
    ) -> tuple[Tensor, State]:
        """What actor and critic read, float32 (B, [T,] L), and the states after the last step."""
        if self.reader is not None:
            leading = self.reader.leading(observations)
        else:
            leading = observations["grid"].shape[:-3]
        if len(leading) not in (1, 2):
            name, first = next(iter(observations.items()))
            raise ValueError(
                f"the {name} arrives with shape {tuple(first.shape)}: give it a batch axis, and a"
                " time axis behind it or none."
            )
        is_bfloat16 = self.settings.precision == "bfloat16"
        device = next(iter(observations.values())).device.type
        with torch.autocast(device, torch.bfloat16, enabled=is_bfloat16):
            read = self._read_grid if self.reader is None else self.reader
            features = read(observations)
        features = features.float().view(*leading, -1)
        if self.lstm is None:
            return features, {}
        if not states:
            raise ValueError(
                "the batch has no 'state_in' but the model remembers: pass the states before the"
                " first step, initial_states(num_rows) at the start, or choose lstm=False."
            )
        if episode_start is not None:
            if episode_start.shape != leading:
                raise ValueError(
                    f"episode_start has shape {tuple(episode_start.shape)}: give it the leading"
                    f" axes of the observations, {tuple(leading)}."
                )
            episode_start = episode_start.bool()
        if len(leading) == 2:
            return self.unroll(features, states, episode_start)
        start = None if episode_start is None else episode_start[:, None]
        outputs, states = self.unroll(features[:, None], states, start)
        return outputs[:, 0], states

    def _read_grid(self, observations: Mapping[str, Tensor]) -> Tensor:
        """What CNN and MLP find, joined: (N, hidden_size), leading axes made one."""
        grid, global_vector = observations["grid"], observations["global"]
        grid_features = self.encoder(grid.reshape(-1, *grid.shape[-3:]))
        global_features = self.global_net(global_vector.reshape(-1, global_vector.shape[-1]))
        features: Tensor = self.joint(torch.cat([grid_features, global_features], -1))
        return features

    def _value(self, embeddings: Tensor) -> Tensor:
        return self.critic(embeddings).squeeze(-1)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Orthogonal weights, zero biases.

        The usual start for PPO (Engstrom et al. 2020, Andrychowicz et al. 2021): gain sqrt(2)
        before a ReLU, 1 for the value, 0.01 for the logits, so that every action is about equally
        likely at first. The forget gate's bias is 1 (Jozefowicz et al. 2015): a cell that halves
        at every step, as with bias 0, carries next to no gradient from a cue a dozen steps ago.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.orthogonal_(module.weight, math.sqrt(2))
                nn.init.zeros_(module.bias)
        nn.init.orthogonal_(self.actor.weight, 0.01)
        nn.init.orthogonal_(self.critic.weight, 1.0)
        if self.lstm is not None:
            nn.init.orthogonal_(self.lstm.weight_ih_l0)
            nn.init.orthogonal_(self.lstm.weight_hh_l0)
            nn.init.zeros_(self.lstm.bias_ih_l0)
            nn.init.zeros_(self.lstm.bias_hh_l0)
            # Gates lie in the order i, f, g, o; the two biases add up.
            self.lstm.bias_ih_l0[self.lstm.hidden_size : 2 * self.lstm.hidden_size] = 1.0


def _has_grid(space: gym.Space[Any]) -> bool:
    """Whether the game shows a grid; without, its parts must be numbers or pictures."""
    if not isinstance(space, gym.spaces.Dict) or not space.spaces:
        raise ValueError(
            f"the observation space is {space}: this model reads a Dict with 'grid' and 'global',"
            " or of numbers and pictures."
        )
    return "grid" in space.spaces


def _check_observations(space: gym.Space[Any]) -> tuple[tuple[int, int, int], int]:
    """Shape of the grid and length of the global vector."""
    parts = dict(space.spaces)  # type: ignore[attr-defined]
    grid, global_vector = parts["grid"], parts.get("global")
    if global_vector is None:
        raise ValueError(
            f"the observation space is {space}: this model reads a Dict with 'grid' and 'global'."
        )
    if len(grid.shape or ()) != 3 or grid.dtype != np.uint8:
        raise ValueError(
            f"the observation's grid is {grid}: give a uint8 Box (channels, height, width)."
        )
    if len(global_vector.shape or ()) != 1:
        raise ValueError(f"the observation's global part is {global_vector}: give a flat Box.")
    return grid.shape, global_vector.shape[0]


def _check_actions(space: gym.Space[Any]) -> int:
    """Number of actions."""
    if not isinstance(space, gym.spaces.Discrete):
        raise ValueError(f"the action space is {space}: this model needs a Discrete one.")
    return int(space.n)
