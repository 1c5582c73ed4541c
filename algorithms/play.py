"""Playing named levels, each exactly once, whoever acts: what evaluation stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.actor import Acted, BatchedActor
from env.batch import HELD_OUT_BIT, Ablation, BatchedGame, Level

MAX_GAMES = 256
"""Games played side by side."""


class Actor(Protocol):
    """Whatever chooses actions for many games."""

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), num_agents) for these games; called once a tick."""

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Told before every tick which games (num_envs,) begin a level with it."""

    @property
    def entropy(self) -> float:
        """Mean entropy of the action distribution where agents were in play, in nats."""

    @property
    def thoughts(self) -> Thoughts | None:
        """What led to the last actions; None of who doesn't think in probabilities."""


@dataclass(frozen=True, kw_only=True)
class Thoughts:
    """What a policy made of a tick, of n games with A agents and K actions."""

    probabilities: NDArray[np.float32]
    """(n, A, K), of every action."""
    values: NDArray[np.float32]
    """(n, A): the reward that it expects from then on."""


class NetworkActor:
    """Networks, sampled or greedy, with a memory row for every seat of every game."""

    def __init__(
        self,
        modules: Mapping[str, Any],
        *,
        greedy: bool,
        seed: int,
        seats: Callable[[int, int], Sequence[str]] | None = None,
        hide: Ablation | None = None,
        remembers: bool = True,
    ) -> None:
        """Seats networks.

        Args:
            modules: by name, each as `algorithms.actor.BatchedActor` takes them.
            greedy: takes the likeliest action instead of drawing one.
            seed: of the draws, 0 to 2^63 - 1.
            seats: who plays: for (game, level number in that game) one name a seat. None: the
                first module plays all.
            hide: takes something out of what they see.
            remembers: whether they have memories; else every tick is the first of an episode.
        """
        self.modules = dict(modules)
        self.greedy = greedy
        self.seats = seats
        self.hide = hide
        self.remembers = remembers
        self.generator = torch.Generator().manual_seed(seed)
        self._actor: BatchedActor | None = None
        self._started = np.zeros(0, np.bool_)
        self._numbers = np.zeros(0, np.int64)
        self._entropy_sum, self._entropy_count = 0.0, 0
        self._acted: Acted | None = None
        self._shape = (0, 0)

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Forgets what was seen in games that begin, and seats their players."""
        if self._actor is None:
            rows = sim.num_envs * sim.num_agents
            self._actor = BatchedActor(self.modules, rows, generator=self.generator)
            self._numbers = np.full(sim.num_envs, -1)
        self._started = started
        self._numbers[started] += 1
        if self.seats is not None:
            for game in np.flatnonzero(started):
                first = game * sim.num_agents
                rows_of_game = np.arange(first, first + sim.num_agents)
                names = self.seats(int(game), int(self._numbers[game]))
                self._actor.seat(rows_of_game, names)

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), num_agents)."""
        assert self._actor is not None
        n, a = len(playing), sim.num_agents
        rows = torch.from_numpy((playing[:, None] * a + np.arange(a)).ravel())
        seen = {
            name: array[playing].reshape(n * a, *array.shape[2:])
            for name, array in sim.observations.items()
        }
        if self.hide is not None:
            self.hide(seen)
        observations = {name: torch.from_numpy(array) for name, array in seen.items()}
        start = torch.from_numpy(np.repeat(self._started[playing], a))
        if not self.remembers:
            start = torch.ones_like(start)
        acted = self._actor.act(observations, start, rows, greedy=self.greedy)
        alive = torch.from_numpy(sim.alive[playing].ravel())
        logs = acted.log_probabilities[alive]
        self._entropy_sum -= float((logs.exp() * logs).sum())
        self._entropy_count += int(alive.sum())
        self._acted, self._shape = acted, (n, a)
        return acted.actions.numpy().reshape(n, a)

    @property
    def entropy(self) -> float:
        """Mean entropy in nats."""
        return self._entropy_sum / max(1, self._entropy_count)

    @property
    def thoughts(self) -> Thoughts | None:
        """What led to the last actions; worked out when asked for, since few ask."""
        if self._acted is None:
            return None
        return Thoughts(
            probabilities=self._acted.log_probabilities.exp().numpy().reshape(*self._shape, -1),
            values=self._acted.values.numpy().reshape(self._shape),
        )


@dataclass(frozen=True, kw_only=True)
class Track:
    """What was done in one level, tick by tick: T ticks, A agents, K actions."""

    actions: NDArray[np.uint8]
    """(T, A)."""
    probabilities: NDArray[np.float16] | None
    """(T, A, K) of the policy, if it has any."""
    values: NDArray[np.float16] | None
    """(T, A)."""


