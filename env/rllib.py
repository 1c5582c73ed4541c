"""The games as RLlib `MultiAgentEnv`s, registered with Ray as `clowder/<game>` on import."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

from env.games import GAMES
from env.single import SingleGame

PREFIX = "clowder/"

# RLlib gives all environments of a runner the same context (vector_index is 0 for each), so they
# are told apart by counting. A runner is a process, and makes its environments in one order.
_made: dict[int, Iterator[int]] = defaultdict(itertools.count)


class GameEnv(MultiAgentEnv):
    """One game for RLlib's own runners and algorithms.

    `env_config`: `game`, `config` and `rewards` (objects or dicts of their fields), `seed`. With a
    seed the levels come from a stream hashed from (seed, worker, environment), and the seed that
    RLlib passes to `reset` is ignored, since RLlib makes those by adding small integers: 4 workers
    with 4 environments get only 7 different ones.
    """

    def __init__(self, env_config: Mapping[str, Any]) -> None:
        super().__init__()
        worker = int(getattr(env_config, "worker_index", 0) or 0)
        self.game = SingleGame(env_config, stream=(worker, next(_made[worker])))
        self.agents = list(self.game.ids)
        self.possible_agents = list(self.game.ids)
        self.observation_spaces = self.game.observation_spaces
        self.action_spaces = self.game.action_spaces

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observations and infos of every agent at the start of an episode."""
        return self.game.reset(None if self.game.has_seed else seed)

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One tick; nobody's episode ends before everybody's."""
        observations, rewards, terminated, truncated, infos = self.game.step(action_dict)
        # Agents aren't named one by one: RLlib would take a cut of each for a termination of all.
        return observations, rewards, {"__all__": terminated}, {"__all__": truncated}, infos

    def render(self) -> str:
        """The game as text."""
        return self.game.sim.text(0)


def register() -> None:
    """Makes every game known to Ray as `clowder/<game>`."""
    for name in GAMES:
        register_env(PREFIX + name, _creator(name))


def _creator(name: str) -> Any:
    def create(context: Any) -> GameEnv:
        context["game"] = name
        return GameEnv(context)

    return create


register()
