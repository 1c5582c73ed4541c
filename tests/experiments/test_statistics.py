"""The intervals are those of their sources, and they cover what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.statistics import (
    Interval,
    across_seeds,
    iqm,
    iqm_interval,
    mean_interval,
    paired_difference,
    paired_share_difference,
    pareto_front,
    performance_profile,
    probability_of_improvement,
    wilson,
)

Floats = NDArray[np.float64]
REPEATS = 2000
"""Of each coverage. Its own standard error is .005 at .95 and .003 at .98."""


def coverage(intervals: Iterable[Interval], truth: float) -> float:
    """How many of the intervals hold the truth; those without bounds don't."""
    slack = 1e-9  # a bound that is the truth itself holds it
    held = [one.low - slack <= truth <= one.high + slack for one in intervals]
    return sum(held) / len(held)


def bounds(one: Interval) -> tuple[float, float]:
    return one.low, one.high


# -- Wilson


@pytest.mark.parametrize("trials", [1, 2, 3, 10, 32, 100, 400, 12345])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_it_is_wilsons(trials: int, level: float) -> None:
    z = float(stats.norm.ppf((1 + level) / 2))
    for successes in sorted({0, 1, trials // 3, trials // 2, trials - 1, trials}):
        expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
        found = wilson(successes, trials, z)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert 0 <= found[0] <= successes / trials <= found[1] <= 1


def test_it_is_of_95_percent_by_default() -> None:
    expected = stats.binomtest(7, 20).proportion_ci(0.95, method="wilson")
    assert wilson(7, 20) == pytest.approx((expected.low, expected.high), abs=1e-7)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 4), (5, 4), (0, 0)])
def test_what_is_no_share_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(successes, trials)


def wilsons_coverage(trials: int, shares: Floats) -> Floats:
    """Exact: the probability of all counts whose interval holds the share."""
    low, high = np.array([wilson(i, trials) for i in range(trials + 1)]).T[:, None]
    holds = (low <= shares[:, None]) & (shares[:, None] <= high)
    chances = stats.binom.pmf(np.arange(trials + 1), trials, shares[:, None])
    covered: Floats = np.where(holds, chances, 0).sum(axis=1)
    return covered


@pytest.mark.parametrize("trials", [100, 400, 1000])
def test_wilson_covers(trials: int) -> None:
    covered = wilsons_coverage(trials, np.linspace(0.05, 0.95, 361))
    assert 0.92 <= covered.min() <= covered.max() <= 0.98
    assert covered.mean() == pytest.approx(0.95, abs=0.001)


# -- means


@pytest.mark.parametrize("count", [2, 3, 9, 50])
def test_the_mean_has_students_interval(count: int) -> None:
    values = np.random.default_rng(1).normal(3, 2, count)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    found = mean_interval(values)
    assert found.value == pytest.approx(values.mean())
    assert bounds(found) == pytest.approx((expected.low, expected.high))
    assert found.method == "t" and found.is_known


@pytest.mark.parametrize("values", [[0.7], [0.1, 0.1, 0.1], [1.0] * 9])
def test_values_without_spread_have_no_bounds(values: list[float]) -> None:
    found = mean_interval(values)
    assert found.value == pytest.approx(values[0])
    assert not found.is_known and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("count", [3, 5, 9])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        pytest.param(lambda rng, size: rng.normal(size=size), 0.0, id="normal"),
        pytest.param(lambda rng, size: rng.beta(8, 2, size), 0.8, id="win rates"),
    ],
)
def test_students_interval_covers(count: int, draw: Callable[..., Floats], truth: float) -> None:
    rows = draw(np.random.default_rng(2), (REPEATS, count))
    assert 0.92 <= coverage(map(mean_interval, rows), truth) <= 0.98


def test_pairs_have_students_interval_of_their_differences() -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 12))
    expected = stats.ttest_rel(x, y).confidence_interval()
    found = paired_difference(x, y)
    assert found.value == pytest.approx((x - y).mean())
    assert bounds(found) == pytest.approx((expected.low, expected.high))
    assert found.method == "paired t"


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_interval_of_paired_differences_covers(count: int) -> None:
    rng = np.random.default_rng(4)
    seeds = rng.normal(0, 3, (REPEATS, count))  # shared by both of a pair
    x = seeds + rng.normal(1, 1, seeds.shape)
    y = seeds + rng.normal(0, 2, seeds.shape)
    assert 0.92 <= coverage(map(paired_difference, x, y), 1) <= 0.98


# -- interquartile means


@pytest.mark.parametrize("count", [1, 3, 4, 10, 11, 50])
def test_the_interquartile_mean_is_a_trimmed_mean(count: int) -> None:
    values = np.random.default_rng(5).exponential(size=count)
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25))


