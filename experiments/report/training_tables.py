"""What a report shows of training, and of what it paid, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.play import Games
from env.errors import BadInputError
from env.pico_park import PicoParkRewards
from experiments.metrics import number
from experiments.report.overview import Overview
from experiments.report.tables import spread
from experiments.report.variants import Variant
from experiments.study import TrialResult

GamesOf: TypeAlias = Mapping[Variant, Sequence[Games]]
"""What each variant's seeds have played last."""
MAX_RESCORED = 12
"""Variants that are paid under each other's weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rescored:
    """What variants' games pay under each other's weights."""

    variants: tuple[Variant, ...]
    """One for each set of weights, best first."""
    returns: NDArray[np.float64]
    """[games of, weights of]: mean return, a cat and episode."""


# -- money


def ledger_of(variant: Variant) -> dict[str, float]:
    """What every term pays at the end, weighted, a cat and episode, mean of seeds."""
    found = {name: variant.metric(f"reward/{name}") for name in PicoParkRewards.terms()}
    return {name: value for name, value in found.items() if value is not None}


def ledger_over_time(trial: TrialResult) -> tuple[list[int], dict[str, list[float]]]:
    """The same at every evaluation of one trial: env steps, and each term that ever pays."""
    rows = trial.evaluations
    table = {
        name: [number(row.get(f"reward/{name}")) or 0.0 for row in rows]
        for name in PicoParkRewards.terms()
    }
    paying = {name: values for name, values in table.items() if any(values)}
    return [int(row["env_steps"]) for row in rows], paying


def stored_games(overview: Overview) -> tuple[GamesOf, tuple[Path, ...]]:
    """What variants with different weights have played last, and the files that can't be read.

    Of variants with equal weights the best stands for all.
    """
    from experiments.episodes import load_episodes

    by_weights: dict[PicoParkRewards, Variant] = {}
    for one in overview.variants:
        if one.recipe is not None:
            by_weights.setdefault(one.recipe.rewards, one)
    games: dict[Variant, list[Games]] = {}
    unreadable = []
    for variant in spread(list(by_weights.values()), MAX_RESCORED):
        for trial in variant.trials:
            path = trial.kept("episodes")
            if path is None:
                continue
            try:
                found = load_episodes(path).games
            except BadInputError:
                unreadable.append(path)
            else:
                games.setdefault(variant, []).append(found)
    return games, tuple(unreadable)


def rescored(games: GamesOf) -> Rescored | None:
    """What games pay under other variants' weights; None if fewer than two sets of weights have
    games to pay.

    Args:
        games: of `stored_games`.
    """
    from experiments.evaluate import ledger

    kept = tuple(games)
    if len(kept) < 2:
        return None
    weights = [variant.recipe.rewards for variant in kept if variant.recipe]
    returns = [
        [float(np.mean([ledger(one, by)["reward/return"] for one in games[of]])) for by in weights]
        for of in kept
    ]
    return Rescored(variants=kept, returns=np.array(returns))


# -- curves


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Held-out win rate while a variant trains."""

    x: NDArray[np.float64]
    """Env steps, or seconds."""
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    """Lowest seed; of a single one Wilson's lower bound."""
    high: NDArray[np.float64]


def curve_of(variant: Variant, axis: str) -> Curve | None:
    """Mean and spread of its seeds along `env_steps` or `time_total_s`, as far as all have come;
    None if a seed has no evaluation with that axis."""
    seeds = [_points(trial, axis) for trial in variant.trials]
    if any(not len(one) for one in seeds):
        return None
    end = min(one[-1, 0] for one in seeds)
    start = max(one[0, 0] for one in seeds)
    x = np.unique(np.concatenate([one[:, 0] for one in seeds]))
    x = x[(x >= start) & (x <= end)] if start <= end else np.array([end])
    rates = np.array([np.interp(x, one[:, 0], one[:, 1]) for one in seeds])
    if len(seeds) == 1:
        return Curve(x=x, mean=rates[0], low=seeds[0][:, 2], high=seeds[0][:, 3])
    return Curve(x=x, mean=rates.mean(0), low=rates.min(0), high=rates.max(0))


def _points(trial: TrialResult, axis: str) -> NDArray[np.float64]:
    """Its evaluations: axis, win rate, lower and upper bound; each place on the axis once."""
    rows: dict[float, tuple[float, ...]] = {}
    for row in trial.evaluations:
        place, rate = number(row.get(axis)), number(row["eval/win_rate"])
        if place is not None and rate is not None:
            ends = [number(row.get(f"eval/win_rate_{end}")) for end in ("low", "high")]
            rows[place] = (rate, *(rate if one is None else one for one in ends))
    return np.array([(place, *rows[place]) for place in sorted(rows)]).reshape(-1, 4)
