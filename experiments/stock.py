"""The stock path: RLlib's own PPO on the registered environment, with our module."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from env.pico_park import PicoParkRewards
from env.rllib import PREFIX
from experiments.policy import model_config
from experiments.recipe import Recipe
from models import RecurrentActorCritic

MODULE = "shared"
"""Name of the one policy that plays every seat."""


def shared_policy(agent_id: str, episode: Any, **info: Any) -> str:
    """Every seat plays the one policy."""
    return MODULE


class EpisodeLedger(RLlibCallback):
    """Logs where the return of training episodes comes from: `ledger/<term>`, unweighted."""

    def on_episode_end(self, *, episode: Any, metrics_logger: Any, **info: Any) -> None:
        """Reads the simulator's own record, which the last info carries."""
        infos = episode.get_infos(-1)
        record = next(iter(infos.values())).get("episode") if infos else None
        if record is None:
            return
        totals = record["terms"].mean(axis=0)
        # One dict a call: RLlib's logger is slow, and it would be called for every term.
        names = PicoParkRewards.terms()
        metrics_logger.log_dict(
            {f"ledger/{name}": float(total) for name, total in zip(names, totals, strict=True)},
            window=200,
        )


def hashed_seed(seed: int) -> int:
    """32 bits for RLlib, which adds the worker's index: neighbouring seeds must not meet there."""
    return int(np.random.SeedSequence([seed]).generate_state(1)[0] >> 1)


def branch_levels(algorithm: Any, salt: int) -> None:
    """Sends every training environment on to levels that it hasn't seen before this checkpoint."""

    def branch(runner: Any) -> None:
        for env in runner.env.envs if runner.env is not None else ():
            env.unwrapped.game.branch(salt)

    algorithm.env_runner_group.foreach_env_runner(branch)


def algorithm_config(recipe: Recipe) -> PPOConfig:
    """RLlib's config of a recipe: everything of one trial, the game's seed included."""
    ppo, run = recipe.ppo, recipe.run
    spec = RLModuleSpec(
        module_class=RecurrentActorCritic,
        # RLlib appends a bootstrap step to each fragment; one more fits it without padding.
        model_config=model_config(recipe, max_seq_len=ppo.fragment + 1),
    )
    return (
        PPOConfig()
        .environment(
            PREFIX + "pico_park",
            env_config={"config": recipe.env, "rewards": recipe.rewards, "seed": run.seed},
        )
        .env_runners(
            num_env_runners=ppo.num_env_runners,
            num_envs_per_env_runner=ppo.num_envs,
            rollout_fragment_length=ppo.fragment,
        )
        .multi_agent(policies={MODULE}, policy_mapping_fn=shared_policy)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={MODULE: spec}))
        .training(
            lr=[[0, ppo.lr], [run.env_steps, ppo.lr_end]],
            gamma=ppo.gamma,
            lambda_=ppo.lambda_,
            clip_param=ppo.clip,
            vf_loss_coeff=ppo.value_coefficient,
            vf_clip_param=ppo.value_clip,
            entropy_coeff=[[0, ppo.entropy], [run.env_steps, ppo.entropy_end]],
            use_kl_loss=False,
            grad_clip=ppo.gradient_norm,
            grad_clip_by="global_norm",
            num_epochs=ppo.num_epochs,
            minibatch_size=ppo.minibatch,
            train_batch_size_per_learner=max(1, ppo.num_env_runners) * ppo.num_envs * ppo.fragment,
        )
        .callbacks(EpisodeLedger)
        .debugging(seed=hashed_seed(run.seed), log_level="ERROR")
    )
