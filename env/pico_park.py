"""Pico Park: its config, its reward terms and presets, and the batched simulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from env.batch import BatchedGame, ObservationPart, Rewards, check_config, create, native
from env.errors import BadInputError, unknown_name

Preset = Literal["meadow", "gates", "curtains", "tunnels", "gauntlet", "classic", "lanes"]
Layout = Literal["ladder", "classic"]
OnDeath = Literal["defeat", "continue"]

LAYOUTS: tuple[Layout, ...] = ("ladder", "classic")
ON_DEATH: tuple[OnDeath, ...] = ("defeat", "continue")


def presets() -> tuple[str, ...]:
    """Names of the difficulties, from easy to hard, then `classic` and `lanes`."""
    module = native()
    count = module.lib.pico_num_presets()
    return tuple(module.ffi.string(module.lib.pico_preset_name(i)).decode() for i in range(count))


@dataclass(frozen=True, kw_only=True)
class PicoParkConfig:
    """What decides a game of Pico Park, but for rewards and seeds.

    Fields that are None follow the preset; explicit ones override it, also where a level asks for
    another difficulty by name.
    """

    preset: Preset = "tunnels"
    """Difficulty of the levels: meadow, gates, curtains, tunnels, gauntlet; classic; lanes."""
    num_agents: int = 4
    """Cats in the team, 2 to 8; each has a colour of its own."""
    height: int = 14
    """Rows of a level, 4 to 64."""
    screen_width: int = 25
    """Columns that the screen shows; nobody may leave it."""
    shot_cooldown: int = 3
    """Ticks from one shot to the next."""
    time_limit: int = 0
    """Ticks until the level is lost; 0: max(0, length - 25) * scroll_period + 100."""
    on_death: OnDeath = "defeat"
    """Whether a death ends the level at once, or the others play on (and still can't win)."""
    layout: Layout | None = None
    """Obstacle course of the ladder, or the original experiment's layout."""
    length: int | None = None
    """Columns of a level."""
    scroll_period: int | None = None
    """Ticks until the screen moves on by a column."""
    bullet_speed: int | None = None
    """Tiles that a bullet flies in a tick."""
    bullets_per_agent: int | None = None
    """Bullets that a cat may have in the air at once; 0: no limit."""
    spacing_min: int | None = None
    """Fewest free columns between two obstacles."""
    spacing_max: int | None = None
    """Most free columns between two obstacles."""
    gap_min: int | None = None
    """Fewest rows of a gap in a wall."""
    gap_max: int | None = None
    """Most rows of a gap in a wall."""
    depth_min: int | None = None
    """Fewest columns of a tunnel."""
    depth_max: int | None = None
    """Most columns of a tunnel."""
    share_open: int | None = None
    """Relative frequency of walls with open gaps."""
    share_gate: int | None = None
    """Relative frequency of gates: gaps plugged with one colour."""
    share_curtain: int | None = None
    """Relative frequency of curtains: full-height runs of colours."""
    share_tunnel: int | None = None
    """Relative frequency of tunnels."""
    all_colours: bool | None = None
    """Whether levels are drawn until every colour is needed (at least four of more than four)."""

    def __post_init__(self) -> None:
        if self.preset not in presets():
            raise unknown_name("preset", str(self.preset), presets())
        for name, known in (("on_death", ON_DEATH), ("layout", (*LAYOUTS, None))):
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), [str(k) for k in known if k])
        for one in fields(self):
            value = getattr(self, one.name)
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if one.type in ("int", "int | None") and value is not None and not is_number:
                raise BadInputError(f"{one.name} is {value!r}; it must be a whole number.")
            if is_number and not -(1 << 31) <= value < 1 << 31:
                raise BadInputError(f"{one.name} is {value}; that is beyond 32 bits.")
        check_config(native().lib.pico_check_config, self.to_native())

    def at(self, preset: str) -> PicoParkConfig:
        """This team and screen on another preset as published, without this one's overrides."""
        if preset == self.preset:
            return self
        of_levels = {name for name, _ in native().ffi.typeof("pico_difficulty").fields}
        return dataclasses.replace(
            self,
            preset=preset,  # type: ignore[arg-type]
            time_limit=0,
            **dict.fromkeys(of_levels),  # type: ignore[arg-type]
        )

    def to_native(self) -> Any:
        """The C struct `pico_config *`: every preset is a difficulty, explicit fields override."""
        module = native()
        config = module.ffi.new("pico_config *")
        names = presets()
        for name in ("num_agents", "height", "screen_width", "shot_cooldown", "time_limit"):
            setattr(config, name, getattr(self, name))
        config.on_death = ON_DEATH.index(self.on_death)
        config.num_difficulties = len(names)
        config.difficulty = names.index(self.preset)
        for index in range(len(names)):
            row = module.lib.pico_preset(index)
            for name, _ in module.ffi.typeof("pico_difficulty").fields:
                value = getattr(self, name)
                if name == "layout" and value is not None:
                    value = LAYOUTS.index(value)
                if value is not None:
                    setattr(row, name, int(value))
            config.difficulties[index] = row
        return config