@pytest.mark.parametrize("count", [10, 25])
def test_its_interval_is_the_expanded_percentile_bootstrap(count: int) -> None:
    values = np.random.default_rng(6).normal(size=count)
    quantile = stats.t.ppf(0.975, count - 1) * math.sqrt(count / (count - 1))
    expected = stats.bootstrap(
        (values,),
        lambda rows, axis: stats.trim_mean(rows, 0.25, axis=axis),
        confidence_level=1 - 2 * stats.norm.cdf(-quantile),
        n_resamples=20_000,
        method="percentile",
        rng=7,
    ).confidence_interval
    found = iqm_interval([values], np.random.default_rng(8), num_resamples=20_000)
    assert found.value == pytest.approx(stats.trim_mean(values, 0.25))
    assert bounds(found) == pytest.approx((expected.low, expected.high), abs=0.08)
    assert found.method == "IQM, bootstrap"


def test_runs_are_drawn_again_within_their_stratum() -> None:
    rng = np.random.default_rng(9)
    steady, far = np.zeros(10), np.full(10, 100.0)
    assert not iqm_interval([steady, far], rng).is_known  # without strata it would be wide
    noisy = rng.normal(0, 1, 10)
    found = iqm_interval([noisy, noisy + 100, noisy - 100], rng)
    assert found.value == pytest.approx(iqm(np.concatenate([noisy, noisy + 100, noisy - 100])))
    assert found.is_known and found.high - found.low < 5


def test_a_stratum_of_one_run_leaves_no_bounds() -> None:
    found = iqm_interval([[0.1, 0.2, 0.4], [0.5]], np.random.default_rng(0))
    assert found.value == pytest.approx(0.3) and not found.is_known


def spread_evenly(*parts: tuple[float, float, int], tasks: Iterable[float] = (0,)) -> float:
    """Interquartile mean of a mixture of normals (mean, deviation, weight), once for each task."""
    points = [
        offset + stats.norm.ppf((np.arange(weight * 1000) + 0.5) / (weight * 1000), mean, deviation)
        for offset in tasks
        for mean, deviation, weight in parts
    ]
    return float(stats.trim_mean(np.concatenate(points), 0.25))


