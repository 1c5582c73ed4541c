"""Many games of one kind behind one object: what every batched simulator does alike.

The arrays belong to numpy and are written in place by C, with the interpreter's lock released:
`step` returns nothing, look at the arrays. A game adds its config, its reward weights and the names
of its observations in a file of its own (see `env/pico_park.py`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from env.errors import BadInputError, unknown_name

HELD_OUT_BIT = 1 << 63
"""Marks a level seed as held-out: no training level has it."""


def hash_words(words: Sequence[int]) -> int:
    """64 bits from any number of integers, 0 to 2^64 - 1: seeds of streams, which never meet."""
    # numpy drops leading zeros of each word and pads at the end: count and width go in as well.
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    return int(np.random.SeedSequence((len(words), *halves)).generate_state(1, np.uint64)[0])


@functools.cache
def native() -> ModuleType:
    """The compiled simulators, `.ffi` and `.lib`; built on first use if need be."""
    from native import build

    return build.load()


def check_config(check: Any, config: Any) -> None:
    """Has a game's C code look at a config.

    Args:
        check: `GAME_check_config(config, message)`.
        config: pointer to the C struct.

    Raises:
        BadInputError: it makes no sense; the C code's own sentence.
    """
    module = native()
    message = module.ffi.new("char[]", module.lib.BATCH_MESSAGE_BYTES)
    if check(config, message) != module.lib.BATCH_OK:
        raise BadInputError(module.ffi.string(message).decode())


def create(make: Any, config: Any, num_envs: int) -> Any:
    """Has a game's C code make a batch; `BatchedGame` owns and frees it.

    Args:
        make: `GAME_create(config, num_envs, message)`.
        config: pointer to the C struct.
        num_envs: games in the batch.

    Raises:
        BadInputError: it can't; in one sentence.
    """
    module = native()
    message = module.ffi.new("char[]", module.lib.BATCH_MESSAGE_BYTES)
    if not isinstance(num_envs, int | np.integer) or not 1 <= num_envs <= 1 << 20:
        raise BadInputError(f"num_envs is {num_envs!r}; it must lie between 1 and 2^20.")
    handle = make(config, num_envs, message)
    if handle == module.ffi.NULL:
        raise BadInputError(module.ffi.string(message).decode())
    return handle


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level to play. Without a seed or map: a fresh one from the game's own stream."""

    seed: int | None = None
    """Level seed, 0 to 2^63 - 1."""
    difficulty: int | str | None = None
    """Name or index of a difficulty; None: the config's own."""
    held_out: bool = False
    """Whether it comes from the held-out levels, which training never sees."""
    map: str | None = None
    """A map by hand, rows of equal length; excludes a seed."""

    def __post_init__(self) -> None:
        for name in ("seed", "difficulty"):
            value = getattr(self, name)
            if isinstance(value, np.integer):
                object.__setattr__(self, name, int(value))
            elif isinstance(value, bool | float | np.floating):
                raise BadInputError(f"a level's {name} is {value!r}; it must be a whole number.")
        if isinstance(self.difficulty, int) and self.difficulty < 0:
            raise BadInputError(f"a level's difficulty is {self.difficulty}; they count from 0.")
        if self.map is not None and (self.difficulty is not None or self.held_out):
            raise BadInputError("a level with a map has no difficulty and is never held out.")
        if self.seed is not None and not 0 <= self.seed < HELD_OUT_BIT:
            raise BadInputError(
                f"level seed {self.seed} is out of range; it must lie between 0 and 2^63 - 1."
            )
        if self.map is not None and self.seed is not None:
            raise BadInputError(f"a level has either a map or a seed (here {self.seed}), not both.")


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """Base of a game's reward weights: one float field a term, in the C code's order.

    A reward is `(1 - team_share) * own + team_share * mean(own)` with `own = terms @ weights`.
    """

    team_share: float = 0.0
    """Share of everyone's own reward that is averaged over the whole team, 0 to 1."""

    def __post_init__(self) -> None:
        for name, weight in {**self.by_term(), "team_share": self.team_share}.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise BadInputError(f"rewards.{name} is {weight!r}; it must be a number.")
            if not math.isfinite(weight) or abs(weight) > 1e6:
                raise BadInputError(
                    f"rewards.{name} is {weight}; it must be finite and at most a million."
                )
        if not 0 <= self.team_share <= 1:
            raise BadInputError(
                f"rewards.team_share is {self.team_share}; it must lie between 0 and 1."
            )

    @classmethod
    def terms(cls) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(field.name for field in fields(cls) if field.name != "team_share")

    @classmethod
    def sweep_range(cls, name: str) -> tuple[float, float]:
        """The range that a sweep draws this weight (or `team_share`) from by default."""
        for one in fields(cls):
            if one.name == name:
                return one.metadata["low"], one.metadata["high"]
        raise unknown_name("reward term", name, [one.name for one in fields(cls)])

    def by_term(self) -> dict[str, float]:
        """Weight of each term by name."""
        return {name: getattr(self, name) for name in self.terms()}


