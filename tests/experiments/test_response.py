"""What varied is binned, and what it explains is what an analysis of variance says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from experiments.response import (
    Bin,
    bins_of,
    holm,
    importance,
    importances,
    pooled_error,
    response,
    strongest_interaction,
)
from experiments.statistics import Interval

Floats = NDArray[np.float64]
REPEATS = 2000
"""Of each coverage. Its own standard error is .005 at .95 and .003 at .98."""


def coverage(intervals: Sequence[Interval], truth: float) -> float:
    return sum(one.low - 1e-9 <= truth <= one.high + 1e-9 for one in intervals) / len(intervals)


# -- bins


def check(bins: Sequence[Bin], values: Sequence[Any]) -> None:
    """Every trial lies in one bin, equal values in the same, and bins are in order."""
    assert sorted(i for one in bins for i in one.indices) == list(range(len(values)))
    for before, after in itertools.pairwise(bins):
        assert before.high < after.low
    assert all(one.low <= one.centre <= one.high for one in bins)
    assert len({one.label for one in bins}) == len(bins)


def test_few_values_have_a_bin_each() -> None:
    values = [0.2, 0, 1, 0.2, 0, 0.2]
    bins = bins_of(values)
    check(bins, values)
    assert [one.label for one in bins] == ["0", "0.2", "1"]
    assert [one.indices for one in bins] == [(1, 4), (0, 3, 5), (2,)]
    assert [one.centre for one in bins] == [0, 0.2, 1]


@pytest.mark.parametrize(
    ("count", "expected"), [(7, 1), (10, 2), (14, 2), (15, 3), (29, 5), (30, 6), (200, 6)]
)
def test_many_values_are_cut_at_quantiles(count: int, expected: int) -> None:
    values = list(np.random.default_rng(1).lognormal(size=count))
    bins = bins_of(values)
    check(bins, values)
    sizes = [len(one.indices) for one in bins]
    assert len(sizes) == expected and min(sizes) >= 5 and max(sizes) - min(sizes) <= 1
    first = bins[0]
    assert first.label == f"{first.low:.3g} to {first.high:.3g}"


def test_equal_values_stay_together_and_bins_keep_five_trials() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        values = list(np.floor(rng.lognormal(1, 1, rng.integers(8, 60))))
        bins = bins_of(values)
        check(bins, values)
        if len(set(values)) > 6:
            assert len(bins) == 1 or min(len(one.indices) for one in bins) >= 5
            assert len(bins) <= 6


def test_names_and_truth_values_have_a_bin_each() -> None:
    assert [one.label for one in bins_of([True, False, True])] == ["False", "True"]
    names = [f"net{i}" for i in range(8)] * 2
    bins = bins_of(names)
    check(bins, names)
    assert [one.label for one in bins] == names[:8] and bins[3].centre == 3
    assert [one.label for one in bins_of([None, 0.5, None])] == ["0.5", "None"]


# -- means


def test_a_response_is_the_mean_of_each_bin() -> None:
    rng = np.random.default_rng(3)
    values, outcomes = list(rng.random(40)), rng.random(40)
    found = response(values, outcomes)
    assert found.bins == bins_of(values)
    for one, interval in zip(found.bins, found.intervals, strict=True):
        mine = outcomes[list(one.indices)]
        expected = stats.ttest_1samp(mine, 0).confidence_interval()
        assert interval.value == pytest.approx(mine.mean()) and interval.method == "t"
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert len(response(values, outcomes, max_bins=3).bins) == 3
    assert not response(["a", "b", "b"], [0.1, 0.2, 0.3]).intervals[0].is_known


@pytest.mark.parametrize("trials", [5, 12])
def test_the_intervals_of_a_response_cover(trials: int) -> None:
    rng = np.random.default_rng(4)
    values = [0.0, 1.0, 2.0] * trials
    found = [
        response(values, np.array(values) + rng.normal(size=3 * trials)).intervals
        for _ in range(REPEATS)
    ]
    for i in range(3):
        assert 0.92 <= coverage([one[i] for one in found], i) <= 0.98


# -- one field


@pytest.mark.parametrize("sizes", [(10, 10), (5, 9, 16), (6, 6, 6, 6, 6, 6)])
@pytest.mark.parametrize("effect", [0.0, 0.3, 2.0])
def test_an_importance_is_an_analysis_of_variance(sizes: tuple[int, ...], effect: float) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    outcomes = effect * groups + np.random.default_rng(5).normal(size=groups.size)
    found = importance([f"net{i}" for i in groups], outcomes)
    expected = stats.f_oneway(*(outcomes[groups == i] for i in range(len(sizes))))
    between, within = len(sizes) - 1, groups.size - len(sizes)
    assert found.num_bins == len(sizes)
    assert found.p_value == found.p_corrected == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.share.method == "ANOVA, noncentral F"
    f = expected.statistic
    epsilon = between * (f - 1) / (between * f + within)
    assert found.share.value == pytest.approx(max(0, epsilon))
    assert 0 <= found.share.low <= found.share.value < found.share.high < 1
    for bound, level in ((found.share.low, 0.975), (found.share.high, 0.025)):
        centrality = groups.size * bound / (1 - bound)
        if bound > 0:
            reached = max(f, stats.f.median(between, within)) if level < 0.5 else f
            assert stats.ncf.cdf(reached, between, within, centrality) == pytest.approx(level)
        else:
            assert stats.f.cdf(f, between, within) <= level


def test_what_cannot_be_told_is_nan() -> None:
    for found in (
        importance([1, 1, 1], [0.1, 0.2, 0.3]),
        importance([1, 2, 3], [0.1, 0.2, 0.3]),
        importance([1, 1, 2, 2], [0.1, 0.1, 0.1, 0.1]),
    ):
        assert math.isnan(found.share.value) and math.isnan(found.p_value)
        assert not found.share.is_known
    split = importance([1, 1, 2, 2], [0.1, 0.1, 0.9, 0.9])
    assert split.share.value == 1 and not split.share.is_known and math.isnan(split.p_value)
    nearly = importance([1, 1, 2, 2] * 5, [0.1, 0.1 + 1e-6, 0.9, 0.9] * 5)
    assert 0.999 < nearly.share.low <= nearly.share.value <= nearly.share.high <= 1


@pytest.mark.parametrize(("count", "trials"), [(2, 10), (3, 30), (6, 60)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.8])
def test_the_interval_of_an_importance_covers(count: int, trials: int, share: float) -> None:
    rng = np.random.default_rng(6)
    values = [float(i % count) for i in range(trials)]
    means = math.sqrt(share) * (np.arange(count) - (count - 1) / 2) / np.arange(count).std()
    noise = math.sqrt(1 - share) * rng.normal(size=(REPEATS, trials))
    outcomes = np.tile(means, trials // count) + noise
    found = [importance(values, row).share for row in outcomes]
    # An absent effect is missed to one side only: .975.
    assert 0.92 <= coverage(found, share) <= 0.985


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_it_covers_win_rates_of_random_fields(share: float) -> None:
    rng = np.random.default_rng(7)
    drawn = rng.random((REPEATS, 48)) < 0.5
    noise = math.sqrt(3 * (1 - share)) * (2 * rng.random(drawn.shape) - 1)
    outcomes = 0.5 + (math.sqrt(share) * (2 * drawn - 1) + noise) / 10
    found = [
        importance(list(map(bool, one)), row).share
        for one, row in zip(drawn, outcomes, strict=True)
    ]
    assert 0.92 <= coverage(found, share) <= 0.985


def test_fields_are_sorted_and_corrected() -> None:
    rng = np.random.default_rng(8)
    strong, weak, idle = rng.random((3, 60))
    outcomes = strong + 0.6 * weak + 0.1 * rng.normal(size=60)
    table = {"idle": list(idle), "one": [1.0] * 60, "weak": list(weak), "strong": list(strong)}
    found = importances(table, outcomes)
    assert list(found)[:2] == ["strong", "weak"] and list(found)[-1] == "one"
    dummies = {
        name: [np.isin(np.arange(60), one.indices) for one in bins_of(table[name])[1:]]
        for name in ("strong", "weak", "idle")
    }
    rest, raw = nested([one for of in dummies.values() for one in of], outcomes), []
    for name in dummies:
        without = nested([x for key, of in dummies.items() if key != name for x in of], outcomes)
        f = ((without - rest) / 5) / (rest / 44)
        raw.append(float(stats.f.sf(f, 5, 44)))
        share = max(0.0, 5 * (f - 1) / (5 * (f - 1) + 59))
        assert found[name].share.value == pytest.approx(share)
        assert found[name].p_value == pytest.approx(raw[-1])
    assert raw == sorted(raw)
    corrected = [found[name].p_corrected for name in ("strong", "weak", "idle")]
    expected = [3 * raw[0], max(3 * raw[0], 2 * raw[1]), max(3 * raw[0], 2 * raw[1], raw[2])]
    assert corrected == pytest.approx(np.minimum(1, expected))
    assert math.isnan(found["one"].p_corrected)


def crossed(num_seeds: int) -> tuple[dict[str, list[int]], list[int], NDArray[np.intp]]:
    """A grid of three by two by two values: the table, each trial's variant, and its places."""
    places = np.array(list(itertools.product(range(3), range(2), range(2), range(num_seeds)))).T
    table = {name: places[i].tolist() for i, name in enumerate("abc")}
    return table, ((places[0] * 2 + places[1]) * 2 + places[2]).tolist(), places


