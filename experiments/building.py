"""From a recipe to an RLlib algorithm: one function an algorithm, one registry line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from algorithms import SegmentPPOConfig
from algorithms.curriculum import CurriculumConfig
from algorithms.env_runner import LEDGER
from algorithms.league import LeagueConfig
from algorithms.segment_ppo import SHARED, play_shared
from env.batch import hash_words
from env.pico_park import PicoParkRewards
from env.rllib import PREFIX
from experiments.policy import model_config
from experiments.recipe import PongRecipe, Recipe
from models import RecurrentActorCritic

MODULE = SHARED
"""Name of the one policy that plays every seat."""


def hashed_seed(seed: int) -> int:
    """31 bits for RLlib, which adds the worker's index: neighbouring seeds must not meet there."""
    return hash_words([seed]) >> 33


def _common(config: Any, recipe: Recipe, max_seq_len: int | None = None) -> Any:
    """What every algorithm here is told alike."""
    ppo, run = recipe.ppo, recipe.run
    spec = RLModuleSpec(
        module_class=RecurrentActorCritic,
        model_config=model_config(recipe, max_seq_len=max_seq_len),
    )
    return (
        config.environment(
            PREFIX + recipe.game,
            env_config={"config": recipe.env, "rewards": recipe.rewards, "seed": run.seed},
            # RLlib's check would play the first level of every stream.
            disable_env_checking=True,
        )
        .env_runners(
            num_env_runners=ppo.num_env_runners,
            num_envs_per_env_runner=ppo.num_envs,
            rollout_fragment_length=ppo.fragment,
            sample_timeout_s=2 * run.hang_timeout_s or None,
        )
        .learners(num_learners=ppo.num_learners, num_gpus_per_learner=ppo.num_gpus)
        .multi_agent(policies={MODULE}, policy_mapping_fn=play_shared)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={MODULE: spec}))
        .training(
            lr=[[0, ppo.lr], [run.env_steps, ppo.lr_end]],
            gamma=ppo.gamma,
            lambda_=ppo.lambda_,
            clip_param=ppo.clip,
            vf_loss_coeff=ppo.value_coefficient,
            entropy_coeff=[[0, ppo.entropy], [run.env_steps, ppo.entropy_end]],
            grad_clip=ppo.gradient_norm,
            grad_clip_by="global_norm",
            num_epochs=ppo.num_epochs,
            minibatch_size=ppo.minibatch,
        )
        # The trial counts them and fails in time (experiments/guards.py).
        .fault_tolerance(
            restart_failed_env_runners=True,
            max_num_env_runner_restarts=run.max_failures + 1,
            delay_between_env_runner_restarts_s=1.0,
        )
        .debugging(seed=hashed_seed(run.seed), log_level="ERROR")
    )


def segment_ppo(recipe: Recipe, log_dir: str) -> SegmentPPOConfig:
    """The batched path; see `algorithms.segment_ppo`."""
    ppo, run = recipe.ppo, recipe.run
    config: SegmentPPOConfig = _common(SegmentPPOConfig(), recipe)
    return (
        config.training(
            advantage=ppo.advantage,
            rho_clip=ppo.rho_clip,
            c_clip=ppo.c_clip,
            value_clip=ppo.value_clip,
            priority_alpha=ppo.priority_alpha,
            priority_beta=[[0, ppo.priority_beta], [run.env_steps, 1.0]],
            microbatch_size=ppo.microbatch,
        )
        .curriculum(_curriculum(recipe))
        .league(recipe.league if isinstance(recipe, PongRecipe) else LeagueConfig())
        .watchdog(hang_timeout_s=run.hang_timeout_s or None, log_dir=log_dir)
    )


def _curriculum(recipe: Recipe) -> CurriculumConfig:
    """The recipe's; a bounded number of levels without one is a ladder of a single rung."""
    config = recipe.curriculum
    if config.mode == "none" and config.num_levels:
        return dataclasses.replace(config, mode="ladder", rungs=(recipe.env.preset,))
    return config


def stock_ppo(recipe: Recipe, log_dir: str) -> PPOConfig:
    """RLlib's own PPO on the registered `MultiAgentEnv`, with our module."""
    ppo = recipe.ppo
    # RLlib appends a bootstrap step to each fragment; one more fits it without padding.
    config: PPOConfig = _common(PPOConfig(), recipe, max_seq_len=ppo.fragment + 1)
    return config.training(
        use_kl_loss=False,
        train_batch_size_per_learner=ppo.batch_env_steps // max(1, ppo.num_learners),
    ).callbacks(EpisodeLedger)


ALGORITHMS: dict[str, Callable[[Recipe, str], AlgorithmConfig]] = {
    "segment_ppo": segment_ppo,
    "ppo": stock_ppo,
}


def algorithm_config(recipe: Recipe, log_dir: str = "") -> AlgorithmConfig:
    """RLlib's config of a recipe: everything of one trial, the game's seed included.

    Args:
        recipe: the whole experiment.
        log_dir: folder for what a watchdog has to tell.
    """
    return ALGORITHMS[recipe.algorithm](recipe, log_dir)


class EpisodeLedger(RLlibCallback):
    """Logs where the return of training episodes comes from: `ledger/<term>`, unweighted.

    For RLlib's own runners; the batched one logs it itself.
    """

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
            {f"{LEDGER}/{name}": float(total) for name, total in zip(names, totals, strict=True)},
            window=200,
        )


def branch_levels(algorithm: Any, salt: int) -> None:
    """Sends RLlib's own training environments on to levels not seen before this checkpoint.

    Batched runners need none of it: they go on in the middle of their games.
    """

    def branch(runner: Any) -> None:
        for env in getattr(runner.env, "envs", ()):
            env.unwrapped.game.branch(salt)

    algorithm.env_runner_group.foreach_env_runner(branch)
