"""The games as PettingZoo `ParallelEnv`s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

from env.single import SingleGame


class GameParallelEnv(ParallelEnv[str, dict[str, Any], int]):
    """One game for PettingZoo; every agent stays until the episode ends."""

    render_mode = "ansi"

    def __init__(self, env_config: Mapping[str, Any]) -> None:
        self.game = SingleGame(env_config, stream=())
        self.metadata = {"name": f"clowder_{self.game.sim.name}", "render_modes": ["ansi"]}
        self.possible_agents = list(self.game.ids)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> gym.Space[Any]:
        """The same object every time, as PettingZoo wants it."""
        return self.game.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space[Any]:
        """The same object every time, as PettingZoo wants it."""
        return self.game.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observations and infos of every agent; the seed decides all levels from here on."""
        self.agents = list(self.possible_agents)
        return self.game.reset(seed)

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One tick."""
        observations, rewards, terminated, truncated, infos = self.game.step(actions)
        terminations = dict.fromkeys(self.possible_agents, terminated)
        truncations = dict.fromkeys(self.possible_agents, truncated)
        if terminated or truncated:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def render(self) -> str:
        """The game as text."""
        return self.game.sim.text(0)

    def state(self) -> np.ndarray:
        """Every agent's observation, flattened: a central critic's input."""
        parts = [array[0].ravel() for array in self.game.sim.observations.values()]
        return np.concatenate([part.astype(np.float32) for part in parts])


def parallel_env(game: str = "pico_park", **env_config: Any) -> GameParallelEnv:
    """A game as a `ParallelEnv`. Keys: `config`, `rewards` (objects or dicts), `seed`."""
    return GameParallelEnv({"game": game, **env_config})
