"""The chosen metrics, about forty, by family; what trackers, progress and reports read.

`eval/`, `behaviour/` and `reward/` come from evaluation (see `experiments/evaluate.py`), `train/`
from the algorithm, `time/` from the trial's own clock. Step is env steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.recipe import Recipe
from experiments.tracking import Extras

NO = "no"
"""How the verdict on a run whose reward isn't hacked begins; see `experiments/reward_watch.py`."""
FAMILIES = ("eval/", "behaviour/", "rating/", "reward/", "train/", "time/")

# Our name: RLlib's.
_LEARNER = {
    "train/total_loss": "total_loss",
    "train/policy_loss": "policy_loss",
    "train/value_loss": "vf_loss",
    "train/entropy": "entropy",
    "train/explained_variance": "vf_explained_var",
    "train/kl": "mean_kl",
    "train/clip_share": "clip_share",
    "train/first_log_ratio": "first_log_ratio",
    "train/gradient_norm": "gradients_default_optimizer_global_norm",
    "train/learning_rate": "default_optimizer_learning_rate",
}


def train_metrics(
    result: Mapping[str, Any], recipe: Recipe, seconds: Mapping[str, float] | None = None
) -> dict[str, float]:
    """`train/` and the sampled/learned shares of `time/`, from an RLlib result.

    Args:
        result: of one iteration.
        recipe: what is trained.
        seconds: what `sampling`, `learning` and the `whole` took, from the algorithm's own clock;
            None: RLlib's timers, which are averages over many iterations.
    """
    from experiments.building import MODULE

    found: dict[str, float] = {}
    learner = result.get("learners", {}).get(MODULE, {})
    for name, key in _LEARNER.items():
        if key in learner:
            found[name] = float(learner[key])
    runners = result.get("env_runners", {})
    if "episode_return_mean" in runners:
        # RLlib sums over a game's seats; ours is per cat, as in `reward/`.
        found["train/return"] = float(runners["episode_return_mean"]) / recipe.env.num_agents
        found["train/episode_length"] = float(runners["episode_len_mean"])
    if "ledger/victory" in runners:
        found["train/win_rate"] = float(runners["ledger/victory"])
    for name, weight in recipe.rewards.by_term().items():
        if weight and f"ledger/{name}" in runners:
            found[f"train/reward_{name}"] = weight * float(runners[f"ledger/{name}"])
    for name, value in runners.items():
        if name.startswith("league/"):
            found[f"train/{name.replace('/', '_')}"] = float(value)
        if name.startswith("curriculum/"):
            rung = name.partition("/")[2]
            found["train/rungs" if rung == "rungs" else f"train/win_rate_{rung}"] = float(value)
    if seconds is None:
        timers = result.get("timers", {})
        names = ("env_runner_sampling_timer", "learner_update_timer", "training_iteration")
        sampling, learning, whole = (float(timers.get(name, math.nan)) for name in names)
    else:
        sampling, learning, whole = (seconds[name] for name in ("sampling", "learning", "whole"))
    found["time/sampling_share"] = sampling / whole
    found["time/learning_share"] = learning / whole
    return {name: value for name, value in found.items() if math.isfinite(value)}


def mean_of(iterations: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each metric's mean over the iterations that have it."""
    names = {name: None for one in iterations for name in one}
    found = {}
    for name in names:
        values = [one[name] for one in iterations if name in one]
        found[name] = sum(values) / len(values)
    return found


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one report that belong to a family."""
    return {
        name: float(value)
        for name, value in result.items()
        if name.startswith(FAMILIES) and isinstance(value, int | float)
    }


def number(value: Any) -> float | None:
    """A finite number, or None: what a report says may be anything."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def step_of(result: Mapping[str, Any]) -> int:
    """Env steps of a report."""
    return int(result["env_steps"])


def extras_of(result: Mapping[str, Any]) -> Extras:
    """What came with a report's evaluation beside metrics."""
    verdict = result.get("hacked")
    return Extras(
        replays=result.get("replays"),
        files=tuple(str(result[name]) for name in ("episodes",) if name in result),
        tags={} if verdict is None else {"hacked_reward": verdict},
        alarm=f"**Hacked reward?** {verdict}." if verdict not in (None, NO) else "",
    )