def test_what_other_fields_of_a_grid_do_is_no_noise() -> None:
    """Balanced, so each field's sum of squares is that of its own means: a closed form."""
    table, _, places = crossed(1)
    outcomes = 3.0 * places[0] + places[1] + np.random.default_rng(16).normal(size=12)
    found = importances(table, outcomes)
    means = [[outcomes[places[i] == k].mean() for k in range(n)] for i, n in enumerate((3, 2, 2))]
    squares = [12 / len(of) * float(((of - outcomes.mean()) ** 2).sum()) for of in means]
    rest = float(((outcomes - outcomes.mean()) ** 2).sum()) - sum(squares)
    for name, of, explained in zip("abc", means, squares, strict=True):
        between = len(of) - 1
        f = explained / between / (rest / 7)
        assert found[name].p_value == pytest.approx(stats.f.sf(f, between, 7))
        share = max(0.0, between * (f - 1) / (between * (f - 1) + 11))
        assert found[name].share.value == pytest.approx(share)
    assert found["a"].p_value < importance(table["a"], outcomes).p_value
    assert pooled_error(table, outcomes) == pytest.approx((rest / 7, 7))


def test_seeds_within_variants_are_the_error_where_there_are_some() -> None:
    """Two-way analysis of variance with replication, by hand: main effects and interaction."""
    table, cells, places = crossed(3)
    outcomes = places[0] * places[1] + np.random.default_rng(17).normal(size=36)
    by_cell = outcomes.reshape(12, 3)
    rest = float(((by_cell - by_cell.mean(axis=1, keepdims=True)) ** 2).sum())
    found = importances(table, outcomes, cells)
    means = outcomes.reshape(3, 12).mean(axis=1)
    explained = 12 * float(((means - outcomes.mean()) ** 2).sum())
    assert found["a"].p_value == pytest.approx(stats.f.sf(explained / 2 / (rest / 24), 2, 24))
    assert pooled_error(table, outcomes, cells) == pytest.approx((rest / 24, 24))
    pair = strongest_interaction(table, outcomes, cells)
    assert pair is not None and pair.fields == ("a", "b") and pair.num_pairs == 3
    joint = outcomes.reshape(3, 2, 6).mean(axis=2)
    beyond = joint - joint.mean(axis=1, keepdims=True) - joint.mean(axis=0) + joint.mean()
    f = 6 * float((beyond**2).sum()) / 2 / (rest / 24)
    assert pair.p_value == pytest.approx(stats.f.sf(f, 2, 24))


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
@pytest.mark.parametrize("effect", [0.0, 3.0])
def test_an_idle_field_of_a_grid_is_found_as_often_as_chance_has_it(
    num_seeds: int, effect: float
) -> None:
    table, cells, places = crossed(num_seeds)
    rng = np.random.default_rng(18)
    false = together = 0
    for _ in range(REPEATS):
        outcomes = effect * places[0] + rng.normal(size=places.shape[1])
        of = cells if num_seeds > 1 else None
        false += importances(table, outcomes, of)["c"].p_value < 0.05
        if of is not None:
            pair = strongest_interaction(table, outcomes, of)
            assert pair is not None
            together += pair.p_corrected < 0.05
    assert 0.035 <= false / REPEATS <= 0.065
    assert together / REPEATS <= 0.065


