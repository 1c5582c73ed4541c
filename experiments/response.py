"""How the outcome of trials responds to each field that varied.

All of it takes variants to be drawn independently of outcomes, as by a grid or at random. Adaptive
searches (optuna, asha, pbt) put more trials where outcomes were good, which bends means, shares of
variance and p values alike: read those as hints. And it takes trials to be independent: of a
variant that was trained with several seeds, give the mean of its seeds, once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, fdtrc, fdtri, ncfdtr

from experiments.statistics import Interval, bounded, mean_interval, to_floats

MAX_BINS = 6
"""Number of bins of a field that took many values."""
MIN_TRIALS = 5
"""Number of trials that each of those bins has at least."""
METHOD = "ANOVA, noncentral F"


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Trials whose values of a field are equal or near."""

    label: str
    """The value, or "0.1 to 0.4"."""
    low: float
    """Smallest value in the bin; for texts and truth values the bin's number."""
    high: float
    """Largest value in the bin."""
    centre: float
    """Median of the values in the bin."""
    indices: tuple[int, ...]
    """Which trials, by their place in the list."""


@dataclass(frozen=True)
class Response:
    """Mean outcome along one field."""

    bins: tuple[Bin, ...]
    """In the order of their values."""
    intervals: tuple[Interval, ...]
    """Mean outcome of each bin, with Student's t interval."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much of the outcomes' variance one field explains."""

    share: Interval
    """Of the variance, from 0 to 1; value and bounds are nan where it can't be told."""
    p_value: float
    """Of the F test that all bins have the same mean; nan where it can't be told."""
    p_corrected: float
    """The same after Holm's correction for the number of fields."""
    num_bins: int
    """Number of bins compared."""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """Two fields whose effect together isn't the sum of their effects alone."""

    fields: tuple[str, str]
    """Names of the two."""
    bins: tuple[tuple[Bin, ...], tuple[Bin, ...]]
    """Bins of the first field (rows of `means`) and of the second (columns)."""
    means: tuple[tuple[float, ...], ...]
    """Mean outcome in each cell; nan where no trial lies."""
    counts: tuple[tuple[int, ...], ...]
    """Number of trials in each cell."""
    share: float
    """Of the outcomes' variance, beyond both main effects; adjusted for chance, not below 0."""
    p_value: float
    """Of the F test that there is no interaction."""
    p_corrected: float
    """The same after Holm's correction for the number of pairs."""
    num_pairs: int
    """Number of pairs that could be tested."""


# -- bins


