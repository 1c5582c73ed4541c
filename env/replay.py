"""A game on file: small, exact, and playable again by the simulator alone.

A replay holds what decides a game (rules, level, reward weights), the actions of every tick, and a
hash of the state after each. So nobody has to believe it: `verify` plays it again and names the
first tick that comes out differently. What the policy thought (probabilities, values) may lie
beside, as the one thing that can't be computed from the rest.

    replay = record("pico_park", config, rewards, level, actions)
    replay.save(path)
    for sim in play(load(path)):
        print(sim.text(0))

On disk: eight bytes that say what it is, a SHA-256, and a compressed safetensors file with a header
in JSON. Reading one executes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from env.batch import BatchedGame, Level
from env.errors import BadInputError
from env.files import in_one_piece
from env.games import find_game, make_simulator

MAGIC = b"CLOWDER\x01"
"""First bytes of every replay; the last one is the version of the format."""
SUFFIX = ".replay"
MAX_BYTES = 64 << 20
"""Most that a replay may unpack to: a thousandth of it is a long game."""
_HEADER = "replay"


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """One game, from its level to its end.

    T ticks, A agents, K actions.
    """

    game: str
    """Name of the game."""
    version: int
    """Of the simulator that played it."""
    config: Mapping[str, Any]
    """Fields of the game's config."""
    rewards: Mapping[str, float]
    """Reward weights; they decide what is shown, never what happens."""
    level: Level
    """What was played; its difficulty by name."""
    actions: NDArray[np.uint8]
    """(T, A)."""
    hashes: NDArray[np.uint64]
    """(T,): the state before each tick; the end is in `record`."""
    record: Mapping[str, Any]
    """What came of it: outcome and cause by name, `length`, the game's statistics, `terms`, totals
    of each term by agent."""
    probabilities: NDArray[np.float16] | None = None
    """(T, A, K): what the policy wanted to do; zeros where an agent had no policy or waited."""
    values: NDArray[np.float16] | None = None
    """(T, A): what it expected to be paid from then on."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from, in words: run, checkpoint, who sat where."""

    @property
    def num_ticks(self) -> int:
        """T."""
        return len(self.actions)

    @property
    def num_agents(self) -> int:
        """A."""
        return int(self.actions.shape[1])

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        return str(find_game(self.game).simulator.ending(self.record))

    def save(self, path: Path) -> Path:
        """Writes the file in one piece, and returns its path."""
        header = {
            name: getattr(self, name) for name in ("game", "version", "config", "rewards", "source")
        }
        header |= {"level": dataclasses.asdict(self.level), "record": self.record}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        data = safetensors.numpy.save(
            {name: np.ascontiguousarray(one) for name, one in arrays.items() if one is not None},
            {_HEADER: json.dumps(header)},
        )
        packed = zlib.compress(data, 9)
        with in_one_piece(path) as temporary:
            temporary.write_bytes(MAGIC + hashlib.sha256(packed).digest() + packed)
        return path

    def simulator(self) -> BatchedGame:
        """A simulator that has just started this game's level.

        Raises:
            BadInputError: another version of the simulator, or a config or level that makes no
                sense to it.
        """
        sim = make_simulator(self.game, 1, config=self.config, rewards=self.rewards, seed=0)
        if sim.version != self.version:
            raise BadInputError(
                f"this game was played by version {self.version} of {self.game}, this is "
                f"version {sim.version}; use the version of Clowder that wrote it."
            )
        if sim.num_agents != self.num_agents:
            raise BadInputError(
                f"the replay holds the actions of {self.num_agents} agents, but its config has "
                f"{sim.num_agents}; it is damaged, take another copy."
            )
        sim.reset(levels=[self.level])
        return sim


_ARRAYS = {
    "actions": (np.uint8, 2),
    "hashes": (np.uint64, 1),
    "probabilities": (np.float16, 3),
    "values": (np.float16, 2),
}
"""Type and number of axes of each array; the last two may be missing."""


