"""Which levels training plays next, by how often they have been won.

Two ways, over difficulties from easy to hard (`rungs`):

- `ladder`: the next rung opens when the newest is won often enough. Most games are played on the
  newest open rung, the rest on those before it, so that nothing is forgotten.
- `learnability` (Rutherford et al. 2024): what is sometimes won and sometimes lost teaches most, so
  rungs, and single levels that were met before, are drawn by p (1 - p), p being how often they were
  won lately.

Statistics come from training games only and belong to the runner's checkpoint; evaluation names its
levels itself and never hears of any of this.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from env.batch import HELD_OUT_BIT, Level
from env.errors import BadInputError

CurriculumMode = Literal["none", "ladder", "learnability"]

RARE = 0.02
"""Least share of each rung under `learnability`: what was mastered or hopeless is looked at again
now and then."""


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """How training levels are chosen."""

    mode: CurriculumMode = "none"
    """`none` plays the game's own preset; `ladder` opens harder presets by measured success;
    `learnability` draws presets and levels by p (1 - p) (Rutherford et al. 2024)."""
    rungs: tuple[str, ...] = ("meadow", "gates", "curtains", "tunnels", "gauntlet")
    """Presets from easy to hard."""
    window: int = 200
    """Newest games of a rung that its success is measured over."""
    promote_at: float = 0.8
    """`ladder`: success on the newest rung that opens the next."""
    newest_share: float = 0.7
    """`ladder`: share of games on the newest open rung; the others share the rest alike."""
    replay_share: float = 0.5
    """`learnability`: share of games on levels that were met before; the rest are new."""
    replay_levels: int = 500
    """`learnability`: levels of each rung that are remembered, those met last."""
    num_levels: int = 0
    """Levels of each preset that training has, always the same; 0: as many as it plays. With few,
    teams learn them by heart."""

    def __post_init__(self) -> None:
        for name in ("promote_at", "newest_share", "replay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInputError(f"{name} is {getattr(self, name)}; it must lie in 0 to 1.")
        if self.num_levels < 0:
            raise BadInputError(f"num_levels is {self.num_levels}; it must be at least 0.")
        for name in ("window", "replay_levels"):
            if getattr(self, name) < 1:
                raise BadInputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.mode != "none" and not self.rungs:
            raise BadInputError("a curriculum needs rungs; name presets from easy to hard.")
        if len(set(self.rungs)) < len(self.rungs):
            raise BadInputError(f"rungs names a preset twice: {', '.join(self.rungs)}.")


class Curriculum:
    """The levels of one runner's games.

    Attributes:
        num_open: rungs that are played; all of them under `learnability`.
    """

    def __init__(
        self, config: CurriculumConfig, difficulty_names: Sequence[str], victory: int, seed: int
    ) -> None:
        """Starts at the lowest rung.

        Args:
            config: how to choose.
            difficulty_names: the game's, in the order of its records.
            victory: index of the outcome that counts as success.
            seed: of the draws.

        Raises:
            BadInputError: a rung that the game hasn't.
        """
        for name in config.rungs:
            if name not in difficulty_names:
                raise BadInputError(
                    f"the curriculum names {name!r}, which is no difficulty of this game; choose "
                    f"from {', '.join(difficulty_names)}."
                )
        self.config = config
        self.num_open = 1 if config.mode == "ladder" else len(config.rungs)
        self._rung_of = {difficulty_names.index(name): i for i, name in enumerate(config.rungs)}
        self._victory = victory
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._won: list[deque[bool]] = [deque(maxlen=config.window) for _ in config.rungs]
        # By level seed: [wins, games], the level met longest ago first.
        self._levels: list[dict[int, list[int]]] = [{} for _ in config.rungs]

    def draw(self) -> Level:
        """The next level of a game."""
        rung = int(self._rng.choice(self.num_open, p=self.shares()))
        name = self.config.rungs[rung]
        if self.config.mode == "learnability" and self._rng.random() < self.config.replay_share:
            met = self._levels[rung]
            if met:
                wins, games = np.array(list(met.values())).T
                index = int(self._rng.choice(len(met), p=_learnability(wins, games)))
                return Level(seed=list(met)[index], difficulty=name)
        if self.config.num_levels:
            return Level(seed=int(self._rng.integers(self.config.num_levels)), difficulty=name)
        return Level(difficulty=name)

    def shares(self) -> NDArray[np.float64]:
        """Probability of each open rung."""
        count = self.num_open
        if self.config.mode == "ladder":
            if count == 1:
                return np.ones(1)
            older = (1 - self.config.newest_share) / (count - 1)
            return np.array([older] * (count - 1) + [self.config.newest_share])
        wins, games = np.array([(sum(won), len(won)) for won in self._won]).T
        least = min(RARE, 1 / count)
        return least + (1 - least * count) * _learnability(wins, games)

    def learn(self, records: Any) -> None:
        """Takes in records of games that ended; see `env.batch.BatchedGame.episodes`."""
        for difficulty, seed, outcome in zip(
            records["difficulty"], records["level_seed"], records["outcome"], strict=True
        ):
            rung = self._rung_of.get(int(difficulty))
            if rung is None or int(seed) & HELD_OUT_BIT:
                continue
            won = int(outcome) == self._victory
            self._won[rung].append(won)
            if self.config.mode == "learnability":
                met = self._levels[rung]
                wins, games = met.pop(int(seed), (0, 0))
                met[int(seed)] = [wins + won, games + 1]
                if len(met) > self.config.replay_levels:
                    del met[next(iter(met))]
        if self.config.mode == "ladder" and self.num_open < len(self.config.rungs):
            newest = self._won[self.num_open - 1]
            is_full = len(newest) == self.config.window
            if is_full and sum(newest) >= self.config.promote_at * len(newest):
                self.num_open += 1

    def success(self) -> dict[str, float]:
        """How often each rung that was played lately was won."""
        pairs = zip(self.config.rungs, self._won, strict=True)
        return {name: sum(won) / len(won) for name, won in pairs if won}

    def get_state(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "config": dataclasses.asdict(self.config),
            "num_open": self.num_open,
            "won": [list(won) for won in self._won],
            "levels": [[(seed, *counts) for seed, counts in met.items()] for met in self._levels],
            "generator": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave; another curriculum's state is left alone."""
        config = state["config"]
        if (config["mode"], config["rungs"]) != (self.config.mode, self.config.rungs):
            return
        self.num_open = int(state["num_open"])
        for won, stored in zip(self._won, state["won"], strict=True):
            won.clear()
            won.extend(stored)
        self._levels = [
            {seed: [wins, games] for seed, wins, games in met} for met in state["levels"]
        ]
        self._rng.bit_generator.state = state["generator"]


def _learnability(wins: NDArray[np.int64], games: NDArray[np.int64]) -> NDArray[np.float64]:
    """p (1 - p) of each, as shares of their sum.

    As if each had been won once and lost once as well: what is unknown may teach.
    """
    rates = (wins + 1) / (games + 2)
    weights = rates * (1 - rates)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
