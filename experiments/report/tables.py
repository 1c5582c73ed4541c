"""The figures that a report shows, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from env.errors import BadInputError
from experiments.metrics import number
from experiments.report.overview import Overview
from experiments.report.variants import (
    CAUSES,
    Variant,
    causes_of,
    mean_of,
)
from experiments.response import (
    MAX_BINS,
    Importance,
    Interaction,
    importances,
    pooled_error,
    response,
    strongest_interaction,
)
from experiments.statistics import (
    Interval,
    bounded,
    paired_difference,
    paired_share_difference,
    probability_of_improvement,
)
from experiments.study import TrialResult

MAX_OWN_BINS = 12
"""Variants up to which every value of a field has a bin of its own."""
MAX_CAUSE_ROWS = 20
"""Variants whose causes of failure are listed."""
SIGNIFICANT = 0.05
"""Corrected p value below which a field is said to matter."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One thing that cats do, as a column of tables."""

    key: str
    """Of the metric."""
    title: str
    note: str
    """What it counts, with its unit."""
    form: str
    """How a number is written."""


MEASURES = (
    Measure(
        key="behaviour/own_blocks",
        title="own blocks",
        note="blocks of their own colour shot away, an episode",
        form="{:.1f}",
    ),
    Measure(
        key="behaviour/wasted_shots",
        title="wasted shots",
        note="bullets that end in a wall or in nothing, an episode",
        form="{:.1f}",
    ),
    Measure(
        key="behaviour/friendly_kills",
        title="friendly kills",
        note="team-mates shot, an episode",
        form="{:.2f}",
    ),
    Measure(
        key="eval/episode_length", title="length", note="ticks of an episode, mean", form="{:.0f}"
    ),
    Measure(
        key="behaviour/idle_share",
        title="idle",
        note="share of cats' ticks in play without an action",
        form="{:.0%}",
    ),
    Measure(
        key="reward/farmed",
        title="farmed pay",
        note="what is paid beyond what victories take, a cat and episode",
        form="{:.2f}",
    ),
)
"""What the tables show of behaviour, beside how games end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BinRow:
    """Trials whose values of a field are equal or near, and what their cats do."""

    label: str
    """The value, or the range."""
    variants: tuple[Variant, ...]
    win_rate: Interval
    """Held out; across variants, or across the seeds of an only one."""
    causes: Mapping[str, float]
    """Share of games that end in each way."""
    measures: Mapping[str, float | None]
    """By key of `MEASURES`."""

    @property
    def trials(self) -> tuple[TrialResult, ...]:
        """All seeds of all its variants."""
        return tuple(trial for one in self.variants for trial in one.trials)

    @property
    def ending(self) -> str:
        """How most games end."""
        return max(self.causes, key=lambda one: self.causes[one])


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldTable:
    """One field that varied: what it explains, and what happens along it."""

    name: str
    importance: Importance | None
    """None where fields vary one at a time."""
    bins: tuple[BinRow, ...]
    """In the order of their values."""
    is_numeric: bool
    """Whether its values are numbers, not names."""

    @property
    def is_clear(self) -> bool:
        """Whether chance alone hardly explains as much; or there is none, as runs with equal values
        win equally often."""
        one = self.importance
        return one is not None and (one.p_corrected < SIGNIFICANT or one.share.value == 1)

    @property
    def best(self) -> BinRow:
        """The bin that wins most."""
        return max(self.bins, key=lambda one: one.win_rate.value)

    @property
    def worst(self) -> BinRow:
        """The bin that wins least."""
        return min(self.bins, key=lambda one: one.win_rate.value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect:
    """A named variant beside the base."""

    variant: Variant
    changes: Mapping[str, Any]
    """What it trains differently, by dotted name."""
    difference: Interval
    """Of held-out win rates, its own minus the base's."""
    compared: str
    """How: by seeds, by the levels of two runs, or only their win rates."""
    improvement: Interval
    """How likely one of its runs beats one of the base's."""

    @property
    def is_clear(self) -> bool:
        """Whether the difference's interval leaves nought out."""
        low, high = self.difference.low, self.difference.high
        return self.difference.is_known and (low > 0 or high < 0)


# -- along fields


