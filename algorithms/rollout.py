"""What was sampled: rectangular arrays, rows by steps, ready for a learner.

A row is a seat of a game, T steps long, whatever episodes end and begin inside it. Nothing is
dropped: every reward that the simulator paid is in exactly one row and step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.rllib.core.learner.training_data import TrainingData

Array = NDArray[Any]


@dataclass(kw_only=True)
class Rollout:
    """What one module is to learn from: R rows of T steps.

    A step belongs to the module if it was in the seat (`owned`); where seats change hands between
    episodes, a row holds steps of others too, which count for nothing here.
    """

    observations: dict[str, Array]
    """(R, T, ...) by part: seen before the action."""
    actions: Array
    """int64 (R, T)."""
    log_probabilities: Array
    """float32 (R, T): of the actions, under the policy that took them."""
    values: Array
    """float32 (R, T): estimates by the policy that acted."""
    rewards: Array
    """float32 (R, T): of this action, waiting rows included."""
    terminated: Array
    """bool (R, T): the episode ended with this step."""
    truncated: Array
    """bool (R, T): the episode was cut off with this step."""
    final_values: Array
    """float32 (R, T): where truncated, the value of the episode's last observation; else 0."""
    active: Array
    """bool (R, T): owned, and in play when it acted."""
    owned: Array
    """bool (R, T): the module was in the seat."""
    episode_start: Array
    """bool (R, T): first step of an episode."""
    states: dict[str, Array]
    """float32 (R, L) each: the memory before the first step; empty without one."""
    bootstrap: Array
    """float32 (R,): value of the observation after the last step."""
    game: Array
    """int32 (R,): index of the game among those of its runner."""
    seat: Array
    """int32 (R,): the agent's index in its game."""

    def select(self, rows: Any) -> Rollout:
        """Some rows: a slice (no copy), indices, or a mask."""

        def pick(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: one[rows] for name, one in value.items()}
            return value[rows]

        names = [one.name for one in dataclasses.fields(self)]
        return Rollout(**{name: pick(getattr(self, name)) for name in names})

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.actions)

    @property
    def num_steps(self) -> int:
        """T."""
        return int(self.actions.shape[1])


@dataclass(kw_only=True)
class Rollouts:
    """What a runner returns of one call of `sample`."""

    modules: dict[str, Rollout]
    """By module, those only that learn."""
    num_env_steps: int
    """Ticks, all games together."""
    num_agent_steps: int
    """Rows by steps, waiting ones included."""
    episodes: Array
    """Records of the games that ended; see `env.batch.BatchedGame.episodes`."""
    curriculum: dict[str, Any] | None = None
    """What a remote runner's curriculum knows; see `algorithms.curriculum.Curriculum.get_state`."""

    def env_steps(self) -> int:
        """RLlib's name for `num_env_steps`."""
        return self.num_env_steps

    def agent_steps(self) -> int:
        """RLlib's name for `num_agent_steps`."""
        return self.num_agent_steps


def concatenate(rollouts: Sequence[Rollout]) -> Rollout:
    """Rows of several runners behind each other; one alone is passed on as it is."""
    if len(rollouts) == 1:
        return rollouts[0]

    def join(values: Sequence[Any]) -> Any:
        if isinstance(values[0], dict):
            return {name: np.concatenate([one[name] for one in values]) for name in values[0]}
        return np.concatenate(values)

    names = [one.name for one in dataclasses.fields(Rollout)]
    return Rollout(**{name: join([getattr(one, name) for one in rollouts]) for name in names})


@dataclass
class RolloutData(TrainingData):
    """Rollouts on their way through RLlib's `LearnerGroup`, shared out by whole games.

    RLlib's own sharding separates the seats of a game and, with sequence lengths present, gives
    the first learner everything.
    """

    rollouts: Sequence[Rollouts] | None = None
    """What the runners returned; in a learner its share, as one element."""

    def validate(self) -> None:
        """Something must be there.

        Raises:
            ValueError: nothing is.
        """
        if not self.rollouts:
            raise ValueError("there are no rollouts to learn from.")

    def solve_refs(self) -> None:
        """Fetches what is still in Ray's object store."""
        if self.rollouts and any(isinstance(one, ray.ObjectRef) for one in self.rollouts):
            self.rollouts = ray.get(list(self.rollouts))

    def shard(
        self, num_shards: int, len_lookback_buffer: int | None = None, **kwargs: Any
    ) -> list[tuple[TrainingData, dict[str, Any]]]:
        """As many shares of equal numbers of rows; games are not split where rows suffice.

        Learners must take equally many steps, so where the rows of a module can't be shared out
        evenly, the last shares are filled up with rows that count for nothing.
        """
        self.solve_refs()
        whole = self.modules()
        shares: list[tuple[TrainingData, dict[str, Any]]] = []
        for index in range(num_shards):
            part = {}
            for name, rollout in whole.items():
                size = -(-rollout.num_rows // num_shards)
                start, end = index * size, (index + 1) * size
                if end <= rollout.num_rows:
                    part[name] = rollout.select(slice(start, end))
                    continue
                rows = np.arange(start, end)
                part[name] = filled = rollout.select(np.minimum(rows, rollout.num_rows - 1))
                filled.owned[rows >= rollout.num_rows] = False
                filled.active[rows >= rollout.num_rows] = False
            assert self.rollouts is not None
            share = Rollouts(
                modules=part,
                num_env_steps=sum(one.num_env_steps for one in self.rollouts) // num_shards,
                num_agent_steps=sum(one.num_agent_steps for one in self.rollouts) // num_shards,
                episodes=self.rollouts[0].episodes[:0],
            )
            shares.append((RolloutData(rollouts=[share]), {}))
        return shares

    def modules(self) -> Mapping[str, Rollout]:
        """Each module's rows, of all runners."""
        assert self.rollouts is not None
        names = {name: None for one in self.rollouts for name in one.modules}
        return {
            name: concatenate([one.modules[name] for one in self.rollouts if name in one.modules])
            for name in names
        }