@dataclass(frozen=True, kw_only=True)
class Games:
    """The records of a set of levels, each played once."""

    records: NDArray[np.void]
    """One element a level, in the order in which the levels were named; see `sim.episodes()`."""
    entropy: float
    """Mean action entropy where agents were in play, in nats."""
    term_names: tuple[str, ...]
    outcome_names: tuple[str, ...]
    cause_names: tuple[str, ...]
    tracks: tuple[Track, ...] = ()
    """What was done in each level, in the same order; empty unless asked for."""

    @property
    def wins(self) -> NDArray[np.bool_]:
        """bool, one element a level."""
        won: NDArray[np.bool_] = self.records["outcome"] == self.outcome_names.index("victory")
        return won


def play_levels(
    actor: Actor,
    make: Callable[[int], BatchedGame],
    seeds: Sequence[int],
    *,
    held_out: bool = True,
    max_games: int | None = None,
    each_tick: Callable[[], None] | None = None,
    keep_tracks: bool = False,
) -> Games:
    """Plays every level of the list once.

    Each game plays its own share of the list to the end, so quick losses don't crowd out long
    games.

    Args:
        actor: who plays.
        make: makes that many games, not started yet.
        seeds: level seeds.
        held_out: whether they name held-out levels.
        max_games: games side by side at most; None: `MAX_GAMES`.
        each_tick: called at every tick, for a watchdog.
        keep_tracks: whether to keep what was done, for replays.
    """
    num_games = min(len(seeds), max_games or MAX_GAMES)
    sim = make(num_games)
    shares = [list(range(i, len(seeds), num_games)) for i in range(num_games)]
    levels = [Level(seed=seed, held_out=held_out) for seed in seeds]
    sim.reset(levels=levels[:num_games])
    for i, share in enumerate(shares):
        sim.queue_levels(i, [levels[k] for k in share[1:]])
    left = np.array([len(share) for share in shares])
    started = np.ones(num_games, np.bool_)
    actions = np.zeros((num_games, sim.num_agents), np.int64)
    tape = _Tape(num_games) if keep_tracks else None
    while (left > 0).any():
        if each_tick is not None:
            each_tick()
        playing = np.flatnonzero(left > 0)
        actor.start(sim, started)
        actions[playing] = actor.act(sim, playing)
        sim.step(actions)
        started = sim.terminated | sim.truncated
        if tape is not None:
            tape.add(actions, playing, actor.thoughts, started)
        left -= started
    records = _in_order(sim.episodes(), seeds, held_out, shares)
    return Games(
        records=records,
        entropy=actor.entropy,
        term_names=sim.term_names,
        outcome_names=sim.outcome_names,
        cause_names=sim.cause_names,
        tracks=tape.tracks(shares) if tape is not None else (),
    )


class _Tape:
    """What all games did, tick by tick, to be cut into levels at the end."""

    def __init__(self, num_games: int) -> None:
        self.num_games = num_games
        self.actions: list[NDArray[np.uint8]] = []
        self.thoughts: list[tuple[NDArray[np.float16], NDArray[np.float16]]] = []
        self.ended: list[NDArray[np.bool_]] = []

    def add(
        self,
        actions: NDArray[np.int64],
        playing: NDArray[np.intp],
        thoughts: Thoughts | None,
        ended: NDArray[np.bool_],
    ) -> None:
        """One tick of all games; thoughts are those of the games `playing`."""
        self.actions.append(actions.astype(np.uint8))
        self.ended.append(ended.copy())
        if thoughts is not None:
            parts = (thoughts.probabilities, thoughts.values)
            whole = [np.zeros((self.num_games, *one.shape[1:]), np.float16) for one in parts]
            for room, one in zip(whole, parts, strict=True):
                room[playing] = one
            self.thoughts.append((whole[0], whole[1]))

    def tracks(self, shares: list[list[int]]) -> tuple[Track, ...]:
        """By level: the k-th stretch between two ends of a game is the k-th of its share."""
        actions, ended = np.stack(self.actions), np.stack(self.ended)
        thoughts: list[NDArray[np.float16] | None] = [None, None]
        if self.thoughts:
            thoughts = [np.stack(part) for part in zip(*self.thoughts, strict=True)]
        found: dict[int, Track] = {}
        for game, share in enumerate(shares):
            ends = np.flatnonzero(ended[:, game]) + 1
            start = 0
            for level, end in zip(share, ends[: len(share)], strict=True):
                probabilities, values = (
                    None if part is None else part[start:end, game] for part in thoughts
                )
                found[level] = Track(
                    actions=actions[start:end, game], probabilities=probabilities, values=values
                )
                start = end
        return tuple(found[level] for level in range(len(found)))


def _in_order(
    records: NDArray[np.void],
    seeds: Sequence[int],
    held_out: bool,
    shares: list[list[int]],
) -> NDArray[np.void]:
    """The first episodes of each game, in the order of the list."""
    ordered = np.zeros(len(seeds), records.dtype)
    played = [0] * len(shares)
    for record in records:
        game = int(record["game"])
        if played[game] < len(shares[game]):
            index = shares[game][played[game]]
            expected = int(seeds[index]) | (HELD_OUT_BIT if held_out else 0)
            assert int(record["level_seed"]) == expected, "another level than named was played"
            ordered[index] = record
        played[game] += 1
    return ordered
