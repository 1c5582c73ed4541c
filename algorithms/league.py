"""Who plays the other side in self-play: the newest policy, or one that it used to be.

A game between two copies of the newest policy teaches what is good against itself, and a policy can
run in circles so, losing to what it once beat. A league keeps frozen snapshots and seats them in a
share of the games, the harder ones more often (prioritised fictitious self-play, Vinyals et al.
2019, with their `f_hard`: a snapshot that is beaten with chance p is drawn by (1 - p) to a power).

A snapshot is seated when a game begins and stays to its end; its memory is its own; what it does is
never learned from. The league, weights and all, is part of its runner's checkpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env.errors import BadInputError

RARE = 0.05
"""Least weight of a snapshot, against 1 of one that is never beaten: what is beaten for sure is
looked at again now and then."""
FORGETTING = 0.98
"""What earlier games with a snapshot still count when another has ended: the policy changes."""


@dataclass(frozen=True, kw_only=True)
class LeagueConfig:
    """How opponents are chosen in self-play."""

    snapshot_env_steps: int = 0
    """Env steps between two snapshots; 0: no league, the newest policy plays both seats."""
    past_share: float = 0.5
    """Share of games against snapshots, once there are some."""
    hardness: float = 2.0
    """Power of a snapshot's chance to hold out by which it is drawn; 0: all alike."""

    def __post_init__(self) -> None:
        if self.snapshot_env_steps < 0:
            raise BadInputError(
                f"snapshot_env_steps is {self.snapshot_env_steps}; it must be at least 0."
            )
        if not 0 <= self.past_share <= 1:
            raise BadInputError(f"past_share is {self.past_share}; it must lie in 0 to 1.")
        if not 0 <= self.hardness < float("inf"):
            raise BadInputError(f"hardness is {self.hardness}; it must be finite, at least 0.")


class League:
    """The opponents of one runner's games, which have two seats.

    Attributes:
        modules: snapshots by name, the oldest first; frozen.
    """

    def __init__(
        self, config: LeagueConfig, learner: str, winning_seats: Mapping[int, int], seed: int
    ) -> None:
        """Starts without snapshots.

        Args:
            config: how to choose.
            learner: name of the policy that learns.
            winning_seats: for each outcome that somebody wins, by its index, who.
            seed: of the draws.

        Raises:
            BadInputError: nobody wins a game of this kind.
        """
        if sorted(winning_seats.values()) != [0, 1]:
            raise BadInputError(
                "a league needs a game of two seats that one of them wins; leave "
                "snapshot_env_steps at 0."
            )
        self.config, self.learner = config, learner
        self.modules: dict[str, Any] = {}
        self._winning_seats = dict(winning_seats)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._next = config.snapshot_env_steps
        # By snapshot: [points of the learner, games], what is long ago counting less.
        self._scores: dict[str, NDArray[np.float64]] = {}

    def is_due(self, env_steps: int) -> bool:
        """Whether a snapshot should be taken."""
        return env_steps >= self._next

    def add(self, module: Any, env_steps: int) -> str:
        """Takes a snapshot of the learner's module; returns its name."""
        name = f"past-{env_steps:012d}"
        self.modules[name] = _frozen(module)
        self._scores[name] = np.zeros(2)
        self._next = env_steps + self.config.snapshot_env_steps
        return name

    def chances(self) -> dict[str, float]:
        """Chance of the learner to beat each snapshot, as it was lately; a half before any game."""
        return {
            name: float((points + 0.5) / (games + 1))
            for name, (points, games) in self._scores.items()
        }

    def shares(self) -> dict[str, float]:
        """Chance of each snapshot to be drawn, where one is."""
        held_out = 1 - np.array(list(self.chances().values()))
        weights = np.maximum(held_out, RARE) ** self.config.hardness
        return dict(zip(self.modules, (weights / weights.sum()).tolist(), strict=True))

    def seats(self) -> list[str]:
        """Who plays the two seats of a game that begins."""
        both = [self.learner, self.learner]
        if self.modules and self._rng.random() < self.config.past_share:
            shares = self.shares()
            name = str(self._rng.choice(list(shares), p=list(shares.values())))
            both[int(self._rng.integers(2))] = name
        return both

    def learn(self, seated: Sequence[str], outcome: int) -> None:
        """Notes how a game ended that a snapshot has played."""
        past = [seat for seat, name in enumerate(seated) if name != self.learner]
        if len(past) != 1:
            return
        winner = self._winning_seats.get(outcome)
        points = 0.5 if winner is None else float(winner != past[0])
        score = self._scores[seated[past[0]]]
        score *= FORGETTING
        score += points, 1.0

    def get_state(self) -> dict[str, Any]:
        """Everything that the next draws depend on, and the snapshots' weights, as plain data."""
        return {
            "next": self._next,
            "generator": self._rng.bit_generator.state,
            "scores": {name: score.tolist() for name, score in self._scores.items()},
            "weights": {
                name: {key: one.cpu().numpy().copy() for key, one in module.state_dict().items()}
                for name, module in self.modules.items()
            },
        }

    def set_state(self, state: Mapping[str, Any], module: Any) -> None:
        """Goes on from what `get_state` gave.

        Args:
            state: see there.
            module: of the kind that the snapshots are.
        """
        import torch

        self._next = int(state["next"])
        self._scores = {name: np.array(score) for name, score in state["scores"].items()}
        self.rewind(state)
        self.modules = {}
        for name, weights in state["weights"].items():
            snapshot = _frozen(module)
            snapshot.load_state_dict(
                {key: torch.from_numpy(np.array(w)) for key, w in weights.items()}
            )
            self.modules[name] = snapshot

    def rewind(self, state: Mapping[str, Any]) -> None:
        """Draws from here on what was drawn from that state on."""
        self._rng.bit_generator.state = state["generator"]


def _frozen(module: Any) -> Any:
    """A copy that neither learns nor changes with the original."""
    found = copy.deepcopy(module)
    found.requires_grad_(False)
    return found.eval()
