"""Intervals for what was measured: one run, several seeds, two variants beside each other.

All are two-sided 95 % intervals. Each function names its source, and the coverage that
`tests/experiments/test_statistics.py` holds it to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z = 1.959964
"""Normal quantile of a two-sided 95 %."""
IQM_FROM = 10
"""Number of seeds from which the house reports the interquartile mean."""


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval."""

    value: float
    """The estimate; nan where there is none."""
    low: float
    """Lower bound; nan where nothing is known of it."""
    high: float
    """Upper bound; nan where nothing is known of it."""
    method: str
    """Short name for tables, such as "t" or "IQM, bootstrap"."""

    @property
    def is_known(self) -> bool:
        """Whether there are bounds. One run has none, nor have runs that are all equal: an interval
        without width would claim a certainty that so few runs can't give."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def bounded(value: float, low: float, high: float, method: str) -> Interval:
    """An interval whose bounds are nan if it has no width."""
    if not high - low > 1e-12 * max(1.0, abs(value)):
        low = high = math.nan
    return Interval(float(value), float(low), float(high), method)


def to_floats(name: str, values: ArrayLike, num_axes: int = 1) -> NDArray[np.float64]:
    """The values as a finite, non-empty float64 array.

    Raises:
        ValueError: wrong number of axes, nothing in it, or a value that isn't finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != num_axes or not array.size:
        raise ValueError(f"{name} have the shape {array.shape}; give {num_axes} axes, none empty.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold {array[~np.isfinite(array)][0]}; leave such values out.")
    return array


# -- one share, one mean


def wilson(successes: int, trials: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), 95 % by default.

    Counts come in steps, so its coverage does too: .927 to .972 at 100 trials, .939 to .962 at 400
    and .943 to .958 at 1,000, over all shares from .05 to .95.

    Args:
        successes: how often it happened.
        trials: out of how many, at least 1.
        z: normal quantile of the two-sided level.

    Returns:
        Lower and upper bound, within [0, 1].
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials make no share.")
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def mean_interval(values: ArrayLike, method: str = "t") -> Interval:
    """Mean with Student's t interval (Student 1908).

    Exact for normal values; .92 or more for evenly spread and mildly skewed ones. It covers far
    less where a seed fails now and then: if one in five does, .49 with 3 seeds, .67 with 5 and .87
    with 9, as seeds that all happen to succeed show no sign of it. Bounds of a share may lie
    outside of [0, 1]; they aren't cut.

    Args:
        values: float [num_values], at least one.
        method: name in the result.

    Returns:
        The interval; without bounds for one value or equal values.
    """
    array = to_floats("values", values)
    mean = float(array.mean())
    if array.size < 2 or array.min() == array.max():
        return Interval(mean, math.nan, math.nan, method)
    error = array.std(ddof=1) / math.sqrt(array.size)
    from scipy.special import stdtrit  # here: it takes as long to import as all the rest

    half = float(stdtrit(array.size - 1, 0.975) * error)
    return bounded(mean, mean - half, mean + half, method)


# -- across seeds


def iqm(values: ArrayLike) -> float:
    """Interquartile mean: a quarter of the values, rounded down, is cut off at either end.

    The measure of Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice".

    Args:
        values: float [num_values], at least one.
    """
    return float(_trimmed_means(to_floats("values", values)[None])[0])


