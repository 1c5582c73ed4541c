"""Which trials of a study are compared: variants with their seeds, and what stands in the way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experiments.metrics import NO, number
from experiments.recipe import Recipe
from experiments.space import SEED
from experiments.statistics import Interval, across_seeds
from experiments.study import TrialResult

WIN_RATE = "eval/win_rate"
CAUSES: Mapping[str, str] = {
    "victory": WIN_RATE,
    "crushed": "behaviour/crushed",
    "shot": "behaviour/shot",
    "key_lost": "behaviour/key_lost",
    "door_lost": "behaviour/door_lost",
    "time": "behaviour/timeouts",
}
"""The metric that counts each way in which a game ends, by the game's name for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """What was trained alike but for the seed."""

    name: str
    """Unlike any other of the study."""
    values: Mapping[str, Any]
    """What it varies, by dotted name; a named variant's name under `variant`."""
    trials: tuple[TrialResult, ...]
    """Compared ones, by seed; at least one."""

    @property
    def recipe(self) -> Recipe | None:
        """What its first seed trained."""
        return self.trials[0].recipe

    @cached_property
    def win_rates(self) -> tuple[float, ...]:
        """Held out, of each seed."""
        return tuple(float(one.final[WIN_RATE]) for one in self.trials)

    @cached_property
    def win_rate(self) -> Interval:
        """Across seeds; of a single seed the interval of its own levels."""
        if len(self.trials) > 1:
            return across_seeds(self.win_rates)
        final = self.trials[0].final
        low, high = (number(final.get(f"{WIN_RATE}_{end}")) for end in ("low", "high"))
        if low is None or high is None:
            low = high = math.nan
        return Interval(self.win_rates[0], low, high, "Wilson")

    @cached_property
    def objective(self) -> float:
        """What rankings go by: the mean of its seeds' objectives."""
        return mean_of(self.trials, "eval/objective", default=self.win_rate.value) or 0.0

    def metric(self, name: str) -> float | None:
        """Mean of its seeds' last evaluations; None if none has it."""
        return mean_of(self.trials, name)

    @property
    def failure(self) -> str:
        """How it fails most; empty if it never does."""
        name, share = main_failure(causes_of(self.trials))
        return name if share > 0 else ""

    @property
    def hacked(self) -> str:
        """`yes` if the newest verdict on one of its seeds is a hacked reward, `no longer` if one
        was, else empty."""
        verdicts = [verdict_of(one) for one in self.trials]
        if any(not one.startswith(NO) for one in verdicts):
            return "yes"
        return f"{NO} longer" if any(one != NO for one in verdicts) else ""

    @property
    def typical(self) -> TrialResult:
        """The seed in the middle."""
        return by_typicality(self.trials)[0]


# -- numbers of trials


def mean_of(trials: Sequence[TrialResult], name: str, default: float | None = None) -> float | None:
    """Mean of a metric over the last evaluations that have it."""
    found = [value for one in trials if (value := number(one.final.get(name))) is not None]
    return statistics.fmean(found) if found else default


def causes_of(trials: Sequence[TrialResult]) -> dict[str, float]:
    """Share of held-out games that end in each way, mean over trials."""
    return {name: mean_of(trials, key, default=0.0) or 0.0 for name, key in CAUSES.items()}


def main_failure(causes: Mapping[str, float]) -> tuple[str, float]:
    """How most lost games end, and the share of all games that do."""
    lost = {name: share for name, share in causes.items() if name != "victory"}
    name = max(lost, key=lambda one: lost[one])
    return name, lost[name]


def by_typicality(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials, those first whose win rate is nearest to the median."""
    middle = statistics.median_low(one.final[WIN_RATE] for one in trials)
    return sorted(trials, key=lambda one: abs(one.final[WIN_RATE] - middle))


def verdict_of(trial: TrialResult) -> str:
    """The newest verdict on its reward."""
    return str(trial.final.get("hacked", NO))


def values_of(trial: TrialResult) -> dict[str, Any]:
    """What its variant varies: all but the seed."""
    return {
        name: value
        for name, value in trial.config.items()
        if name not in ("recipe", SEED) and not name.startswith("__")
    }


def label_of(trial: TrialResult) -> str:
    """A trial's name for people."""
    return f"{trial.variant} s{trial.seed}"


def steps_of(trial: TrialResult) -> int:
    """Env steps that a trial has reported."""
    return int(trial.history[-1]["env_steps"]) if trial.history else 0


def said(cause: str) -> str:
    """A way in which games end, in words."""
    return {"time": "time ran out", "victory": "won"}.get(cause, cause.replace("_", " "))
