"""Pong: its config, its reward terms, its scripted opponents, and the batched simulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from env.batch import BatchedGame, ObservationPart, Rewards, check_config, create, native
from env.errors import BadInputError, unknown_name

Preset = Literal["duel", "classic"]
Observation = Literal["coordinates", "pixels"]
Seat = Literal["left", "right"]
Opponent = Literal["nobody", "random", "tracker", "slow_tracker", "predictor"]

OBSERVATIONS: tuple[Observation, ...] = ("coordinates", "pixels")
SEATS: tuple[Seat, ...] = ("left", "right")
NUM_PIXELS = 84
"""Rows, and columns, of a picture."""
COORDINATES = ("ball x", "ball y", "own paddle", "other paddle", "ball vx", "ball vy")
"""What the numbers of a moment are; each over its largest value, the own seat on the left."""
HALF_WIDTH, HALF_HEIGHT, FACE, BACK, RADIUS = 400.0, 200.0, 370.0, 380.0, 10.0
"""The court, for drawing: units from the middle, where a paddle's face and back are; the ball."""
DIFFICULTIES = ("plain", "mirrored")
"""How a seed is served: mirrored, it gives the mirrored game."""


def _names(name_of: Any) -> tuple[str, ...]:
    module = native()
    found: list[str] = []
    while (text := name_of(len(found))) != module.ffi.NULL:
        found.append(module.ffi.string(text).decode())
    return tuple(found)


def presets() -> tuple[str, ...]:
    """Names of the rules."""
    return _names(native().lib.pong_preset_name)


def opponents() -> tuple[str, ...]:
    """Names of the scripted opponents; the first, `nobody`, is none."""
    return _names(native().lib.pong_opponent_name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class PongConfig:
    """What decides a game of Pong, but for rewards and seeds.

    Fields that are None follow the preset. Lengths are units of a court of 800 x 400, speeds units
    a tick. A field with `left` or `right` in its name is a handicap: of that seat, in place of
    what both have.
    """

    num_agents = 2
    preset: Preset = "duel"
    """Rules: duel (who aims can beat a perfect returner); classic (paddles are mirrors)."""
    observation: Observation = "coordinates"
    """What a seat sees: six numbers, or a grey picture of 84 x 84, of each moment."""
    frames: int = 1
    """Moments in an observation, 1 to 16, the newest last."""
    points_to_win: int = 21
    """Score that ends the game."""
    rally_limit: int = 2000
    """Ticks after which a rally is replayed."""
    max_ticks: int = 20_000
    """Ticks after which the game is cut off."""
    serve_to: Seat | None = None
    """Seat that is served to; None: either, at random."""
    paddle_speed: float | None = None
    """Of both paddles."""
    paddle_length: float | None = None
    """Of both paddles."""
    ball_speed: float | None = None
    """Of a serve."""
    speed_gain: float | None = None
    """Share of its speed that the ball gains with a hit."""
    max_gain: float | None = None
    """The ball's largest speed, in speeds of a serve."""
    aim: bool | None = None
    """Whether the direction after a hit follows the contact point; else paddles are mirrors."""
    aim_slope: float | None = None
    """With `aim`: upward speed over forward speed after a hit at a paddle's upper end."""
    left_paddle_speed: float | None = None
    """Of the left paddle, in place of `paddle_speed`."""
    right_paddle_speed: float | None = None
    """Of the right paddle, in place of `paddle_speed`."""
    left_paddle_length: float | None = None
    """Of the left paddle, in place of `paddle_length`."""
    right_paddle_length: float | None = None
    """Of the right paddle, in place of `paddle_length`."""
    left_sees_velocity: bool = True
    """Whether the left seat's coordinates hold the ball's velocity, or zeros."""
    right_sees_velocity: bool = True
    """The same of the right seat."""
    left_sees_opponent: bool = True
    """Whether the left seat sees the other paddle."""
    right_sees_opponent: bool = True
    """The same of the right seat."""

    def __post_init__(self) -> None:
        for name, known in (
            ("preset", presets()),
            ("observation", OBSERVATIONS),
            ("serve_to", (*SEATS, None)),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), [one for one in known if one])
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type == "int" and (not isinstance(value, int) or isinstance(value, bool)):
                raise BadInputError(f"{one.name} is {value!r}; it must be a whole number.")
            if one.type == "int" and not -(1 << 31) <= value < 1 << 31:
                raise BadInputError(f"{one.name} is {value}; that is beyond 32 bits.")
            if one.type == "float | None" and value is not None and not _is_number(value):
                raise BadInputError(f"{one.name} is {value!r}; it must be a number.")
            if str(one.type).startswith("bool") and value not in (None, True, False):
                raise BadInputError(f"{one.name} is {value!r}; it must be true or false.")
        check_config(native().lib.pong_check_config, self.to_native())

    def at(self, difficulty: str) -> PongConfig:
        """These rules; a difficulty only says how seeds are served."""
        if difficulty not in DIFFICULTIES:
            raise unknown_name("difficulty", difficulty, DIFFICULTIES)
        return self

    def swapped(self) -> PongConfig:
        """The same with the seats' handicaps exchanged."""
        sides = {"left": "right", "right": "left"}
        changes = {
            f"{sides[seat]}_{rest}": getattr(self, f"{seat}_{rest}")
            for seat in SEATS
            for rest in ("paddle_speed", "paddle_length", "sees_velocity", "sees_opponent")
        }
        serve_to = None if self.serve_to is None else sides[self.serve_to]
        return dataclasses.replace(self, serve_to=serve_to, **changes)  # type: ignore[arg-type]

    def to_native(self) -> Any:
        """The C struct `pong_config *`."""
        module = native()
        config = module.ffi.new(
            "pong_config *", module.lib.pong_preset(presets().index(self.preset))
        )
        for name in ("frames", "points_to_win", "rally_limit", "max_ticks"):
            setattr(config, name, getattr(self, name))
        for name in ("ball_speed", "speed_gain", "max_gain", "aim_slope", "aim"):
            if (value := getattr(self, name)) is not None:
                setattr(config, name, value)
        config.serve_to = -1 if self.serve_to is None else SEATS.index(self.serve_to)
        config.pixels = self.observation == "pixels"
        for index, seat in enumerate(SEATS):
            for name in ("paddle_speed", "paddle_length"):
                own, both = getattr(self, f"{seat}_{name}"), getattr(self, name)
                if (value := both if own is None else own) is not None:
                    getattr(config, name)[index] = value
            for name in ("sees_velocity", "sees_opponent"):
                getattr(config, name)[index] = getattr(self, f"{seat}_{name}")
        return config