def field_tables(overview: Overview) -> tuple[FieldTable, ...]:
    """Every field that varies, the most important first.

    A unit is a variant, with the mean of its seeds: they differ by chance alone. Where all values
    meet and variants have several seeds, a unit is a run, and what seeds differ by is the error.
    """
    if not overview.fields:
        return ()
    units = _units(overview)
    found: Mapping[str, Importance | None]
    if overview.is_one_at_a_time:
        found = dict.fromkeys(overview.fields)
    else:
        found = importances(units.table, units.rates, units.cells)
    return tuple(
        FieldTable(
            name=name,
            importance=one,
            bins=tuple(_bins(overview, name, units)),
            is_numeric=all(number(value) is not None for value in overview.fields[name]),
        )
        for name, one in found.items()
    )


@dataclass(frozen=True, kw_only=True)
class _Units:
    """What an analysis of variance counts."""

    table: Mapping[str, Sequence[Any]]
    """Values of each field, one a unit."""
    rates: Sequence[float]
    """Held-out win rate of each."""
    is_crossed: bool
    """Whether every value of a field was trained with every value of all others."""
    cells: Sequence[int] | None
    """If units are runs: which variant each is of; None if they are variants."""

    @cached_property
    def error(self) -> tuple[float, int] | None:
        """Variance of a unit about what all fields say, and its degrees of freedom; None if not
        all values meet."""
        return pooled_error(self.table, self.rates, self.cells) if self.is_crossed else None


def _units(overview: Overview) -> _Units:
    fields, variants = overview.fields, overview.variants
    num_values = [len(set(map(repr, of))) for of in fields.values()]
    is_crossed = max(num_values) <= MAX_OWN_BINS and math.prod(num_values) == len(variants)
    seeds = [len(one.trials) for one in variants]
    # Of one field the values with one seed are judged by the spread of the others.
    if is_crossed and (min(seeds) > 1 or (len(fields) == 1 and max(seeds) > 1)):
        cells = [i for i, one in enumerate(variants) for _ in one.trials]
        rates = [rate for one in variants for rate in one.win_rates]
        table = {name: [of[i] for i in cells] for name, of in fields.items()}
        return _Units(table=table, rates=rates, is_crossed=True, cells=cells)
    rates = [float(np.mean(one.win_rates)) for one in variants]
    return _Units(table=fields, rates=rates, is_crossed=is_crossed, cells=None)


def _bins(overview: Overview, name: str, units: _Units) -> Iterator[BinRow]:
    variants = overview.variants
    rates = [float(np.mean(one.win_rates)) for one in variants]
    max_bins = MAX_OWN_BINS if units.is_crossed or len(variants) <= MAX_OWN_BINS else MAX_BINS
    along = response(overview.fields[name], rates, max_bins)
    bins = list(zip(along.bins, along.intervals, strict=True))
    if name == "variant":  # as they were listed, not by the alphabet
        listed = list(dict.fromkeys(str(one.config.get(name)) for one in overview.study.trials))
        bins.sort(key=lambda one: listed.index(one[0].label))
    for one, interval in bins:
        inside = tuple(variants[i] for i in one.indices)
        trials = [trial for variant in inside for trial in variant.trials]
        if len(inside) == 1:
            win_rate = inside[0].win_rate
        elif units.error is not None:
            num_units = len(trials) if units.cells is not None else len(inside)
            win_rate = pooled_interval(interval.value, num_units, *units.error)
        elif len(inside) > 2:
            win_rate = interval
        else:  # the spread of two variants is no measure
            win_rate = Interval(interval.value, math.nan, math.nan, interval.method)
        yield BinRow(
            label=one.label,
            variants=inside,
            win_rate=as_share(win_rate),
            causes=causes_of(trials),
            measures=measures_of(trials),
        )


def pooled_interval(mean: float, num_units: int, variance: float, freedom: int) -> Interval:
    """A bin's mean with Student's t interval of an error pooled over all bins.

    Args:
        mean: of the bin.
        num_units: in the bin.
        variance: of a unit.
        freedom: degrees of freedom of that variance; 0: none is known.
    """
    if freedom < 1:
        return Interval(mean, math.nan, math.nan, "t, pooled")
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance / num_units)
    return bounded(mean, mean - half, mean + half, "t, pooled")


def as_share(interval: Interval) -> Interval:
    """The interval with its bounds cut to what a share can be."""
    if not interval.is_known:
        return interval
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Interval(interval.value, low, high, interval.method)


def measures_of(trials: Sequence[TrialResult]) -> dict[str, float | None]:
    """Every measure's mean over trials."""
    return {one.key: mean_of(trials, one.key) for one in MEASURES}