def _weight(default: float, *, blog: float, low: float, high: float) -> Any:
    """A reward weight: its default, the `blog` preset's, and the range that sweeps draw from."""
    return field(default=default, metadata={"blog": blog, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class PicoParkRewards(Rewards):
    """Reward weights of Pico Park: what each event pays, per cat and tick.

    This table is the one place of a term's default, its `blog` value and its sweep range; its order
    and names are checked against the C code's.
    """

    victory: float = _weight(2.0, blog=1.0, low=0.0, high=4.0)
    """To everyone, when all are out."""
    defeat: float = _weight(0.0, blog=0.0, low=-2.0, high=0.0)
    """To everyone, when the level is lost."""
    stranded: float = _weight(0.0, blog=-0.5, low=-1.0, high=0.0)
    """To each cat that is not out when the level is lost."""
    crushed: float = _weight(-0.5, blog=-0.3, low=-1.0, high=0.0)
    """To the cat that dies at the screen's edge."""
    shot: float = _weight(-0.5, blog=-0.2, low=-1.0, high=0.0)
    """To the cat that a bullet kills."""
    friendly_kill: float = _weight(-0.5, blog=-0.5, low=-1.0, high=0.0)
    """To the shooter whose bullet kills a team-mate."""
    key: float = _weight(0.5, blog=0.5, low=0.0, high=1.0)
    """To the cat that takes the key, each time."""
    unlock: float = _weight(0.0, blog=0.2, low=0.0, high=1.0)
    """To the holder that opens the door."""
    exit: float = _weight(0.5, blog=0.3, low=0.0, high=1.0)
    """To the cat that leaves by the door."""
    progress_key: float = _weight(0.02, blog=0.01, low=0.0, high=0.1)
    """Per tile nearer to the key while it lies on the ground; farther is negative."""
    progress_unlock: float = _weight(0.02, blog=0.05, low=0.0, high=0.1)
    """Per tile that the holder comes nearer to the closed door."""
    progress_follow: float = _weight(0.02, blog=0.0, low=0.0, high=0.1)
    """Per tile that the others come nearer to the closed door while somebody holds the key."""
    progress_exit: float = _weight(0.02, blog=0.05, low=0.0, high=0.1)
    """Per tile nearer to the open door."""
    own_block: float = _weight(0.05, blog=0.05, low=0.0, high=0.2)
    """To the shooter whose bullet destroys a block."""
    foreign_block: float = _weight(-0.003, blog=0.0, low=-0.02, high=0.0)
    """To the shooter whose bullet ends in a block of another colour."""
    wasted_shot: float = _weight(-0.003, blog=-0.02, low=-0.02, high=0.0)
    """To the shooter whose bullet ends in a wall or in nothing."""
    alive: float = _weight(0.0, blog=0.0, low=0.0, high=0.02)
    """Every tick in play: a keep-alive reward."""
    team_share: float = _weight(0.2, blog=0.0, low=0.0, high=1.0)
    """Share of everyone's own reward that is averaged over the whole team."""

    @classmethod
    def preset(cls, name: str) -> PicoParkRewards:
        """The weights named `default` or `blog` (the game's first author's)."""
        if name == "default":
            return cls()
        if name == "blog":
            return cls(**{one.name: one.metadata["blog"] for one in fields(cls)})
        raise unknown_name("reward preset", name, ("default", "blog"))


# dataclasses puts the base's field first; the weights are said by name, so order is ours to choose.
assert PicoParkRewards.terms()[0] == "victory"


WALL_TILE = 9
"""A wall in `Frame.tiles`."""


@dataclass(frozen=True, kw_only=True)
class Cat:
    """One agent, for drawing."""

    row: int
    column: int
    """Where it is, left by the door, or died."""
    status: Literal["playing", "out", "dead"]
    cooldown: int
    """Ticks until it may shoot."""
    holds_key: bool


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stands where in a game, for drawing."""

    tick: int
    """Ticks played."""
    left: int
    """The screen's left column."""
    tiles: NDArray[np.uint8]
    """(height, length): 0 free, 1 to 8 a block of colour 0 to 7, 9 wall; as if nothing stood on
    it."""
    cats: tuple[Cat, ...]
    """By seat."""
    bullets: tuple[tuple[int, int, int], ...]
    """Row, column and owner of each, the oldest first."""
    key: tuple[int, int] | None
    """Row and column while it lies on the ground."""
    door: tuple[int, int]
    door_is_open: bool


_STATUS: tuple[Literal["playing", "out", "dead"], ...] = ("playing", "out", "dead")
_KEY_ON_GROUND, _KEY_HELD = 0, 1

_OTHER_BLOCK, _OTHER_AGENT, _THING = 2, 3, 4
"""Channels of the grid."""
_HOLDS_KEY, _BULLET = 8, 1
"""What is added to an agent that holds the key; a bullet among the things."""


def _hide_teammates(seen: Mapping[str, NDArray[Any]]) -> None:
    seen["grid"][..., _OTHER_AGENT, :, :] = 0


def _hide_teammate_colours(seen: Mapping[str, NDArray[Any]]) -> None:
    """Every team-mate looks like the next seat's."""
    agents = seen["grid"][..., _OTHER_AGENT, :, :]
    agents[agents > 0] = agents[agents > 0] & _HOLDS_KEY | 1


def _hide_block_colours(seen: Mapping[str, NDArray[Any]]) -> None:
    """Every block but one's own looks like the next seat's."""
    blocks = seen["grid"][..., _OTHER_BLOCK, :, :]
    blocks[blocks > 0] = 1


def _hide_other_blocks(seen: Mapping[str, NDArray[Any]]) -> None:
    seen["grid"][..., _OTHER_BLOCK, :, :] = 0


def _hide_bullets(seen: Mapping[str, NDArray[Any]]) -> None:
    things = seen["grid"][..., _THING, :, :]
    things[things == _BULLET] = 0


class PicoPark(BatchedGame):
    """Games of Pico Park, all stepped by one call.

    >>> sim = PicoPark(num_envs=256, config=PicoParkConfig(preset="gates"), seed=1)
    >>> sim.reset()
    >>> sim.step(np.full((256, 4), 5))
    """

    name = "pico_park"
    action_names = ("up", "down", "left", "right", "shoot", "idle")
    parts = (
        ObservationPart(
            name="grid",
            shape=(5, 14, 25),
            dtype=np.uint8,
            low=0,
            high=15,
            channels=(
                {"name": "solid", "kind": "flag", "num_values": 2},
                {"name": "own_block", "kind": "flag", "num_values": 2},
                {"name": "other_block", "kind": "category", "num_values": 8},
                {"name": "other_agent", "kind": "category", "num_values": 16},
                {"name": "thing", "kind": "category", "num_values": 5},
            ),
        ),
        ObservationPart(name="global", shape=(11,), dtype=np.float32, low=-1, high=1),
    )
    ablations = {  # noqa: RUF012 - a ClassVar of the base
        "teammates": _hide_teammates,
        "teammate_colours": _hide_teammate_colours,
        "block_colours": _hide_block_colours,
        "other_blocks": _hide_other_blocks,
        "bullets": _hide_bullets,
    }

    def __init__(
        self,
        num_envs: int,
        config: PicoParkConfig | None = None,
        rewards: PicoParkRewards | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> None:
        """Makes the games; `reset` starts them.

        Args:
            num_envs: games in the batch.
            config: rules and levels; `PicoParkConfig()` by default.
            rewards: weights; `PicoParkRewards()` by default.
            seed: of the streams of fresh levels: one integer, hashed with each game's index, or
                one integer a game. None: from the system, a different one every time.

        Raises:
            BadInputError: nonsense in one sentence.
        """
        if not isinstance(config, PicoParkConfig | None):
            raise BadInputError(f"config is {config!r}; it must be a PicoParkConfig.")
        self.config = config or PicoParkConfig()
        super().__init__(
            create(native().lib.pico_create, self.config.to_native(), num_envs),
            module=native(),
            rewards=rewards or PicoParkRewards(),
            difficulty_names=presets(),
            seed=seed,
        )

    @property
    def grid(self) -> NDArray[np.uint8]:
        """uint8 (num_envs, num_agents, 5, 14, 25): what each agent sees of the map."""
        return self.observations["grid"]

    @property
    def global_state(self) -> NDArray[np.float32]:
        """float32 (num_envs, num_agents, 11), all within [-1, 1]."""
        return self.observations["global"]

    @property
    def final_grid(self) -> NDArray[np.uint8]:
        """Last grids of the games that ended in this call, as `grid`."""
        return self.final_observations["grid"]

    @property
    def final_global(self) -> NDArray[np.float32]:
        """Last globals of the games that ended in this call, as `global_state`."""
        return self.final_observations["global"]

    def search(self, i: int) -> tuple[bool, bool, tuple[int, ...]]:
        """Whether key and door of game `i` can be reached, and which colours can't be spared."""
        found = self._ffi.new("pico_search *")
        self._check(self._lib.pico_search_level(self._batch, self._check_index(i), found))
        colours = tuple(c for c in range(self.num_agents) if found.colours_needed >> c & 1)
        return bool(found.key_reached), bool(found.door_reached), colours

    def frame(self, i: int, *, ended: bool = False) -> Frame:
        """As `BatchedGame.frame`."""
        found = self._ffi.new("pico_frame *")
        room = self._ffi.new("uint8_t[]", self._lib.PICO_MAX_HEIGHT * self._lib.PICO_MAX_LENGTH)
        capacity = 1024
        bullets = self._ffi.new("int32_t[]", 3 * capacity)
        status = self._lib.pico_show(
            self._batch, self._check_index(i), int(ended), found, room, bullets, capacity
        )
        self._check_shown(i, status)
        count = found.height * found.length
        tiles = np.frombuffer(self._ffi.buffer(room, count), np.uint8).copy()
        holder = found.key_holder if found.key_status == _KEY_HELD else -1
        return Frame(
            tick=found.tick,
            left=found.left,
            tiles=tiles.reshape(found.height, found.length),
            cats=tuple(
                Cat(
                    row=found.agent_row[k],
                    column=found.agent_column[k],
                    status=_STATUS[found.agent_status[k]],
                    cooldown=found.agent_cooldown[k],
                    holds_key=k == holder,
                )
                for k in range(self.num_agents)
            ),
            bullets=tuple(
                (bullets[3 * k], bullets[3 * k + 1], bullets[3 * k + 2])
                for k in range(min(found.num_bullets, capacity))
            ),
            key=(found.key_row, found.key_column) if found.key_status == _KEY_ON_GROUND else None,
            door=(found.door_row, found.door_column),
            door_is_open=bool(found.door_open),
        )

    def use_wide(self, wide: bool) -> None:
        """Chooses the wide or the portable code that writes observations; both write the same."""
        self._lib.pico_use_wide(self._batch, int(wide))