def _weight(default: float, *, low: float, high: float) -> Any:
    """A reward weight: its default and the range that sweeps draw from."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class PongRewards(Rewards):
    """Reward weights of Pong: what each event pays, per seat and tick."""

    point_won: float = _weight(1.0, low=0.0, high=2.0)
    """To the seat that won a point."""
    point_lost: float = _weight(-1.0, low=-2.0, high=0.0)
    """To the seat that lost it."""
    hit: float = _weight(0.0, low=0.0, high=0.5)
    """To the seat whose paddle touches the ball."""
    rally_tick: float = _weight(0.0, low=-0.001, high=0.001)
    """To both, every tick."""
    team_share: float = _weight(0.0, low=0.0, high=0.0)
    """Share of everyone's own reward that is averaged over both; nothing in a duel."""

    @classmethod
    def preset(cls, name: str) -> PongRewards:
        """The weights named `default`."""
        if name == "default":
            return cls()
        raise unknown_name("reward preset", name, ("default",))


assert PongRewards.terms()[0] == "point_won"


@dataclass(frozen=True, kw_only=True)
class Position:
    """What stands where in a game; per seat the left one first."""

    x: float = 0.0
    """The ball's middle, units from the court's."""
    y: float = 0.0
    vx: float
    """Its velocity, units a tick."""
    vy: float
    paddle_y: tuple[float, float] = (0.0, 0.0)
    """The paddles' middles."""
    score: tuple[int, int] = (0, 0)
    touched: tuple[bool, bool] = (False, False)
    """Whether the paddle touched the ball in this rally."""
    rally_tick: int = 0
    """Ticks since the serve."""
    tick: int = 0
    """Ticks played."""


def _part_of(observation: Observation, frames: int) -> ObservationPart:
    if observation == "pixels":
        shape: tuple[int, ...] = (frames, NUM_PIXELS, NUM_PIXELS)
        return ObservationPart(name="pixels", shape=shape, dtype=np.uint8, low=0, high=255)
    shape = (frames, len(COORDINATES))
    return ObservationPart(name="coordinates", shape=shape, dtype=np.float32, low=-1, high=1)


