"""One game at a time with named agents: what the RLlib and PettingZoo adapters share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from env.batch import BatchedGame, hash_words
from env.errors import BadInputError, unknown_name
from env.games import make_simulator

CONFIG_KEYS = ("game", "config", "rewards", "seed")


def agent_ids(num_agents: int) -> list[str]:
    """Names of the seats."""
    return [f"agent_{i}" for i in range(num_agents)]


def observation_space(simulator: type[BatchedGame] | BatchedGame) -> gym.spaces.Dict:
    """One agent's observation: a Dict with a Box a part."""
    return gym.spaces.Dict(
        {
            part.name: gym.spaces.Box(part.low, part.high, part.shape, part.dtype)  # type: ignore[arg-type]
            for part in simulator.parts
        }
    )


class SingleGame:
    """A simulator of one game, seen through dicts by agent.

    Every agent stays until the episode ends: who is out or dead waits, sees little, and goes on
    receiving what everyone receives. Its info says `alive: False`.
    """

    def __init__(self, env_config: Mapping[str, Any], stream: tuple[int, ...]) -> None:
        """`stream` is hashed with the config's seed, so that no two environments share levels."""
        for key in env_config:
            if key not in CONFIG_KEYS:
                raise unknown_name("key of env_config", str(key), CONFIG_KEYS)
        self._stream: tuple[int, ...] | None = None
        if (given := env_config.get("seed")) is not None:
            if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 0:
                raise BadInputError(f"seed is {given!r}; it must be a whole number of at least 0.")
            self._stream = (int(given), *stream)
        seed = None if self._stream is None else hash_words(self._stream)
        self.sim = make_simulator(
            env_config.get("game", "pico_park"),
            1,
            config=env_config.get("config"),
            rewards=env_config.get("rewards"),
            seed=seed,
        )
        self.ids = agent_ids(self.sim.num_agents)
        self.observation_spaces = {a: observation_space(self.sim) for a in self.ids}
        self.action_spaces: dict[str, gym.Space[Any]] = {
            a: gym.spaces.Discrete(self.sim.num_actions) for a in self.ids
        }
        # The simulator starts the next level by itself; a reset that finds one unplayed keeps it.
        self._at_start = False

    @property
    def has_seed(self) -> bool:
        """Whether the config names the seed of the levels."""
        return self._stream is not None

    def branch(self, salt: int) -> None:
        """Goes on with other levels: a run that is resumed must not see its first ones again."""
        if self._stream is not None:
            self.sim.reset(seed=hash_words((*self._stream, salt)))
            self._at_start = True

    def _observe(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {
            agent: {name: array[0, i].copy() for name, array in arrays.items()}
            for i, agent in enumerate(self.ids)
        }

    def _infos(self) -> dict[str, dict[str, Any]]:
        return {agent: {"alive": bool(self.sim.alive[0, i])} for i, agent in enumerate(self.ids)}

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; with a seed, the stream of levels starts anew."""
        if seed is not None:
            self.sim.reset(seed=seed)
        elif not self._at_start:
            self.sim.reset()
        self._at_start = True
        return self._observe(self.sim.observations), self._infos()

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], bool, bool, dict[str, Any]]:
        """One tick: observations, rewards, terminated, truncated, infos.

        At the end the observations are the game's last ones, and each info holds the episode's
        record under `episode`.
        """
        missing = [agent for agent in self.ids if agent not in actions]
        if missing:
            raise BadInputError(
                f"no action for {missing[0]}; every agent acts in every tick, also who is out."
            )
        row = np.array([[int(actions[agent]) for agent in self.ids]], np.int64)
        self.sim.step(row)
        terminated, truncated = bool(self.sim.terminated[0]), bool(self.sim.truncated[0])
        self._at_start = terminated or truncated
        rewards = {agent: float(self.sim.rewards[0, i]) for i, agent in enumerate(self.ids)}
        if not self._at_start:
            return self._observe(self.sim.observations), rewards, False, False, self._infos()
        record = self.sim.episodes()[-1]
        infos = {agent: {"alive": False, "episode": record} for agent in self.ids}
        last = self._observe(self.sim.final_observations)
        return last, rewards, terminated, truncated, infos