def bins_of(values: Sequence[Any], max_bins: int = MAX_BINS) -> tuple[Bin, ...]:
    """Sorts trials into bins by their value of a field.

    Few distinct numbers, and texts and truth values however many, get a bin each. Many numbers are
    cut at quantiles into bins of at least 5 trials; equal numbers stay together.

    Args:
        values: of each trial, at least one; if one isn't a number, all are taken as names.
        max_bins: number of bins of numbers, at least 1.

    Returns:
        The bins, in the order of the numbers or of the names.

    Raises:
        ValueError: no values, a number that isn't finite, or no bins.
    """
    if not len(values) or max_bins < 1:
        raise ValueError(f"{len(values)} values make no {max_bins} bins; give at least one each.")
    if not all(_is_number(one) for one in values):
        names = sorted({str(one) for one in values})
        groups = np.array([names.index(str(one)) for one in values])
        return tuple(_bin(groups, groups == i, name) for i, name in enumerate(names))
    numbers = to_floats("values", values)
    distinct, counts = np.unique(numbers, return_counts=True)
    if distinct.size <= max_bins:
        return tuple(_bin(numbers, numbers == one, f"{one:.4g}") for one in distinct)
    starts, size = [float(distinct[0])], 0
    num_bins = max(1, min(max_bins, numbers.size // MIN_TRIALS))
    # A value belongs to the quantile that its middle rank falls into.
    quantiles = (np.cumsum(counts) - counts / 2) * num_bins // numbers.size
    for i, one in enumerate(distinct):
        if size >= MIN_TRIALS and quantiles[i] > quantiles[i - 1]:
            starts.append(float(one))
            size = 0
        size += int(counts[i])
    if size < MIN_TRIALS and len(starts) > 1:
        starts.pop()
    groups = np.searchsorted(starts, numbers, side="right")
    return tuple(_bin(numbers, groups == i + 1) for i in range(len(starts)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _bin(numbers: NDArray[Any], inside: NDArray[np.bool_], label: str = "") -> Bin:
    mine = numbers[inside]
    low, high = float(mine.min()), float(mine.max())
    return Bin(
        label=label or (f"{low:.3g} to {high:.3g}" if low < high else f"{low:.4g}"),
        low=low,
        high=high,
        centre=float(np.median(mine)),
        indices=tuple(int(i) for i in np.flatnonzero(inside)),
    )


def _groups(bins: Sequence[Bin], num_trials: int) -> NDArray[np.int64]:
    """Which bin each trial lies in."""
    groups = np.empty(num_trials, dtype=np.int64)
    for i, one in enumerate(bins):
        groups[list(one.indices)] = i
    return groups


# -- one field


def response(values: Sequence[Any], outcomes: ArrayLike, max_bins: int = MAX_BINS) -> Response:
    """Mean outcome along a field, with Student's t interval in each bin.

    Assumes variants drawn independently of outcomes; adaptive searches bias it (see the top).

    Args:
        values: of the field, one a trial.
        outcomes: float [num_trials].
        max_bins: see `bins_of`.
    """
    results = _outcomes(outcomes, len(values))
    bins = bins_of(values, max_bins)
    return Response(bins, tuple(mean_interval(results[list(one.indices)]) for one in bins))


def importance(values: Sequence[Any], outcomes: ArrayLike) -> Importance:
    """Share of the outcomes' variance that a field explains alone: a one-way analysis of variance.

    The estimate is epsilon squared (Kelley 1935), which is adjusted R squared, not below 0. The
    interval is Steiger's (2004, "Beyond the F test"): the effects under which the noncentral F
    distribution makes the found F neither too large nor too small. For an F below its median under
    no effect at all, the upper bound is that of the median, which keeps a width. Measured from 10
    trials on: .94 to .98 for normal noise and bins of fixed sizes, up to .99 for bounded noise; .91
    if a random draw makes the sizes and the share is .8. Exponential noise is covered less: .91 or
    more up to a share of .2, .83 at .5 and .74 at .8.

    Assumes variants drawn independently of outcomes; adaptive searches bias it (see the top).

    Args:
        values: of the field, one a trial.
        outcomes: float [num_trials].

    Returns:
        The importance; nan where there is one bin, no bin with two trials, or equal outcomes. If
        outcomes differ between bins but never within, the share is 1 and nothing else is known.
    """
    results = _outcomes(outcomes, len(values))
    bins = bins_of(values)
    total = float(((results - results.mean()) ** 2).sum())
    rest, within = _within(_groups(bins, results.size), results)
    return _partial(total - rest, len(bins) - 1, rest, within, results, len(bins))


def _importance(share: Interval, p_value: float, num_bins: int) -> Importance:
    return Importance(share=share, p_value=p_value, p_corrected=p_value, num_bins=num_bins)


def _share_at(found: float, between: int, within: int, level: float, num_trials: int) -> float:
    """Share of variance under which an F up to the found one comes with this probability."""

    def excess(effect: float) -> float:
        return float(ncfdtr(between, within, effect, found)) - level

    if excess(0) <= 0:
        return 0.0
    if found > 1e5:  # the numerator's own spread no longer counts, nor does scipy's sum converge
        effect = between * found / within * float(chdtri(within, level))
    else:
        top = 1.0
        while excess(top) > 0:
            top *= 2
        effect = float(brentq(excess, 0, top))
    return effect / (effect + num_trials)


def importances(
    table: Mapping[str, Sequence[Any]],
    outcomes: ArrayLike,
    cells: Sequence[int] | None = None,
) -> dict[str, Importance]:
    """The importance of every field beside all others, with p values by Holm 1979 for their number.

    Each field's partial sum of squares in the additive model of all fields' bins, so that what the
    others do is no noise (the partial F test; Fox 2016, "Applied Regression Analysis", 8.2). The
    share is of what the other fields leave: partial epsilon squared, with Steiger's interval as in
    `importance`. Where the model would be as large as what is left to judge it by, and values are
    binned, each field is judged alone as by `importance`.

    Assumes variants drawn independently of outcomes; adaptive searches bias it (see the top).

    Args:
        table: values of each field, one a trial.
        outcomes: float [num_trials].
        cells: of a design in which all values meet and trials are seeds of variants, the variant of
            each trial: then what differs within variants is the error, and every value has a bin.

    Returns:
        By field, the largest share first; those that can't be told last.
    """
    results = to_floats("outcomes", outcomes)
    for values in table.values():
        _outcomes(results, len(values))
    bins = {name: _bins_of(values, cells) for name, values in table.items()}
    groups = {name: _groups(one, results.size) for name, one in bins.items() if len(one) > 1}
    rest, rank = _left(list(groups.values()), results)
    error, within = _within(cells, results) if cells is not None else (rest, results.size - rank)
    is_exact = all(len(of) == len(set(table[name])) for name, of in bins.items())
    if cells is None and (len(groups) < 2 or within < (1 if is_exact else rank - 1)):
        found = {name: importance(values, outcomes) for name, values in table.items()}
    else:
        found = {}
        for name, of in bins.items():
            others = [one for other, one in groups.items() if other != name]
            without, fewer = _left(others, results)
            found[name] = _partial(
                max(0.0, without - rest), rank - fewer, error, within, results, len(of)
            )
    corrected = holm([one.p_value for one in found.values()])
    found = {
        name: Importance(
            share=one.share, p_value=one.p_value, p_corrected=p_value, num_bins=one.num_bins
        )
        for (name, one), p_value in zip(found.items(), corrected, strict=True)
    }

    def place(item: tuple[str, Importance]) -> tuple[bool, float, float]:
        share, p_value = item[1].share.value, item[1].p_value
        return math.isnan(share), -share, p_value if p_value == p_value else 0.0

    return dict(sorted(found.items(), key=place))


def _partial(
    explained: float,
    between: int,
    rest: float,
    within: int,
    results: NDArray[np.float64],
    num_bins: int,
) -> Importance:
    """The importance that a sum of squares has beside the error's."""
    unknown = Interval(math.nan, math.nan, math.nan, METHOD)
    if between < 1 or within < 1 or _is_zero(explained + rest, results):
        return _importance(unknown, math.nan, num_bins)
    if _is_zero(rest, results):
        share = 0.0 if _is_zero(explained, results) else 1.0
        return _importance(Interval(share, math.nan, math.nan, METHOD), math.nan, num_bins)
    noise = rest / within
    found = explained / between / noise
    beyond = max(0.0, explained - between * noise)
    share = beyond / (beyond + (results.size - 1) * noise)
    low = _share_at(found, between, within, 0.975, results.size)
    reached = max(found, float(fdtri(between, within, 0.5)))
    high = _share_at(reached, between, within, 0.025, results.size)
    p_value = float(fdtrc(between, within, found))
    return _importance(bounded(share, low, high, METHOD), p_value, num_bins)


def pooled_error(
    table: Mapping[str, Sequence[Any]], outcomes: ArrayLike, cells: Sequence[int] | None = None
) -> tuple[float, int]:
    """Variance of trials about what all fields' values say of them, and its degrees of freedom.

    Args:
        table, outcomes, cells: as for `importances`; every value has a bin.

    Returns:
        Mean square of the seeds within variants, or what the additive model leaves; nan and 0 where
        nothing is left.
    """
    results = to_floats("outcomes", outcomes)
    if cells is not None:
        rest, within = _within(cells, results)
    else:
        bins = [bins_of(values, len(values)) for values in table.values()]
        rest, rank = _left([_groups(one, results.size) for one in bins], results)
        within = results.size - rank
    return (rest / within, within) if within > 0 else (math.nan, 0)


def _bins_of(values: Sequence[Any], cells: Sequence[int] | None) -> tuple[Bin, ...]:
    return bins_of(values) if cells is None else bins_of(values, len(values))


def _left(groups: Sequence[NDArray[np.int64]], results: NDArray[np.float64]) -> tuple[float, int]:
    """Sum of squares that a model of these groups' effects leaves, and the model's rank."""
    columns = [np.ones((results.size, 1)), *(np.eye(one.max() + 1)[one] for one in groups)]
    design = np.concatenate(columns, axis=1)
    fit, _, rank, _ = np.linalg.lstsq(design, results)
    return float(((results - design @ fit) ** 2).sum()), int(rank)


def _within(
    cells: Sequence[int] | NDArray[np.int64], results: NDArray[np.float64]
) -> tuple[float, int]:
    """Sum of squares within cells, and its degrees of freedom."""
    names, cell_of = np.unique(np.asarray(cells), return_inverse=True)
    means = np.bincount(cell_of, results) / np.bincount(cell_of)
    return float(((results - means[cell_of]) ** 2).sum()), results.size - names.size


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) correction for several tests; nan stays nan and doesn't count.

    Args:
        p_values: one a test, in any order.

    Returns:
        Corrected p values in the same order, at most 1.
    """
    order = sorted((i for i, p in enumerate(p_values) if p == p), key=lambda i: p_values[i])
    corrected, largest = [math.nan] * len(p_values), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(order) - place)))
        corrected[i] = largest
    return corrected


# -- two fields


def strongest_interaction(
    table: Mapping[str, Sequence[Any]],
    outcomes: ArrayLike,
    cells: Sequence[int] | None = None,
) -> Interaction | None:
    """The pair of fields whose interaction explains most of the outcomes' variance.

    Two-way analysis of variance by regression, for each pair: means of all cells that hold trials
    against the sum of both main effects, so cells may differ in size and be empty. Other fields'
    main effects are taken off where enough trials are left. Numbers of many
    values make 3 bins from 45 trials on, else 2. The share is epsilon squared: what chance alone
    would explain is taken off. p values are corrected by Holm 1979 for the number of pairs.

    Assumes variants drawn independently of outcomes; adaptive searches bias it (see the top).

    Args:
        table: values of each field, one a trial.
        outcomes: float [num_trials].
        cells: as for `importances`; then the error is that within variants.

    Returns:
        The strongest, significant or not; None if no pair of fields fills enough cells, with two
        trials and differing outcomes in one of them at least.
    """
    results, bins = to_floats("outcomes", outcomes), {}
    for name, values in table.items():
        _outcomes(results, len(values))
        is_coarse = len(values) < 9 * MIN_TRIALS and len(set(values)) > 3
        is_whole = cells is not None
        bins[name] = bins_of(values, len(values) if is_whole else 2 if is_coarse else 3)
    groups = {name: _groups(one, results.size) for name, one in bins.items() if len(one) > 1}
    pairs, tests = [], []
    for pair in itertools.combinations(groups, 2):
        others = [of for name, of in groups.items() if name not in pair]
        test = _test_interaction(groups[pair[0]], groups[pair[1]], others, results, cells)
        if test is not None:
            pairs.append(pair)
            tests.append(test)
    if not tests:
        return None
    corrected = holm([p_value for _, p_value in tests])
    best = max(range(len(tests)), key=lambda i: (tests[i][0], -tests[i][1]))
    first, second = (bins[name] for name in pairs[best])
    found = [[sorted(set(a.indices) & set(b.indices)) for b in second] for a in first]
    return Interaction(
        fields=pairs[best],
        bins=(first, second),
        means=tuple(
            tuple(float(results[cell].mean()) if cell else math.nan for cell in row)
            for row in found
        ),
        counts=tuple(tuple(len(cell) for cell in row) for row in found),
        share=tests[best][0],
        p_value=tests[best][1],
        p_corrected=corrected[best],
        num_pairs=len(tests),
    )


def _test_interaction(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    others: Sequence[NDArray[np.int64]],
    results: NDArray[np.float64],
    cells: Sequence[int] | None,
) -> tuple[float, float] | None:
    """Share of variance and p value; None if there is nothing to estimate them from."""
    together = rows * (columns.max() + 1) + columns
    both = np.unique(together, return_inverse=True)[1]
    rest, full = _left([both, *others], results)
    if cells is None and others and results.size - full < full:
        others = []
        rest, full = _left([both], results)
    without, rank = _left([rows, columns, *others], results)
    explained, beyond = max(0.0, without - rest), full - rank
    error, within = _within(cells, results) if cells is not None else (rest, results.size - full)
    if beyond < 1 or within < 1 or _is_zero(error, results):
        return None
    total = float(((results - results.mean()) ** 2).sum())
    share = max(0.0, (explained - beyond * error / within) / total)
    return share, float(fdtrc(beyond, within, explained / beyond / (error / within)))


def _is_zero(squares: float, results: NDArray[np.float64]) -> bool:
    """Whether a sum of squares is rounding alone."""
    return squares <= 1e-20 * float((results**2).sum())


def _outcomes(outcomes: ArrayLike, num_trials: int) -> NDArray[np.float64]:
    results = to_floats("outcomes", outcomes)
    if results.size != num_trials:
        raise ValueError(f"{num_trials} values and {results.size} outcomes; give one a trial.")
    return results
