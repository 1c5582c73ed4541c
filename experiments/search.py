"""What draws a sweep's variants, and what decides which of them go on; all of it is Tune's."""

from __future__ import annotations

import functools
from typing import Any

from env.errors import BadInputError
from experiments.recipe import Recipe
from experiments.space import SEED, VARIANT, Dimension
from experiments.trial import ENV_STEPS, OBJECTIVE


def make_searcher(recipe: Recipe, dimensions: tuple[Dimension, ...]) -> Any:
    """The recipe's search algorithm."""
    from ray.tune.search import BasicVariantGenerator

    sweep = recipe.sweep
    if not dimensions or sweep.search != "optuna":
        # Constant: the same drawn variant for each of its seeds.
        return BasicVariantGenerator(
            constant_grid_search=True, random_state=sweep.seed, max_concurrent=sweep.max_concurrent
        )
    import optuna
    from optuna.samplers import TPESampler
    from ray.tune.search import ConcurrencyLimiter, Repeater
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search: Any = OptunaSearch(
        metric=OBJECTIVE, mode="max", sampler=TPESampler(seed=sweep.seed, multivariate=True)
    )
    # A proposal should know what came of the one before: with all at once it would know nothing.
    at_once = sweep.max_concurrent or _trials_at_once(recipe)
    search = ConcurrencyLimiter(search, max_concurrent=max(1, at_once // sweep.num_seeds))
    # Each proposal is trained with every seed and told their mean.
    return Repeater(search, repeat=sweep.num_seeds) if sweep.num_seeds > 1 else search


def _trials_at_once(recipe: Recipe) -> int:
    """Trials that fit beside each other on what is there now."""
    import ray

    needed = recipe.run.num_threads + recipe.ppo.num_env_runners + recipe.ppo.num_learners
    return max(1, int(ray.cluster_resources().get("CPU", 1)) // needed)


def make_scheduler(recipe: Recipe, dimensions: tuple[Dimension, ...]) -> Any:
    """The recipe's scheduler; None lets every trial finish."""
    from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining

    sweep = recipe.sweep
    if not dimensions or sweep.scheduler == "none":
        return None
    if sweep.scheduler == "asha":
        return ASHAScheduler(
            time_attr=ENV_STEPS,
            grace_period=sweep.grace_env_steps,
            max_t=recipe.run.env_steps,
            reduction_factor=3,
        )
    return PopulationBasedTraining(
        time_attr=ENV_STEPS,
        perturbation_interval=sweep.grace_env_steps,
        # Below it, differences are the luck of the first episodes.
        burn_in_period=sweep.grace_env_steps,
        hyperparam_mutations={one.field: one.domain() for one in dimensions if one.field != SEED},
        custom_explore_fn=functools.partial(_stay_inside, dimensions),
        quantile_fraction=0.25,
        # Trials that wait for a processor would stop the exchange.
        synch=False,
    )


def _stay_inside(dimensions: tuple[Dimension, ...], config: dict[str, Any]) -> dict[str, Any]:
    """Brings what PBT has multiplied by 0.8 or 1.2 back into its range."""
    for one in dimensions:
        if not one.values:
            value = min(max(config[one.field], one.low), one.high)
            config[one.field] = round(value) if one.is_integer else value
    return config


def check_sweep(recipe: Recipe, dimensions: tuple[Dimension, ...]) -> None:
    """Refuses combinations that make no sense.

    Raises:
        BadInputError: in one sentence.
    """
    sweep, env_steps = recipe.sweep, recipe.run.env_steps
    fields = [one.field for one in dimensions]
    if sweep.search == "optuna" and SEED in fields:
        raise BadInputError(
            f"optuna can't choose {SEED}: a seed has no merit; give --sweep.num-seeds, and each "
            "proposal is trained with as many."
        )
    if sweep.search == "optuna" and VARIANT in fields:
        raise BadInputError(
            "optuna proposes values, not named variants; drop sweep.variants, or choose "
            "--sweep.search random."
        )
    if sweep.scheduler == "asha" and sweep.grace_env_steps > env_steps:
        raise BadInputError(
            f"asha leaves every trial {sweep.grace_env_steps} env steps, but a trial has only "
            f"{env_steps}; lower --sweep.grace-env-steps."
        )
    if sweep.scheduler == "pbt":
        _check_pbt(recipe, fields)


def _check_pbt(recipe: Recipe, fields: list[str]) -> None:
    """What population based training can't do."""
    sweep = recipe.sweep
    if sweep.search == "optuna":
        raise BadInputError(
            "pbt changes values while trials run, which optuna would learn nothing from; choose "
            "--sweep.search random, or another --sweep.scheduler."
        )
    if sweep.num_seeds > 1:
        raise BadInputError(
            "pbt hands checkpoints from trial to trial, so seeds don't stay apart; drop "
            "--sweep.num-seeds, or choose another --sweep.scheduler."
        )
    if VARIANT in fields:
        raise BadInputError(
            "pbt would mix named variants; drop sweep.variants, or choose another "
            "--sweep.scheduler."
        )
    if set(fields) <= {SEED}:
        raise BadInputError(
            f"pbt has nothing to change but {SEED}; vary rewards, env or ppo fields, or choose "
            "another --sweep.scheduler."
        )
    if sweep.grace_env_steps >= recipe.run.env_steps:
        raise BadInputError(
            f"pbt exchanges every {sweep.grace_env_steps} env steps, but a trial has only "
            f"{recipe.run.env_steps}; lower --sweep.grace-env-steps."
        )
    for field in fields:
        if field != SEED and field.startswith(_FIXED_BY_CHECKPOINT):
            raise BadInputError(
                f"pbt can't change {field} in the middle of a run, since its checkpoints and "
                "processors would no longer fit; vary rewards, env or ppo fields, or choose "
                "another --sweep.scheduler."
            )


_FIXED_BY_CHECKPOINT = (
    "model.",
    "run.",
    "algorithm",
    "evaluation.",
    "curriculum.",
    "ppo.num_env_runners",
    "ppo.num_learners",
    "ppo.num_gpus",
)
"""Fields that a trial can't change once it has begun."""