def _trimmed_means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interquartile mean of each row."""
    cut = rows.shape[1] // 4
    means: NDArray[np.float64] = np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut].mean(axis=1)
    return means


def iqm_interval(
    values_by_stratum: Sequence[ArrayLike], rng: np.random.Generator, num_resamples: int = 5000
) -> Interval:
    """Interquartile mean of all runs with a stratified bootstrap interval.

    Runs are drawn again within each stratum (Agarwal et al. 2021), so the runs of different strata
    must be independent: a task is a stratum only if it was trained on for itself. The percentiles
    lie further out than 2.5 and 97.5, which make up for a spread that few runs show too small
    ("expanded percentile interval", Hesterberg 2015). Measured at 10 runs of one task: the plain
    percentiles cover .91 to .95, these .94 to .98; at 10 runs of 5 tasks .92 to .94 and .93 to .96.

    Args:
        values_by_stratum: float [num_runs] for each stratum; all runs weigh the same.
        rng: draws the runs.
        num_resamples: how often all runs are drawn.

    Returns:
        The interval; without bounds if a stratum has one run, or if all resamples agree.

    Raises:
        ValueError: no stratum, an empty one, a value that isn't finite, or no resamples.
    """
    if not len(values_by_stratum) or num_resamples < 1:
        raise ValueError(
            f"{len(values_by_stratum)} strata and {num_resamples} resamples make no interval."
        )
    strata = [to_floats("values of a stratum", one) for one in values_by_stratum]
    value = iqm(np.concatenate(strata))
    method = "IQM, bootstrap"
    if min(one.size for one in strata) < 2:
        return Interval(value, math.nan, math.nan, method)
    drawn = [one[rng.integers(one.size, size=(num_resamples, one.size))] for one in strata]
    resampled = _trimmed_means(np.concatenate(drawn, axis=1))
    num_runs = sum(one.size for one in strata)
    freedom = num_runs - len(strata)
    from scipy.special import ndtr, stdtrit

    tail = ndtr(-math.sqrt(num_runs / freedom) * stdtrit(freedom, 0.975))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return bounded(value, low, high, method)


def across_seeds(values: ArrayLike, seed: int = 0) -> Interval:
    """What the house reports of one variant's seeds.

    Below 10 seeds the mean with Student's t interval: with 3 seeds a bootstrap would cover only
    73 %. From 10 on the interquartile mean with the bootstrap of `iqm_interval`.

    Args:
        values: float [num_seeds], at least one.
        seed: of the bootstrap; the same values and seed give the same interval.
    """
    array = to_floats("values", values)
    if array.size < IQM_FROM:
        return mean_interval(array)
    return iqm_interval([array], np.random.default_rng(seed))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> tuple[Interval, ...]:
    """Share of runs above each threshold (Agarwal et al. 2021), with a pointwise 95 % band.

    The band is Wilson's, not the bootstrap of that paper: whether a run lies above a threshold is a
    yes or no, and at 10 runs and a share of .1 the bootstrap covers .65 and has no width where all
    runs lie on one side. Wilson's covers .916 to .985 at 10 runs and shares from .1 to .9.

    Args:
        scores: float [num_runs], one a run.
        thresholds: float [num_thresholds], in any order.

    Returns:
        An interval for each threshold.
    """
    array = to_floats("scores", scores)
    counts = (array > to_floats("thresholds", thresholds)[:, None]).sum(axis=1)
    return tuple(
        Interval(int(one) / array.size, *wilson(int(one), array.size), "Wilson") for one in counts
    )


# -- two variants beside each other


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> Interval:
    """P(X > Y) + P(X = Y) / 2: how likely a run of X beats a run of Y (Agarwal et al. 2021).

    The interval is Newcombe's method 5 (Newcombe 2006, "Confidence intervals for an effect size
    measure based on the Mann-Whitney statistic", part 2). That method takes both variants to spread
    alike; where they don't (half of one variant's seeds fail) it covers .84 at 5 runs. So its
    variance is scaled up to that of DeLong et al. 1988 where that one is larger, and by the rank
    test's correction for ties. Where one side always wins, there is no spread to see, and the bound
    is Wilson's for as many wins as the smaller side has runs.

    Measured at 5, 10 and 20 runs a side: .92 to .98 for shifted normal values and for values in
    steps; up to .99 at 5 runs a side, and up to 1 where nearly all runs tie: too wide, not too
    narrow. With unequal sides it covers .92 or more from 5 runs on.

    Args:
        x: float [num_runs_x], at least one.
        y: float [num_runs_y], at least one.

    Returns:
        The interval, within [0, 1]; without bounds if a side has one run.
    """
    a, b = to_floats("x", x), to_floats("y", y)
    wins = (np.sign(a[:, None] - b) + 1) / 2
    share, fewer = float(wins.mean()), min(a.size, b.size)
    method = "Mann-Whitney"
    if fewer < 2:
        return Interval(share, math.nan, math.nan, method)
    if share in (0.0, 1.0):
        return Interval(share, *wilson(int(share) * fewer, fewer), method)
    middle = (a.size + b.size) / 2 - 1

    def variance(p: float) -> float:
        factor = 1 + middle * ((1 - p) / (2 - p) + p / (1 + p))
        return p * (1 - p) * factor / (a.size * b.size)

    counts = np.unique(np.concatenate([a, b]), return_counts=True)[1].astype(np.float64)
    num_runs = a.size + b.size
    ties = 1 - float((counts**3 - counts).sum()) / (num_runs**3 - num_runs)
    placed = wins.mean(axis=1).var(ddof=1) / a.size + wins.mean(axis=0).var(ddof=1) / b.size
    # Not below 0.4: when nearly all runs tie, the few that don't say little of the spread.
    scale = Z * math.sqrt(max(0.4, ties, placed / variance(share)))

    def outside(p: float) -> float:
        return abs(p - share) - scale * math.sqrt(max(0.0, variance(p)))

    from scipy.optimize import brentq

    return Interval(share, brentq(outside, 0, share), brentq(outside, share, 1), method)


def paired_difference(x: ArrayLike, y: ArrayLike) -> Interval:
    """Mean of x - y over pairs (the same seed, the same level) with Student's t interval.

    Args:
        x: float [num_pairs].
        y: float [num_pairs], in the same order.

    Returns:
        The interval; without bounds for one pair or equal differences.
    """
    a, b = to_floats("x", x), to_floats("y", y)
    if a.size != b.size:
        raise ValueError(f"{a.size} and {b.size} values make no pairs; give as many of each.")
    return mean_interval(a - b, "paired t")


def paired_share_difference(wins_x: ArrayLike, wins_y: ArrayLike) -> Interval:
    """Difference of two win rates on the same levels, x minus y.

    Method 10 of Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data": Wilson's intervals of both rates, put together by how much
    the two win on the same levels. It has width even where both win everything. Measured: .94 to
    .98 at 100 levels (most where both win and lose nearly the same ones), .95 to .96 at 400; below
    some 50 levels it is too wide.

    Args:
        wins_x: bool [num_levels].
        wins_y: bool [num_levels], in the same order.

    Returns:
        The interval, within [-1, 1].
    """
    a, b = np.asarray(wins_x), np.asarray(wins_y)
    if a.shape != b.shape or a.ndim != 1 or not a.size or a.dtype != bool or b.dtype != bool:
        raise ValueError(
            f"wins are {a.dtype} {a.shape} and {b.dtype} {b.shape}; give a bool for each level."
        )
    count, won_x, won_y = a.size, int(a.sum()), int(b.sum())
    both = int((a & b).sum())
    product = float(both * (count - won_x - won_y + both) - (won_x - both) * (won_y - both))
    if product > 0:
        product = max(0.0, product - count / 2)  # the paper's correction for continuity
    margins = won_x * (count - won_x) * won_y * (count - won_y)
    correlation = product / math.sqrt(margins) if margins else 0.0
    x, y = won_x / count, won_y / count
    (low_x, high_x), (low_y, high_y) = wilson(won_x, count), wilson(won_y, count)

    def joined(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))

    low, high = joined(x - low_x, high_y - y), joined(y - low_y, high_x - x)
    return Interval(x - y, x - y - low, x - y + high, "Newcombe, paired")


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point beats: at least as large in all columns and larger in one.

    Args:
        points: float [num_points, num_columns]; larger is better in every column.

    Returns:
        bool [num_points]; equal points are on the front together.
    """
    array = to_floats("points", points, num_axes=2)
    as_good: NDArray[np.bool_] = np.all(array[None] >= array[:, None], axis=2)
    better: NDArray[np.bool_] = np.any(array[None] > array[:, None], axis=2)
    front: NDArray[np.bool_] = ~np.any(as_good & better, axis=1)
    return front
