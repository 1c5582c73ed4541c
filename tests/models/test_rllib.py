"""Stock RLlib PPO runs the module as it stands, in a MultiRLModule with one shared policy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from models import ModelConfig, RecurrentActorCritic

CHANNELS = [
    {"name": "ask", "kind": "flag"},
    {"name": "cue", "kind": "category", "num_values": 4},
]


class Noise(MultiAgentEnv):
    """Two agents see noise for 3 to 29 steps and are paid for action 0."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.agents = self.possible_agents = ["left", "right"]
        space = gym.spaces.Dict(
            {
                "grid": gym.spaces.Box(0, 255, (2, 6, 7), np.uint8),
                "global": gym.spaces.Box(-1, 1, (3,), np.float32),
            }
        )
        self.observation_spaces = dict.fromkeys(self.agents, space)
        self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(3))
        self.random = np.random.default_rng(0)

    def _look(self) -> dict[str, dict[str, np.ndarray]]:
        return {
            agent: {
                "grid": self.random.integers(0, [[[2]], [[4]]], (2, 6, 7), dtype=np.uint8),
                "global": self.random.uniform(-1, 1, 3).astype(np.float32),
            }
            for agent in self.agents
        }

    def reset(self, *, seed=None, options=None):
        self.steps_left = int(self.random.integers(3, 30))
        return self._look(), {}

    def step(self, action_dict):
        self.steps_left -= 1
        rewards = {agent: float(action_dict[agent] == 0) for agent in self.agents}
        done = {"__all__": self.steps_left == 0}
        return self._look(), rewards, done, {"__all__": False}, {}


class SharpActorCritic(RecurrentActorCritic):
    """With large logits, so that a wrong state would show in the KL divergence."""

    def setup(self) -> None:
        super().setup()
        with torch.no_grad():
            self.actor.weight.mul_(3000.0)


pytestmark = pytest.mark.usefixtures("ray")


@pytest.mark.parametrize("lstm", [True, False])
def test_two_iterations_of_stock_ppo(lstm):
    """With learning rate 0 the learner's policy must equal the one that acted: KL 0."""
    spec = RLModuleSpec(
        module_class=SharpActorCritic,
        model_config={
            **ModelConfig(lstm=lstm).to_dict(grid_channels=CHANNELS),
            "max_seq_len": 16,
        },
    )
    config = (
        PPOConfig()
        .environment(Noise)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=32)
        .learners(num_learners=0)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda *args, **kwargs: "shared")
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={"shared": spec}))
        .training(train_batch_size_per_learner=64, minibatch_size=64, num_epochs=2, lr=0.0)
        .debugging(seed=1, log_level="ERROR")
    )
    algorithm = config.build_algo()
    try:
        module = algorithm.get_module("shared")
        assert isinstance(module, SharpActorCritic) and module.is_stateful() == lstm
        before = module.get_state()
        for _ in range(2):
            learned = algorithm.train()["learners"]["shared"]
            assert learned["mean_kl_loss"] < 1e-6
            assert learned["entropy"] < 1.0  # a sharp policy: log(3) is 1.099
            assert np.isfinite(learned["total_loss"])
        for name, value in module.get_state().items():
            assert np.array_equal(value, before[name]), name
    finally:
        algorithm.stop()


def test_a_learning_rate_moves_the_weights_of_the_runner_too():
    spec = RLModuleSpec(
        module_class=RecurrentActorCritic,
        model_config={**ModelConfig().to_dict(grid_channels=CHANNELS), "max_seq_len": 33},
    )
    config = (
        PPOConfig()
        .environment(Noise)
        .env_runners(num_env_runners=0, rollout_fragment_length=32)
        .learners(num_learners=0)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda *args, **kwargs: "shared")
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={"shared": spec}))
        .training(train_batch_size_per_learner=32, minibatch_size=32, num_epochs=1, lr=1e-3)
        .debugging(seed=1, log_level="ERROR")
    )
    algorithm = config.build_algo()
    try:
        before = algorithm.get_module("shared").get_state()
        algorithm.train()
        after = algorithm.get_module("shared").get_state()
        assert all(np.abs(after[name] - before[name]).max() > 0 for name in before)
    finally:
        algorithm.stop()
