"""The small problem that these tests learn: a few short games and a network of 13,000 weights.

Two or three cats on a screen that scrolls every other tick: random play dies within a dozen ticks,
so a segment of 16 steps has episode ends inside, and cats that are dead wait for the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.metrics.stats import StatsBase

from algorithms.env_runner import BatchedEnvRunner, GameEpisode
from algorithms.learner import SegmentPPOLearner
from algorithms.rollout import Rollout, RolloutData, Rollouts
from algorithms.segment_ppo import SHARED, SegmentPPOConfig, play_shared
from algorithms.segments import SegmentBuffer
from env.pico_park import PicoPark
from models import ModelConfig, RecurrentActorCritic

GAME = {
    "preset": "meadow",
    "num_agents": 3,
    "length": 60,
    "scroll_period": 2,
    "time_limit": 24,
    "on_death": "continue",
}
REWARDS = {
    # Sums of halves are exact in float32, so a reward that went missing can't hide in rounding.
    "defeat": -1.0,
    "stranded": -0.5,
    "crushed": -0.25,
    "progress_key": 0.0625,
    "progress_unlock": 0.0,
    "progress_follow": 0.0,
    "progress_exit": 0.0,
    "own_block": 0.0625,
    "foreign_block": 0.0,
    "wasted_shot": -0.125,
    "team_share": 0.0,
}
MODEL = ModelConfig(grid_planes=4, global_size=8, hidden_size=16, lstm_size=16)
NUM_AGENTS, NUM_GAMES, NUM_STEPS = 3, 4, 16
NUM_ROWS = NUM_AGENTS * NUM_GAMES
ENV_STEPS = NUM_GAMES * NUM_STEPS


class SharpActorCritic(RecurrentActorCritic):
    """With large logits, so that a wrong memory or observation shows in the probabilities."""

    def setup(self) -> None:
        super().setup()
        with torch.no_grad():
            self.actor.weight.mul_(300.0)


class CutPark(PicoPark):
    """Pico Park that cuts off what ends in tick 2, 6, 10, ...; Pico Park itself never truncates.

    (Cats die when the screen moves on, in even ticks.)
    """

    def __init__(self, num_envs: int, *args: Any, **kwargs: Any) -> None:
        self.ticks = np.zeros(num_envs, np.int64)
        super().__init__(num_envs, *args, **kwargs)

    def reset(self, **kwargs: Any) -> None:
        self.ticks[:] = 0
        super().reset(**kwargs)

    def step(self, actions: NDArray[Any]) -> None:
        super().step(actions)
        self.ticks += 1
        self.truncated[:] = self.terminated & (self.ticks % 4 == 2)
        self.terminated[:] &= ~self.truncated
        self.ticks[self.terminated | self.truncated] = 0


def small_config(
    *,
    seed: int | None = 7,
    num_games: int = NUM_GAMES,
    num_steps: int = NUM_STEPS,
    game: dict[str, Any] | None = None,
    rewards: dict[str, float] | None = None,
    model: ModelConfig = MODEL,
    policies: Sequence[str] = (SHARED,),
    **training: Any,
) -> SegmentPPOConfig:
    """The algorithm on the small problem; what is beyond it is for the caller to add."""
    training = {"minibatch_size": 4 * num_steps, **training}
    spec = RLModuleSpec(module_class=SharpActorCritic, model_config=model.to_dict())
    config: SegmentPPOConfig = (
        SegmentPPOConfig()
        .environment(
            "clowder/pico_park",
            env_config={
                "config": {**GAME, **(game or {})},
                "rewards": {**REWARDS, **(rewards or {})},
                "seed": seed,
            },
        )
        .env_runners(num_envs_per_env_runner=num_games, rollout_fragment_length=num_steps)
        .multi_agent(policies=set(policies), policy_mapping_fn=play_shared)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=dict.fromkeys(policies, spec)))
        .training(**training)
        .debugging(seed=3, log_level="ERROR")
    )
    return config


def seat_by_number(agent_id: str, episode: GameEpisode, **info: Any) -> str:
    """Seats of two policies that change hands from episode to episode."""
    return ("red", "blue")[(int(agent_id[-1]) + episode.game + episode.number) % 2]


def two_policies(
    mapping: Callable[..., str] = seat_by_number, *, policies_to_train: Any = None, **settings: Any
) -> SegmentPPOConfig:
    """The small problem for a red and a blue network."""
    config = small_config(policies=("red", "blue"), **settings)
    config.multi_agent(policy_mapping_fn=mapping, policies_to_train=policies_to_train)
    return config


def stock_config(config: SegmentPPOConfig) -> PPOConfig:
    """RLlib's own PPO on the same games with the same network, without exploration."""
    length = int(config.rollout_fragment_length)
    channels = [dict(one) for one in PicoPark.parts[0].channels]
    # RLlib appends a bootstrap step to each fragment.
    more = {"max_seq_len": length + 1, "grid_channels": channels}
    spec = RLModuleSpec(module_class=SharpActorCritic, model_config={**MODEL.to_dict(), **more})
    stock: PPOConfig = (
        PPOConfig()
        # RLlib's check of an environment plays a tick of its first level and leaves it.
        .environment(config.env, env_config=dict(config.env_config), disable_env_checking=True)
        .env_runners(
            num_env_runners=config.num_env_runners,
            num_envs_per_env_runner=config.num_envs_per_env_runner,
            rollout_fragment_length=length,
            explore=False,
        )
        .multi_agent(policies={SHARED}, policy_mapping_fn=play_shared)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={SHARED: spec}))
        .training(gamma=config.gamma, lambda_=config.lambda_, use_kl_loss=False)
        .debugging(seed=config.seed, log_level="ERROR")
    )
    return stock