def failing(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Win rates of which three in ten are bad."""
    drawn: Floats = np.where(rng.random(size) < 0.7, 0.9, 0.2) + rng.normal(0, 0.04, size)
    return drawn


@pytest.mark.parametrize("runs", [10, 20])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        pytest.param(lambda rng, size: rng.normal(size=size), 0.0, id="normal"),
        pytest.param(
            lambda rng, size: rng.beta(8, 2, size),
            float(stats.beta.ppf(np.linspace(0.25, 0.75, 2001), 8, 2).mean()),
            id="win rates",
        ),
        pytest.param(failing, spread_evenly((0.9, 0.04, 7), (0.2, 0.04, 3)), id="failing"),
    ],
)
def test_the_bootstrap_of_one_task_covers(
    runs: int, draw: Callable[..., Floats], truth: float
) -> None:
    rng = np.random.default_rng(10)
    rows = draw(rng, (REPEATS, runs))
    found = (iqm_interval([row], rng, num_resamples=1000) for row in rows)
    assert 0.92 <= coverage(found, truth) <= 0.98


@pytest.mark.parametrize("apart", [0.0, 1.0, 5.0])
def test_the_bootstrap_of_five_tasks_covers(apart: float) -> None:
    rng = np.random.default_rng(11)
    tasks = np.arange(5) * apart
    truth = spread_evenly((0, 1, 10), tasks=tasks)
    runs = rng.normal(size=(REPEATS, 5, 10)) + tasks[:, None]
    found = (iqm_interval(list(one), rng, num_resamples=1000) for one in runs)
    assert 0.92 <= coverage(found, truth) <= 0.98


def test_seeds_are_reported_by_their_number() -> None:
    values = np.random.default_rng(12).beta(8, 2, 10)
    assert across_seeds(values[:9]) == mean_interval(values[:9])
    found = across_seeds(values, seed=3)
    assert found == iqm_interval([values], np.random.default_rng(3))
    assert found == across_seeds(list(values), seed=3) != across_seeds(values, seed=4)
    assert not across_seeds([0.5]).is_known


# -- profiles


def test_a_profile_is_the_share_of_runs_above() -> None:
    found = performance_profile([0.1, 0.5, 0.5, 0.9], [1.0, 0.0, 0.5])
    assert [one.value for one in found] == [0.0, 1.0, 0.25]
    for one, above in zip(found, (0, 4, 1), strict=True):
        expected = stats.binomtest(above, 4).proportion_ci(method="wilson")
        assert bounds(one) == pytest.approx((expected.low, expected.high), abs=1e-6)
        assert one.method == "Wilson"


@pytest.mark.parametrize("runs", [10, 20])
def test_a_profiles_band_covers(runs: int) -> None:
    covered = wilsons_coverage(runs, np.linspace(0.1, 0.9, 321))
    assert 0.91 <= covered.min() <= covered.max() <= 0.99  # few runs come in wide steps
    assert covered.mean() == pytest.approx(0.955, abs=0.005)


# -- probability of improvement


def newcombes(share: float, m: int, n: int, scale: float = 1.0) -> list[float]:
    """Newcombe's method 5 as roots of a polynomial of degree four."""
    p = np.polynomial.Polynomial([0, 1])
    middle = (m + n) / 2 - 1
    spread = (2 - p) * (1 + p) + middle * ((1 - p) * (1 + p) + p * (2 - p))
    z = stats.norm.ppf(0.975)
    roots = (p - share) ** 2 * (2 - p) * (1 + p) * m * n - z * z * scale * p * (1 - p) * spread
    found = roots.roots()
    return sorted(float(one.real) for one in found if abs(one.imag) < 1e-9 and -1e-9 < one.real < 1)


def test_it_is_newcombes_interval_where_variants_spread_alike() -> None:
    x, y = [1, 3, 5, 7, 9], [2.5, 3.5, 6.5, 8.5, 9.5]
    found = probability_of_improvement(x, y)
    expected = stats.mannwhitneyu(x, y).statistic / 25
    assert found.value == pytest.approx(expected) and found.method == "Mann-Whitney"
    statistic = stats.brunnermunzel(x, y).statistic
    placed = ((expected - 0.5) / statistic) ** 2
    middle = 4 * ((1 - expected) / (2 - expected) + expected / (1 + expected))
    variance = expected * (1 - expected) * (1 + middle) / 25
    low, high = newcombes(expected, 5, 5, max(1.0, placed / variance))
    assert bounds(found) == pytest.approx((low, high), abs=1e-6)


def test_it_is_wider_where_they_do_not() -> None:
    x, y = [4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 0.0]
    share = stats.mannwhitneyu(x, y).statistic / 42
    placed = ((share - 0.5) / stats.brunnermunzel(x, y).statistic) ** 2
    middle = 5.5 * ((1 - share) / (2 - share) + share / (1 + share))
    scale = placed / (share * (1 - share) * (1 + middle) / 42)
    assert scale > 1
    found = probability_of_improvement(x, y)
    assert bounds(found) == pytest.approx(newcombes(share, 6, 7, scale), abs=1e-6)


@pytest.mark.parametrize(("m", "n"), [(5, 5), (4, 9)])
def test_a_side_that_always_wins_still_leaves_doubt(m: int, n: int) -> None:
    x, y = np.arange(m) + 10.0, np.arange(n) / n
    won, lost = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert (won.value, won.high, lost.value, lost.low) == (1, 1, 0, 0)
    assert bounds(won) == wilson(min(m, n), min(m, n))
    assert lost.high == pytest.approx(1 - won.low)


def test_sides_can_be_swapped_and_ties_count_half() -> None:
    rng = np.random.default_rng(13)
    x, y = rng.integers(4, size=8), rng.integers(5, size=6)
    one, other = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert one.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / 48)
    assert bounds(one) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)
    equal = probability_of_improvement([1.0] * 5, [1.0] * 5)
    assert equal.value == 0.5 and equal.low < 0.35 and equal.high > 0.65
    assert not probability_of_improvement([1.0], [0.0, 0.5]).is_known


STEPS = {
    "equal": ([0.2, 0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2, 0.2]),
    "better": ([0.05, 0.15, 0.2, 0.25, 0.35], [0.25, 0.25, 0.2, 0.2, 0.1]),
    "far": ([0.0, 0.05, 0.15, 0.3, 0.5], [0.4, 0.3, 0.2, 0.1, 0.0]),
    "three": ([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]),
    "two": ([0.3, 0.7], [0.7, 0.3]),
}


def of_improvement(x: Floats, y: Floats, truth: float) -> float:
    return coverage(map(probability_of_improvement, x, y), truth)


@pytest.mark.parametrize("runs", [5, 10, 20])
@pytest.mark.parametrize("truth", [0.5, 0.7, 0.85])
def test_improvement_by_a_shift_is_covered(runs: int, truth: float) -> None:
    x, y = np.random.default_rng(14).normal(size=(2, REPEATS, runs))
    covered = of_improvement(x + math.sqrt(2) * stats.norm.ppf(truth), y, truth)
    assert 0.92 <= covered <= (0.99 if runs == 5 else 0.98)


