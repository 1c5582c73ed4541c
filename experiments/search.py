"""What draws a sweep's variants, and what decides which of them go on; all of it is Tune's."""

from __future__ import annotations

from typing import Any

from env.errors import BadInputError
from experiments.recipe import Recipe
from experiments.space import SEED, Dimension
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
    from optuna.samplers import TPESampler
    from ray.tune.search import ConcurrencyLimiter, Repeater
    from ray.tune.search.optuna import OptunaSearch

    search: Any = OptunaSearch(
        metric=OBJECTIVE, mode="max", sampler=TPESampler(seed=sweep.seed, multivariate=True)
    )
    # A proposal should know what came of the one before: with all at once it would know nothing.
    search = ConcurrencyLimiter(search, max_concurrent=sweep.max_concurrent or _num_cpus(recipe))
    # Each proposal is trained with every seed and told their mean.
    return Repeater(search, repeat=sweep.num_seeds) if sweep.num_seeds > 1 else search


def _num_cpus(recipe: Recipe) -> int:
    """Trials that fit beside each other on what is there now, seeds of one proposal together."""
    import ray

    needed = recipe.run.num_threads + recipe.ppo.num_env_runners + recipe.ppo.num_learners
    at_once = max(1, int(ray.cluster_resources().get("CPU", 1)) // needed)
    return max(1, at_once // recipe.sweep.num_seeds)


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
        quantile_fraction=0.25,
        # Trials that wait for a processor would stop the exchange.
        synch=False,
    )


def check_sweep(recipe: Recipe, dimensions: tuple[Dimension, ...]) -> None:
    """Refuses combinations that make no sense.

    Raises:
        BadInputError: in one sentence.
    """
    sweep = recipe.sweep
    if sweep.search == "optuna" and sweep.scheduler == "pbt":
        raise BadInputError(
            "pbt changes values while trials run, which optuna would learn nothing from; choose "
            "--sweep.search random, or another --sweep.scheduler."
        )
    if sweep.scheduler == "pbt":
        for one in dimensions:
            if one.field.startswith(("model.", "run.", "algorithm", "evaluation.")):
                if one.field == SEED:
                    continue
                raise BadInputError(
                    f"pbt can't change {one.field} in the middle of a run, since its checkpoints "
                    "would no longer fit; vary rewards, env or ppo fields, or choose another "
                    "--sweep.scheduler."
                )