@pytest.mark.parametrize("num_seeds", [1, 2])
@pytest.mark.parametrize("effect", [0.0, 0.5, 1.5])
def test_the_partial_share_is_covered(num_seeds: int, effect: float) -> None:
    table, cells, places = crossed(num_seeds)
    rng = np.random.default_rng(19)
    truth = effect**2 * places[1].var() / (1 + effect**2 * places[1].var())
    found = [
        importances(
            table,
            3.0 * places[0] + effect * places[1] + rng.normal(size=places.shape[1]),
            cells if num_seeds > 1 else None,
        )["b"].share
        for _ in range(REPEATS)
    ]
    assert 0.92 <= coverage(found, truth) <= 0.985


def test_holms_correction() -> None:
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx(
        [0.06, 0.03, math.nan, 0.06], nan_ok=True
    )
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_fields_without_effect_are_rarely_found() -> None:
    rng = np.random.default_rng(9)
    false = 0
    for _ in range(REPEATS // 2):
        table = {name: list(rng.random(40)) for name in "abc"}
        found = importances(table, rng.random(40))
        false += min(one.p_corrected for one in found.values()) < 0.05
    assert 0.03 <= false / (REPEATS // 2) <= 0.07


# -- two fields


def test_an_interaction_is_a_two_way_analysis_of_variance() -> None:
    """Of equal cells the sums of squares have a closed form."""
    rng = np.random.default_rng(10)
    cells = rng.normal(size=(2, 3, 4)) + np.array([[0, 1, 2], [2, 1, 0]])[:, :, None]
    rows, columns, _ = np.indices(cells.shape)
    table = {"row": list(rows.ravel() == 1), "column": [float(i) for i in columns.ravel()]}
    found = strongest_interaction(table, cells.ravel())
    assert found is not None and found.fields == ("row", "column") and found.num_pairs == 1
    means = cells.mean(axis=2)
    assert np.array(found.means) == pytest.approx(means)
    assert np.array(found.counts).tolist() == [[4] * 3] * 2
    assert [one.label for one in found.bins[1]] == ["0", "1", "2"]
    beyond = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    explained, rest = 4 * (beyond**2).sum(), ((cells - means[:, :, None]) ** 2).sum()
    f = (explained / 2) / (rest / 18)
    assert found.p_value == found.p_corrected == pytest.approx(stats.f.sf(f, 2, 18))
    share = (explained - 2 * rest / 18) / (cells.var() * cells.size)
    assert found.share == pytest.approx(share)


def nested(columns: Sequence[Floats], outcomes: Floats) -> float:
    """What is left of the sum of squares after a regression on these columns."""
    design = np.column_stack([np.ones(outcomes.size), *columns])
    return float(np.linalg.lstsq(design, outcomes)[1][0])


def test_cells_may_differ_in_size() -> None:
    """A regression with a product against one without, of two truth values."""
    rng = np.random.default_rng(11)
    a, b = rng.random(50) < 0.3, rng.random(50) < 0.6
    outcomes = a + 0.5 * b + 1.5 * (a & b) + rng.normal(size=50)
    found = strongest_interaction({"a": list(map(bool, a)), "b": list(map(bool, b))}, outcomes)
    assert found is not None
    x, y = a.astype(float), b.astype(float)
    rest, without = nested([x, y, x * y], outcomes), nested([x, y], outcomes)
    assert found.p_value == pytest.approx(stats.f.sf((without - rest) / (rest / 46), 1, 46))
    assert found.share == pytest.approx((without - rest - rest / 46) / (outcomes.var() * 50))


def test_an_empty_cell_costs_a_degree_of_freedom() -> None:
    rng = np.random.default_rng(12)
    pairs = [one for one in itertools.product(range(3), range(3)) if one != (2, 0)] * 3
    a, b = np.array(pairs).T
    outcomes = 0.4 * a * b + rng.normal(size=24)
    found = strongest_interaction({"a": list(map(int, a)), "b": list(map(int, b))}, outcomes)
    assert found is not None and math.isnan(found.means[2][0]) and found.counts[2][0] == 0
    main = [a == 1, a == 2, b == 1, b == 2]
    full = [(a == i) & (b == j) for i, j in set(pairs) if (i, j) != (0, 0)]
    rest, without = nested(full, outcomes), nested(main, outcomes)
    assert found.p_value == pytest.approx(stats.f.sf((without - rest) / 3 / (rest / 16), 3, 16))


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"a": [1, 2] * 8},
        {"a": [1, 2] * 8, "b": [1] * 16},
        {"a": [1, 2] * 8, "b": ["x", "y"] * 8},  # the same field under another name
        {"a": ["x", "y"] * 8, "b": [f"net{i}" for i in range(16)]},  # a trial a cell
    ],
)
def test_what_fills_too_few_cells_has_no_interaction(table: dict[str, list[Any]]) -> None:
    assert strongest_interaction(table, np.random.default_rng(13).random(16)) is None