def record(
    game: str,
    config: Any,
    rewards: Any,
    level: Level,
    actions: NDArray[np.integer[Any]],
    *,
    probabilities: NDArray[np.floating[Any]] | None = None,
    values: NDArray[np.floating[Any]] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Replay:
    """Plays actions (T, A) once more on a level, and puts down what happens.

    Args:
        game: its name.
        config: its config.
        rewards: its reward weights.
        level: what to play; it names a seed or a map.
        actions: of every tick until the game ends; what comes after is left out.
        probabilities, values: of the policy, see `Replay`; as long as `actions`.
        source: where it comes from.

    Raises:
        BadInputError: the game doesn't end with these actions.
    """
    sim = make_simulator(game, 1, config=config, rewards=rewards, seed=0)
    if isinstance(level.difficulty, int):
        level = dataclasses.replace(level, difficulty=sim.difficulty_names[level.difficulty])
    sim.reset(levels=[level])
    hashes = []
    for row in actions:
        hashes.append(sim.state_hash(0))
        sim.step(np.asarray(row, np.int32)[None])
        if sim.terminated[0] or sim.truncated[0]:
            break
    else:
        raise BadInputError(f"the game goes on after {len(actions)} ticks; give all its actions.")
    length = len(hashes)
    return Replay(
        game=game,
        version=sim.version,
        config=dataclasses.asdict(config),
        rewards=dataclasses.asdict(rewards),
        level=level,
        actions=np.asarray(actions[:length], np.uint8),
        hashes=np.array(hashes, np.uint64),
        record=_read_record(sim),
        probabilities=_half(probabilities, length),
        values=_half(values, length),
        source=dict(source or {}),
    )


def _half(array: NDArray[np.floating[Any]] | None, length: int) -> NDArray[np.float16] | None:
    return None if array is None else np.asarray(array[:length], np.float16)


def _read_record(sim: BatchedGame) -> dict[str, Any]:
    """The record of the only game that has ended, in plain data."""
    episode = sim.episodes()[-1]
    return {
        "outcome": sim.outcome_names[int(episode["outcome"])],
        "cause": sim.cause_names[int(episode["cause"])],
        "length": int(episode["length"]),
        **{name: int(episode[name]) for name in sim.stat_names},
        "terms": {
            name: episode["terms"][:, index].tolist() for index, name in enumerate(sim.term_names)
        },
    }


def load(path: Path) -> Replay:
    """Reads a replay.

    Raises:
        BadInputError: it is none, cut short, altered, or of another format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"the replay {path} can't be read ({error.strerror}).") from error
    try:
        return _parse(data)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def _parse(data: bytes) -> Replay:
    head = len(MAGIC)
    if data[: head - 1] != MAGIC[:-1]:
        raise BadInputError("that is no replay; give a file that Clowder wrote.")
    if data[:head] != MAGIC:
        raise BadInputError(
            f"its format is {data[head - 1 : head].hex() or 'missing'}, this version reads "
            f"{MAGIC[-1]:02x}; use the version of Clowder that wrote it."
        )
    digest, packed = data[head : head + 32], data[head + 32 :]
    if hashlib.sha256(packed).digest() != digest:
        raise BadInputError("it is damaged (its checksum is another); take another copy.")
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, MAX_BYTES)
        if not unpacker.eof:
            raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"][_HEADER])
        return _build(header, safetensors.numpy.load(raw))
    except (ValueError, KeyError, TypeError, zlib.error, SafetensorError, RecursionError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(
            f"it is no replay that Clowder wrote ({error}); take another copy."
        ) from error


def _build(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Replay:
    """A replay from its parts, each checked for its kind."""
    kinds = {"game": str, "version": int, "config": dict, "rewards": dict}
    kinds |= {"record": dict, "source": dict, "level": dict}
    for name, kind in kinds.items():
        if not isinstance(header[name], kind):
            raise ValueError(f"{name} is {header[name]!r}")
    for name, array in arrays.items():
        dtype, axes = _ARRAYS[name]
        if array.dtype != dtype or array.ndim != axes or len(array) != len(arrays["actions"]):
            raise ValueError(f"{name} is {array.dtype} {array.shape}")
    agents = arrays["actions"].shape[1]
    for name in ("probabilities", "values"):
        if name in arrays and arrays[name].shape[1] != agents:
            raise ValueError(f"{name} is of {arrays[name].shape[1]} agents")
    if not len(arrays["hashes"]):
        raise ValueError("it has no tick")
    parts = {name: header[name] for name in kinds if name != "level"}
    return Replay(
        level=Level(**header["level"]),
        actions=arrays["actions"],
        hashes=arrays["hashes"],
        probabilities=arrays.get("probabilities"),
        values=arrays.get("values"),
        **parts,
    )


def play(replay: Replay) -> Iterator[BatchedGame]:
    """The simulator before the first tick and after every one: T + 1 times.

    After the last tick the game is over and the simulator already shows the level that would come
    next; `sim.terms` and `sim.rewards` are of that last tick, `Replay.record` tells the end.
    """
    sim = replay.simulator()
    yield sim
    for row in replay.actions:
        sim.step(row[None].astype(np.int32))
        yield sim


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where a replay and the simulator part."""

    tick: int
    """The first tick before which the states differ, from 0; the number of ticks if only the end
    does."""
    reason: str
    """One sentence."""


def verify(replay: Replay) -> Divergence | None:
    """Plays a replay again; None if it comes out as it says, to the last tick.

    Raises:
        BadInputError: it can't be played here at all, see `Replay.simulator`.
    """
    for tick, sim in enumerate(play(replay)):
        ended = tick > 0 and bool(sim.terminated[0] or sim.truncated[0])
        if tick > 0 and ended != (tick == replay.num_ticks):
            reason = (
                f"the game ends with tick {tick}, not {replay.num_ticks}."
                if ended
                else f"the game goes on after tick {tick}, its last."
            )
            return Divergence(tick=tick, reason=reason)
        if tick < replay.num_ticks and sim.state_hash(0) != int(replay.hashes[tick]):
            what = "the level is another" if tick == 0 else "the state is another"
            return Divergence(tick=tick, reason=f"{what} before tick {tick + 1}.")
    found = _read_record(sim)
    for name, value in found.items():
        if replay.record.get(name) != value:
            reason = f"{name} comes out as {value!r}, not {replay.record.get(name)!r}."
            return Divergence(tick=replay.num_ticks, reason=reason)
    return None