def interaction(overview: Overview) -> Interaction | None:
    """The pair of fields that does most beyond what each does alone."""
    if overview.is_one_at_a_time or len(overview.fields) < 2:
        return None
    units = _units(overview)
    return strongest_interaction(units.table, units.rates, units.cells)


def why_no_interaction(overview: Overview) -> str:
    """Why it can't be told whether two fields do more together, in a sentence; empty if there are
    no two fields that vary apart."""
    if overview.is_one_at_a_time or len(overview.fields) < 2:
        return ""
    told = "Whether two fields do more together than each alone can't be told"
    if len({rate for one in overview.variants for rate in one.win_rates}) == 1:
        return f"{told}: all runs win equally often."
    if overview.num_seeds == 1:
        return (
            f"{told}: too few runs share a pair of values; train several seeds (--sweep.num-seeds)."
        )
    return (
        f"{told}: too few pairs of values were trained, or runs with the same values don't differ."
    )


# -- beside the base


def effects(overview: Overview) -> tuple[Effect, ...]:
    """Every other variant beside the base, the largest loss first; none without a base.

    With two seeds in common or more the difference is the mean of those paired by seed; with one,
    or one run each, it is paired by held-out level, and then of these two runs only.
    """
    base = overview.base
    if base is None:
        return ()
    found = []
    for one in overview.variants:
        if one is not base:
            difference, compared = _difference(one, base)
            found.append(
                Effect(
                    variant=one,
                    changes=changes(base, one),
                    difference=difference,
                    compared=compared,
                    improvement=probability_of_improvement(one.win_rates, base.win_rates),
                )
            )
    return tuple(sorted(found, key=lambda one: one.difference.value))


def changes(base: Variant, other: Variant) -> dict[str, Any]:
    """What another variant trains differently, by dotted name."""
    from experiments.recipe import flatten
    from experiments.space import LISTED

    if base.recipe is None or other.recipe is None:
        return dict(other.values)
    old, new = flatten(base.recipe), flatten(other.recipe)
    return {name: new[name] for name in new if new[name] != old[name] and name not in LISTED}


def _difference(one: Variant, base: Variant) -> tuple[Interval, str]:
    """Difference of win rates, and how it was told."""
    mine, theirs = ({trial.seed: trial for trial in of.trials} for of in (one, base))
    seeds = sorted(set(mine) & set(theirs))
    if len(seeds) > 1:
        rates = [[of[seed].final["eval/win_rate"] for seed in seeds] for of in (mine, theirs)]
        return paired_difference(*rates), f"{len(seeds)} seeds"
    plain = one.win_rate.value - base.win_rate.value
    unknown = Interval(plain, math.nan, math.nan, ""), "win rates"
    if seeds:
        pair, told = (mine[seeds[0]], theirs[seeds[0]]), f"levels of seed {seeds[0]}"
    elif len(one.trials) > 1 or len(base.trials) > 1:
        return unknown
    else:
        pair, told = (one.trials[0], base.trials[0]), "levels of two runs"
    try:
        wins = [_wins(trial) for trial in pair]
    except BadInputError:
        return unknown
    levels = sorted(set(wins[0]) & set(wins[1]))
    if not levels:
        return unknown
    found = paired_share_difference(
        *(np.array([of[level] for level in levels], np.bool_) for of in wins)
    )
    return (found, told) if found.is_known else (found, "win rates")


def _wins(trial: TrialResult) -> dict[int, bool]:
    """Whether each held-out level was won."""
    from experiments.episodes import load_episodes

    path = trial.kept("episodes")
    if path is None:
        raise BadInputError(f"{trial.folder} keeps no episodes.")
    games = load_episodes(path).games
    seeds = games.records["level_seed"].tolist()
    return dict(zip(seeds, games.wins.tolist(), strict=True))


# -- of a ranking


def spread(variants: Sequence[Variant], count: int) -> tuple[Variant, ...]:
    """So many of the ranking, evenly from best to worst."""
    if len(variants) <= count:
        return tuple(variants)
    places = np.linspace(0, len(variants) - 1, count).round().astype(int)
    return tuple(variants[i] for i in places)


def share_of_causes(causes: Mapping[str, float]) -> list[tuple[str, float]]:
    """Endings in the order of all tables."""
    return [(name, causes.get(name, 0.0)) for name in CAUSES]