@dataclass(frozen=True, kw_only=True)
class ObservationPart:
    """One array of an agent's observation, and what its numbers mean to a model."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic]
    low: float
    high: float
    channels: tuple[dict[str, Any], ...] = ()
    """For a grid, one dict a channel: name, kind ("flag" or "category"), num_values."""


Ablation = Callable[[Mapping[str, NDArray[Any]]], None]
"""Hides something from agents: changes arrays (..., *shape), one a part of the observation, in
place."""


class BatchedGame:
    """Games of one kind, stepped by one call. Subclasses name their parts.

    Attributes (N games, A agents, K terms; all written in place):
        observations: dict of arrays (N, A, *shape), one a part.
        final_observations: the same, of games that ended in the last call; else stale.
        terms: float32 (N, A, K), events of the tick that ended, names in `term_names`.
        rewards: float32 (N, A), of the tick that ended.
        terminated, truncated: bool (N,), the game ended, or was cut off, in this call.
        alive: bool (N, A), in play now.
    """

    name: ClassVar[str]
    parts: tuple[ObservationPart, ...]
    """Of an observation; where a config decides them, the class has its default's."""
    action_names: ClassVar[tuple[str, ...]]
    winning_seats: ClassVar[Mapping[str, int]] = {}
    """Of a game of two sides: for each outcome that one of them wins, its seat."""
    ablations: ClassVar[Mapping[str, Ablation]] = {}
    """What can be hidden from agents by name, to see whether they use it."""

    def __init__(
        self,
        handle: Any,
        *,
        module: ModuleType,
        rewards: Rewards,
        difficulty_names: Sequence[str],
        seed: int | Sequence[int] | None,
    ) -> None:
        """Wraps a batch that the subclass made in `module`; owns and frees it."""
        self._ffi, self._lib = module.ffi, module.lib
        self._batch = self._ffi.gc(handle, self._lib.batch_destroy)
        lib = self._lib
        self.num_envs: int = lib.batch_num_envs(self._batch)
        self.num_agents: int = lib.batch_num_agents(self._batch)
        self.num_actions: int = lib.batch_num_actions(self._batch)
        self.version: int = lib.batch_game_version(self._batch)
        self.difficulty_names = tuple(difficulty_names)
        self.term_names = self._names(lib.batch_term_name)
        self.stat_names = self._names(lib.batch_stat_name)
        self.outcome_names = self._names(lib.batch_outcome_name)
        self.cause_names = self._names(lib.batch_cause_name)
        self._allocate()
        self.set_rewards(rewards)
        self._actions = np.zeros((self.num_envs, self.num_agents), dtype=np.int32)
        self._actions_pointer = self._ffi.from_buffer("int32_t[]", self._actions)
        self._collected: list[NDArray[np.void]] = []
        self._seed(seed)

    # -- setting up

    def _names(self, name_of: Any) -> tuple[str, ...]:
        names: list[str] = []
        while (text := name_of(self._batch, len(names))) != self._ffi.NULL:
            names.append(self._ffi.string(text).decode())
        return tuple(names)

    def _allocate(self) -> None:
        n, a, k = self.num_envs, self.num_agents, len(self.term_names)
        self.observations = {p.name: np.zeros((n, a, *p.shape), p.dtype) for p in self.parts}
        self.final_observations = {p.name: np.zeros((n, a, *p.shape), p.dtype) for p in self.parts}
        self.terms = np.zeros((n, a, k), np.float32)
        self.rewards = np.zeros((n, a), np.float32)
        self.terminated = np.zeros(n, np.bool_)
        self.truncated = np.zeros(n, np.bool_)
        self.alive = np.zeros((n, a), np.bool_)
        # Room for some steps in which every game ends; `step` empties it in time.
        self._record_capacity = max(16 * n, 1024)
        self._steps_with_room = self._record_capacity // n
        self._records = np.zeros(
            (self._record_capacity, self._lib.batch_record_columns(self._batch)), np.int64
        )
        head = ["game", "level_seed", "difficulty", "length", "outcome", "cause"]
        self.record_dtype = np.dtype(
            [(name, np.uint64 if name == "level_seed" else np.int64) for name in head]
            + [(name, np.int64) for name in self.stat_names]
            + [("terms", np.int64, (a, k))]
        )
        buffers = self._ffi.new("batch_buffers *")
        for index, part in enumerate(self.parts):
            buffers.observations[index] = self._pointer("uint8_t[]", self.observations[part.name])
            buffers.final_observations[index] = self._pointer(
                "uint8_t[]", self.final_observations[part.name]
            )
        buffers.terms = self._pointer("float[]", self.terms)
        buffers.rewards = self._pointer("float[]", self.rewards)
        buffers.terminated = self._pointer("uint8_t[]", self.terminated)
        buffers.truncated = self._pointer("uint8_t[]", self.truncated)
        buffers.alive = self._pointer("uint8_t[]", self.alive)
        buffers.records = self._pointer("int64_t[]", self._records)
        buffers.record_capacity = self._record_capacity
        self._check(self._lib.batch_attach(self._batch, buffers))

    def _pointer(self, kind: str, array: NDArray[Any]) -> Any:
        return self._ffi.from_buffer(kind, array, require_writable=True)

    def _check(self, status: int) -> int:
        """Passes counts and BATCH_OK on; raises the simulator's own sentence for a failure."""
        if status >= 0:
            return status
        sentence = self._ffi.string(self._lib.batch_message(self._batch)).decode()
        if not sentence:
            sentence = self._ffi.string(self._lib.batch_status_text(status)).decode() + "."
        if status == self._lib.BATCH_NO_MEMORY:
            raise MemoryError(sentence)
        if status == self._lib.BATCH_NOT_READY:
            raise RuntimeError(sentence)
        raise BadInputError(sentence)

    def _check_index(self, i: int) -> int:
        if not 0 <= i < self.num_envs:
            raise BadInputError(f"there is no game {i}; this one has 0 to {self.num_envs - 1}.")
        return i

    def _seed(self, seed: int | Sequence[int] | None) -> None:
        """One integer: streams hashed from (seed, index). A sequence: one integer a game."""
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        if isinstance(seed, float | str | bytes | bool):
            raise BadInputError(f"seed is {seed!r}; give an integer, or one a game.")
        if isinstance(seed, int | np.integer):
            pairs = [(int(seed), i) for i in range(self.num_envs)]
        else:
            if len(seed) != self.num_envs:
                raise BadInputError(
                    f"{len(seed)} seeds were given for {self.num_envs} games; give one a game."
                )
            pairs = [(int(one), 0) for one in seed]
        for one, _ in pairs:
            if not 0 <= one < 1 << 64:
                raise BadInputError(f"seed {one} is out of range; it must lie in 0 to 2^64 - 1.")
        keys = [self._lib.batch_stream_key(one, index) for one, index in pairs]
        self._check(self._lib.batch_seed(self._batch, self._ffi.new("uint64_t[]", keys)))

    def set_rewards(self, rewards: Rewards) -> None:
        """Other weights from the next step on. Weights never change the game."""
        if rewards.terms() != self.term_names:
            raise BadInputError(
                f"these rewards weigh {', '.join(rewards.terms())}; "
                f"{self.name} counts {', '.join(self.term_names)}."
            )
        weights = list(rewards.by_term().values())
        pointer = self._ffi.new("float[]", weights)
        self._check(self._lib.batch_set_weights(self._batch, pointer, rewards.team_share))
        self.reward_weights = rewards

    # -- levels

    def _level(self, level: Level) -> dict[str, int]:
        """The level as C says it."""
        difficulty = -1
        if isinstance(level.difficulty, str):
            if level.difficulty not in self.difficulty_names:
                raise unknown_name("difficulty", level.difficulty, self.difficulty_names)
            difficulty = self.difficulty_names.index(level.difficulty)
        elif level.difficulty is not None:
            difficulty = min(int(level.difficulty), 1 << 30)  # C refuses what there isn't
        index = -1
        if level.map is not None:
            text = level.map.strip("\n").encode()
            index = self._check(self._lib.batch_add_map(self._batch, text, len(text)))
        return {
            "seed": (level.seed or 0) | (HELD_OUT_BIT if level.held_out else 0),
            "difficulty": difficulty,
            "map": index,
            "fresh": int(level.seed is None and level.map is None),
            "held_out": int(level.held_out),
        }

    def reset(
        self,
        *,
        level_seeds: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        held_out: bool = False,
        maps: Sequence[str] | None = None,
        levels: Sequence[Level] | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> None:
        """Starts a level in every game and writes its first observations.

        Args:
            level_seeds: one a game; each game then repeats its own level.
            held_out: whether these seeds name held-out levels.
            maps: one a game, instead of seeds; each game then repeats its own map.
            levels: one a game, instead of seeds or maps: the general form of both.
            seed: starts the streams of fresh levels anew, as in the constructor.

        Raises:
            BadInputError: wrong count, seed out of range, bad map.
        """
        if seed is not None:
            self._seed(seed)
        if sum(given is not None for given in (level_seeds, maps, levels)) > 1:
            raise BadInputError("reset takes one of level_seeds, maps and levels.")
        if maps is not None:
            levels = [Level(map=text) for text in maps]
        elif level_seeds is not None:
            levels = [Level(seed=int(one), held_out=held_out) for one in level_seeds]
        elif held_out and levels is None:
            raise BadInputError("held_out=True needs level_seeds; name the held-out levels.")
        pointer = self._ffi.NULL
        if levels is not None:
            if len(levels) != self.num_envs:
                raise BadInputError(
                    f"{len(levels)} levels were given for {self.num_envs} games; give one a game."
                )
            pointer = self._ffi.new("batch_level[]", [self._level(one) for one in levels])
        self._check(self._lib.batch_reset(self._batch, pointer))

    def queue_levels(self, i: int, levels: Sequence[Level]) -> None:
        """What game `i` plays after its current level, before it goes back to its own."""
        self._check_index(i)
        pointer = self._ffi.new("batch_level[]", [self._level(level) for level in levels])
        self._check(self._lib.batch_queue(self._batch, i, pointer, len(levels)))

    def level(self, i: int) -> Level:
        """The level that game `i` plays now; of a map only that it is one (see `text`)."""
        self._check_index(i)
        level = self._ffi.new("batch_level *")
        self._check(self._lib.batch_current_level(self._batch, i, level))
        if level.map >= 0:
            return Level(map=self.text(i))
        return Level(
            seed=level.seed & ~HELD_OUT_BIT,
            difficulty=level.difficulty,
            held_out=bool(level.seed & HELD_OUT_BIT),
        )

    # -- playing

    def step(self, actions: NDArray[np.integer[Any]]) -> None:
        """One tick of every game.

        Args:
            actions: integers (num_envs, num_agents). What waiting agents send must be valid and
                does nothing. int32 is passed on as it is, other integers are copied.

        Raises:
            BadInputError: wrong shape, not integers, or an action that is not one; then no game
                was stepped.
        """
        # Counted here and not asked of C: every call into C hands the interpreter's lock over, and
        # threads that step batches side by side pay for each hand-over.
        if self._steps_with_room == 0:
            self._collect()
        self._steps_with_room -= 1
        self._check(self._lib.batch_step(self._batch, self._action_pointer(actions)))

    def _action_pointer(self, actions: NDArray[np.integer[Any]]) -> Any:
        array = np.asarray(actions)
        if array.shape != self._actions.shape:
            raise BadInputError(
                f"actions have shape {array.shape}; they must be (num_envs, num_agents) = "
                f"{self._actions.shape}."
            )
        if array.dtype.kind not in "iu":
            raise BadInputError(f"actions are {array.dtype}; they must be integers.")
        if array.dtype == np.int32 and array.flags.c_contiguous:
            return self._ffi.from_buffer("int32_t[]", array)
        wrong = np.argwhere((array < 0) | (array >= self.num_actions))
        if len(wrong):
            env, agent = wrong[0]
            raise BadInputError(
                f"env {env}, agent {agent}: action {array[env, agent]} is not one; actions are 0 "
                f"to {self.num_actions - 1}, and no game was stepped."
            )
        np.copyto(self._actions, array, casting="unsafe")
        return self._actions_pointer

    # -- episodes

    def _collect(self) -> None:
        self._steps_with_room = self._record_capacity // self.num_envs
        count = self._lib.batch_num_records(self._batch)
        if count:
            self._collected.append(self._records[:count].copy().view(self.record_dtype)[:, 0])
            self._lib.batch_clear_records(self._batch)

    def episodes(self) -> NDArray[np.void]:
        """Records of the games that ended since the last call, in the order in which they ended.

        Returns:
            A structured array, one element an episode: `game`, `level_seed` (bit 63: held-out; 0
            for a map), `difficulty` (index, -1 for a map), `length` in ticks, `outcome` and
            `cause` (indices into `outcome_names`, `cause_names`), the game's statistics by the
            names in `stat_names`, and `terms`, int64 (num_agents, num_terms) totals.
        """
        self._collect()
        collected, self._collected = self._collected, []
        return np.concatenate(collected) if collected else np.zeros(0, self.record_dtype)

    def keep_ended(self) -> None:
        """From now on, keeps the last state of each game that ends until the next step."""
        self._check(self._lib.batch_keep_ended(self._batch))

    # -- a game as bytes

    def snapshot(self, i: int) -> bytes:
        """Game `i` as bytes, bit-exact across processes, its later levels included."""
        self._check_index(i)
        size = self._lib.batch_snapshot_bytes(self._batch, i)
        if size < 0:
            raise RuntimeError("reset the games before taking a snapshot.")
        data = self._ffi.new("uint8_t[]", size)
        self._check(self._lib.batch_snapshot(self._batch, i, data, size))
        return bytes(self._ffi.buffer(data, size))

    def restore(self, i: int, data: bytes) -> None:
        """Puts a snapshot in place of game `i` and writes its observations.

        Raises:
            BadInputError: truncated, altered or foreign bytes, another version or config; then
                nothing has changed.
        """
        self._check_index(i)
        self._check(self._lib.batch_restore(self._batch, i, bytes(data), len(data)))

    def state_hash(self, i: int) -> int:
        """64-bit hash of all that decides the rest of the level."""
        return int(self._lib.batch_state_hash(self._batch, self._check_index(i)))

    def frame(self, i: int, *, ended: bool = False) -> Any:
        """What stands where in game `i`, for drawing.

        Args:
            i: index of the game.
            ended: the end of a game that ended in the last step, instead of the level that came
                after it; only after `keep_ended`.

        Raises:
            BadInputError: there is no such game, it didn't end in the last step, or games of this
                kind can't be drawn.
        """
        raise BadInputError(f"games of {self.name} can't be drawn.")

    def _check_shown(self, i: int, status: int) -> None:
        """Refuses what C couldn't show."""
        if status != self._lib.BATCH_OK:
            raise BadInputError(
                f"game {i} can't be shown; reset it first, and for its end ask right after the "
                "step that ended it, with keep_ended() called before."
            )

    @classmethod
    def ending(cls, record: Mapping[str, Any]) -> str:
        """How an episode ended, in words, from its record with outcome and cause by name."""
        return str(record["cause"]).replace("_", " ")

    def text(self, i: int, *, ended: bool = False) -> str:
        """Game `i` as a map, one character a tile; `ended` as in `frame`."""
        where = self._batch, self._check_index(i), int(ended)
        size = self._lib.batch_text(*where, self._ffi.NULL, 0)
        if size < 0:
            raise RuntimeError("there is no such text; reset the games first, and keep ended ones.")
        out = self._ffi.new("char[]", size)
        self._lib.batch_text(*where, out, size)
        return bytes(self._ffi.string(out)).decode()