class Pong(BatchedGame):
    """Games of Pong, all stepped by one call.

    >>> sim = Pong(num_envs=256, config=PongConfig(preset="classic"), seed=1)
    >>> sim.reset()
    >>> sim.step(sim.script(("tracker", "predictor")))
    """

    name = "pong"
    action_names = ("stay", "up", "down")
    winning_seats: ClassVar[Mapping[str, int]] = {"left_wins": 0, "right_wins": 1}
    parts = (_part_of("coordinates", 1),)

    def __init__(
        self,
        num_envs: int,
        config: PongConfig | None = None,
        rewards: PongRewards | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> None:
        """
        Args:
            num_envs: games in the batch.
            config: rules, handicaps and what seats see.
            rewards: weights of the terms.
            seed: of the streams of serves: one integer, or one a game; None: from the system.

        Raises:
            BadInputError: a number is out of range.
        """
        self.config = config or PongConfig()
        self.parts = (_part_of(self.config.observation, self.config.frames),)
        super().__init__(
            create(native().lib.pong_create, self.config.to_native(), num_envs),
            module=native(),
            rewards=rewards or PongRewards(),
            difficulty_names=DIFFICULTIES,
            seed=seed,
        )
        self._kinds = np.zeros((num_envs, 2), np.int32)
        self._scripted = np.zeros((num_envs, 2), np.int32)

    def script(
        self,
        by: Sequence[Opponent] | NDArray[np.integer[Any]],
        actions: NDArray[np.integer[Any]] | None = None,
    ) -> NDArray[np.int32]:
        """Actions for the next tick with scripted opponents' in their places.

        Args:
            by: a name a seat, alike in all games, or int (num_envs, 2), indices into `opponents()`.
            actions: int (num_envs, 2), what the others do; None: nothing.

        Returns:
            int32 (num_envs, 2), the same array every time.
        """
        if isinstance(by, np.ndarray):
            if by.shape != self._kinds.shape or by.dtype.kind not in "iu":
                raise BadInputError(
                    f"opponents are {by.dtype} {by.shape}; they must be integers (num_envs, 2)."
                )
            self._kinds[:] = by
        else:
            known = opponents()
            for seat, name in enumerate(by):
                if name not in known:
                    raise unknown_name("opponent", str(name), known)
                self._kinds[:, seat] = known.index(name)
        self._scripted[:] = 0 if actions is None else actions
        status = self._lib.pong_script(
            self._batch,
            self._ffi.from_buffer("int32_t[]", self._kinds),
            self._ffi.from_buffer("int32_t[]", self._scripted),
        )
        if status == self._lib.BATCH_BAD_ARGUMENT:
            raise BadInputError(f"opponents are numbered 0 to {len(opponents()) - 1}.")
        self._check(status)
        return self._scripted

    def frame(self, i: int, *, ended: bool = False) -> Position:
        """As `BatchedGame.frame`."""
        found = self._ffi.new("pong_frame *")
        status = self._lib.pong_show(self._batch, self._check_index(i), int(ended), found)
        self._check_shown(i, status)
        return Position(
            x=found.x,
            y=found.y,
            vx=found.vx,
            vy=found.vy,
            paddle_y=(found.paddle_y[0], found.paddle_y[1]),
            score=(found.score[0], found.score[1]),
            touched=(bool(found.touched[0]), bool(found.touched[1])),
            rally_tick=found.rally_tick,
            tick=found.tick,
        )

    @classmethod
    def ending(cls, record: Mapping[str, Any]) -> str:
        """The winner and the score; whether time was up."""
        winner = str(record["outcome"]).replace("_", " ")
        score = f"{record['score_left']} : {record['score_right']}"
        return f"{winner} {score}" + (", time is up" if record["cause"] == "time" else "")

    def place(self, i: int, position: Position) -> None:
        """Puts a position in place of game `i`'s, for drills and tests; later serves stay.

        Raises:
            BadInputError: there is no such game, or nothing can stand so.
        """
        given = self._ffi.new("pong_frame *", dataclasses.asdict(position))
        status = self._lib.pong_place(self._batch, self._check_index(i), given)
        if status != self._lib.BATCH_OK:
            raise BadInputError(
                f"game {i} can't stand so: {position}; reset it first, and keep ball, paddles, "
                "score and clocks within the court and the config's limits."
            )