def test_outcomes_without_noise_have_no_interaction() -> None:
    table = {"a": [0, 0, 1, 1] * 4, "b": [0, 1] * 8}
    assert strongest_interaction(table, [0.5] * 16) is None
    assert strongest_interaction(table, [0.1, 0.3, 0.5, 0.9] * 4) is None


@pytest.mark.parametrize("trials", [40, 90])
def test_the_strongest_pair_is_found_among_others(trials: int) -> None:
    rng = np.random.default_rng(14)
    table = {name: list(rng.random(trials)) for name in "abcde"}
    product = np.sign(np.array(table["b"]) - 0.5) * np.sign(np.array(table["d"]) - 0.5)
    outcomes = np.array(table["a"]) / 4 + product + 0.1 * rng.normal(size=trials)
    found = strongest_interaction(table, outcomes)
    assert found is not None and found.fields == ("b", "d") and found.num_pairs == 10
    assert len(found.means) == len(found.means[0]) == (3 if trials >= 45 else 2)
    assert found.p_value < 0.001 and found.p_corrected == pytest.approx(10 * found.p_value)
    assert found.means[0][0] > found.means[0][-1] and found.means[-1][-1] > found.means[-1][0]


@pytest.mark.parametrize(("trials", "share"), [(24, 0.0), (60, 0.0), (60, 0.5)])
def test_an_interaction_that_is_none_is_rarely_found(trials: int, share: float) -> None:
    """Also beside main effects, along listed values drawn at random."""
    rng = np.random.default_rng(15)
    false = 0
    for _ in range(REPEATS // 2):
        a, b, c = rng.integers(3, size=(3, trials))
        outcomes = share * (a - b) + rng.normal(size=trials)
        found = strongest_interaction({"a": list(a), "b": list(b), "c": list(c)}, outcomes)
        assert found is not None
        false += found.p_corrected < 0.05
    assert false / (REPEATS // 2) <= 0.07


# -- what makes no sense


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bins_of([]), "0 values"),
        (lambda: bins_of([1.0], 0), "0 bins"),
        (lambda: bins_of([1.0, math.nan]), "hold nan"),
        (lambda: response([1, 2], [0.5]), "2 values and 1 outcomes"),
        (lambda: importance([1, 2], [0.5, math.inf]), "hold inf"),
        (lambda: importances({"a": [1]}, [0.5, 0.6]), "1 values and 2 outcomes"),
        (lambda: strongest_interaction({"a": [1]}, [0.5, 0.6]), "1 values and 2 outcomes"),
    ],
)
def test_what_makes_no_response_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