def make_runner(
    config: SegmentPPOConfig | None = None, *, worker_index: int = 0, **kwargs: Any
) -> BatchedEnvRunner:
    """A runner of its own, as RLlib would build it."""
    return BatchedEnvRunner(config=config or small_config(), worker_index=worker_index, **kwargs)


def make_learner(config: SegmentPPOConfig, runner: BatchedEnvRunner) -> SegmentPPOLearner:
    """A learner of its own, for the games of a runner and with its weights."""
    spec = config.get_multi_rl_module_spec(spaces=runner.get_spaces())
    learner = SegmentPPOLearner(config=config, module_spec=spec)
    learner.build()
    learner.module.set_state(runner.module.get_state())
    return learner


def sample(runner: BatchedEnvRunner, **kwargs: Any) -> Rollouts:
    """One rollout, as a copy: a runner uses its arrays again."""
    (rollouts,) = runner.sample(**kwargs)
    return copy.deepcopy(rollouts)


def sample_shared(runner: BatchedEnvRunner, **kwargs: Any) -> Rollout:
    """The same, of the one policy."""
    return sample(runner, **kwargs).modules[SHARED]


def learn(learner: SegmentPPOLearner, *rollouts: Rollouts, env_steps: int = 0) -> dict[str, Any]:
    """One iteration, and what it logged as plain numbers."""
    logged = learner.update(
        training_data=RolloutData(rollouts=list(rollouts)),
        timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps},
    )
    return plain(logged)


def plain(logged: Any) -> Any:
    """RLlib's statistics as numbers."""
    if isinstance(logged, dict):
        return {name: plain(one) for name, one in logged.items()}
    return logged.peek() if isinstance(logged, StatsBase) else logged


def buffer_of(config: SegmentPPOConfig, rollout: Rollout, **settings: Any) -> SegmentBuffer:
    """A rollout with its advantages, as the learner of this config would hold it."""
    names = {"mode": "advantage", **{name: name for name in ("rho_clip", "c_clip")}}
    chosen = {name: getattr(config, key) for name, key in names.items()}
    return SegmentBuffer(
        rollout, "cpu", gamma=config.gamma, lambda_=config.lambda_, **{**chosen, **settings}
    )


def forward(module: Any, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
    """What the train forward says of a rollout: log-probabilities (R, T, actions), values."""
    batch = {
        "obs": {name: torch.from_numpy(one) for name, one in rollout.observations.items()},
        "state_in": {name: torch.from_numpy(one) for name, one in rollout.states.items()},
        "episode_start": torch.from_numpy(rollout.episode_start),
    }
    with torch.no_grad():
        answer = module.forward_train(batch)
        values = module.compute_values(batch, embeddings=answer["embeddings"])
    return torch.log_softmax(answer["action_dist_inputs"], -1), values


def taken(log_probabilities: torch.Tensor, rollout: Rollout) -> torch.Tensor:
    """Log-probabilities (R, T) of the actions that were taken."""
    actions = torch.from_numpy(rollout.actions)
    return log_probabilities.gather(-1, actions[..., None])[..., 0]


def weights_of(module: Any) -> dict[str, NDArray[Any]]:
    """Copies of a module's weights."""
    return {name: one.detach().numpy().copy() for name, one in module.state_dict().items()}


def assert_same(one: Any, other: Any) -> None:
    """Bit for bit, through dicts and dataclasses."""
    if isinstance(one, Rollouts | Rollout):
        one, other = vars(one), vars(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    else:
        np.testing.assert_array_equal(one, other)