@pytest.mark.parametrize("runs", [5, 10, 20])
@pytest.mark.parametrize("name", STEPS)
def test_improvement_of_tied_runs_is_covered(runs: int, name: str) -> None:
    rng = np.random.default_rng(15)
    better, worse = map(np.array, STEPS[name])
    truth = float(sum(better[i] * (worse[:i].sum() + worse[i] / 2) for i in range(better.size)))
    x, y = (rng.choice(one.size, (REPEATS, runs), p=one) for one in (better, worse))
    assert 0.92 <= of_improvement(x, y, truth) <= (0.99 if runs == 5 else 0.98)


@pytest.mark.parametrize(("m", "n"), [(5, 5), (10, 10), (20, 20), (5, 20)])
def test_improvement_is_covered_if_one_side_spreads_wider_or_fails(m: int, n: int) -> None:
    rng = np.random.default_rng(16)
    x, y = rng.normal(size=(REPEATS, m)), rng.normal(size=(REPEATS, n))
    assert of_improvement(3 * x + math.sqrt(10) * stats.norm.ppf(0.7), y, 0.7) >= 0.92
    fails = np.where(rng.random(x.shape) < 0.4, -100, 100)
    assert of_improvement(x + fails, y, 0.6) >= 0.92


@pytest.mark.parametrize("runs", [5, 10, 20])
def test_improvement_is_covered_if_nearly_all_runs_win_everything(runs: int) -> None:
    rng = np.random.default_rng(17)
    x, y = rng.random((2, REPEATS, runs)) < np.array([0.95, 0.8])[:, None, None]
    assert of_improvement(x, y, 0.575) >= 0.92


# -- the same levels


def wins(both: int, only_x: int, only_y: int, neither: int) -> tuple[NDArray[np.bool_], ...]:
    counts = [both, only_x, only_y, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([1, 0, 1, 0], counts) == 1


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # the paper's own examples, of its method 10
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((53, 0, 0, 1), -0.0729, 0.0729),
    ],
)
def test_it_is_newcombes_paired_interval(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = paired_share_difference(*wins(*counts))
    assert found.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert bounds(found) == pytest.approx((low, high), abs=5e-5)


def test_winning_everything_still_leaves_doubt() -> None:
    found = paired_share_difference(*wins(100, 0, 0, 0))
    assert found.value == 0 and -0.06 < found.low < -0.02 and 0.02 < found.high < 0.06


@pytest.mark.parametrize("levels", [100, 400])
@pytest.mark.parametrize(
    ("x", "y", "correlation"),
    [(0.5, 0.5, 0), (0.5, 0.5, 0.9), (0.8, 0.7, 0.3), (0.9, 0.9, 0.5), (0.95, 0.9, 0.3)],
)
def test_the_difference_of_win_rates_is_covered(
    levels: int, x: float, y: float, correlation: float
) -> None:
    shared = correlation * math.sqrt(x * (1 - x) * y * (1 - y))
    chances = [x * y + shared, x * (1 - y) - shared, y * (1 - x) - shared]
    rng = np.random.default_rng(18)
    tables = rng.multinomial(levels, [*chances, 1 - sum(chances)], REPEATS)
    found = (paired_share_difference(*wins(*table)) for table in tables)
    assert 0.92 <= coverage(found, x - y) <= (0.985 if levels == 100 else 0.98)


# -- fronts


def test_a_front_is_what_nothing_beats() -> None:
    points = np.random.default_rng(19).integers(6, size=(60, 3))
    expected = [
        not any((other >= one).all() and (other > one).any() for other in points) for one in points
    ]
    assert pareto_front(points).tolist() == expected
    assert 0 < sum(expected) < 60
    assert pareto_front([[1, 0], [0, 1], [1, 0], [0, 0]]).tolist() == [True, True, True, False]


# -- what makes no sense


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([]), "shape"),
        (lambda: mean_interval([0.5, math.nan]), "hold nan"),
        (lambda: iqm([[0.5]]), "shape"),
        (lambda: iqm_interval([], np.random.default_rng(0)), "0 strata"),
        (lambda: iqm_interval([[1.0], []], np.random.default_rng(0)), "shape"),
        (lambda: iqm_interval([[1.0, 2.0]], np.random.default_rng(0), 0), "0 resamples"),
        (lambda: across_seeds([math.inf] * 12), "hold inf"),
        (lambda: performance_profile([0.5], []), "thresholds have"),
        (lambda: probability_of_improvement([], [0.5]), "x have"),
        (lambda: paired_difference([0.5, 0.6], [0.5]), "2 and 1 values"),
        (lambda: paired_share_difference([True], [True, False]), "bool"),
        (lambda: paired_share_difference([1, 0], [1, 0]), "int64"),
        (lambda: pareto_front([1.0, 2.0]), "shape"),
    ],
)
def test_what_makes_no_interval_is_refused(call: Callable[[], ArrayLike], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
