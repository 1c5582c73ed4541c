"""The figures of a report; each function draws one of `experiments/report/tables.py`'s tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator

from experiments.report.canvas import (
    CAUSE_COLOURS,
    GREY,
    INK,
    MAPS,
    MARK,
    OKABE_ITO,
    Drawing,
    percent,
    save,
    sheet,
    short,
)
from experiments.report.tables import FieldTable
from experiments.report.training_tables import Rescored
from experiments.report.variants import CAUSES, Variant, said
from experiments.response import Interaction
from experiments.statistics import Interval, performance_profile, probability_of_improvement

MAX_BARS = 24
"""Rows of a figure with a row a variant."""


def importance(fields: Sequence[FieldTable], folder: Path) -> Drawing:
    """A bar a field: its share of the variance, with the interval."""
    shown = [one for one in fields if one.importance][:MAX_BARS]
    figure = sheet(11, 0.9 + 0.34 * len(shown))
    axes = figure.subplots()
    for row, one in enumerate(shown):
        assert one.importance is not None
        share = one.importance.share
        colour = MARK if one.is_clear else GREY
        if math.isfinite(share.value):
            axes.barh(row, share.value, 0.62, color=colour)
            _whisker(axes, share, row)
            end = share.high if share.is_known else share.value
            axes.text(end + 0.012, row, f"{share.value:.0%}", va="center", ha="left")
    axes.set_yticks(range(len(shown)), [short(one.name) for one in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    percent(axes, room=0.08)
    axes.set_xlabel("share of the variance of held-out win rate, 95 %; grey: may be chance")
    names = ", ".join(one.name for one in shown)
    return save(figure, folder, "importance", f"share of variance explained by {names}")


def _whisker(axes: Any, interval: Interval, place: float, *, upright: bool = False) -> None:
    """The interval's line; nothing where it isn't known."""
    if interval.is_known:
        ends, places = (interval.low, interval.high), (place, place)
        x, y = (places, ends) if upright else (ends, places)
        axes.plot(x, y, color=INK, linewidth=1.6, solid_capstyle="butt", zorder=4)


def interaction(found: Interaction, folder: Path) -> Drawing:
    """The pair of fields that does most together: mean win rate in each cell."""
    rows, columns = found.bins
    figure = sheet(min(8.5, 2.6 + 0.95 * len(columns)), 1.4 + 0.42 * len(rows))
    axes = figure.subplots()
    means = np.array(found.means)
    axes.imshow(means, cmap=MAPS, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [short(one.label, 16) for one in columns])
    axes.set_yticks(range(len(rows)), [short(one.label, 24) for one in rows])
    axes.set_xlabel(short(found.fields[1]))
    axes.set_ylabel(short(found.fields[0], 30))
    axes.grid(visible=False)
    for (row, column), mean in np.ndenumerate(means):
        if math.isfinite(mean):
            text = f"{mean:.0%}\nn={found.counts[row][column]}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=_on_map(mean))
    names = " and ".join(found.fields)
    return save(figure, folder, "interaction", f"held-out win rate along {names}")


def _on_map(value: float) -> str:
    """The text colour that is read on a cell of the colour map, in either theme."""
    return "#111111" if value > 0.45 else "#fafafa"


def response(field: FieldTable, folder: Path, name: str) -> Drawing:
    """Win rate along a field's bins, and beside it how games end there."""
    figure = sheet(11, 3.1)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    places = range(len(field.bins))
    most = 0.0
    for place, row in enumerate(field.bins):
        rates = [rate for one in row.variants for rate in one.win_rates]
        most = max(most, *rates, row.win_rate.high if row.win_rate.is_known else 0.0)
        # Beside the line, at places that look like chance.
        spread = 0.1 + 0.22 * (np.arange(len(rates)) * 0.618 % 1)
        left.scatter(
            place + spread, rates, 10, color=GREY, alpha=0.6, linewidths=0, zorder=2,
            rasterized=len(rates) > 60,
        )  # fmt: skip
        _whisker(left, row.win_rate, place, upright=True)
    means = [row.win_rate.value for row in field.bins]
    line = "o-" if field.is_numeric else "o"
    left.plot(places, means, line, color=MARK, markersize=6, linewidth=1.2, zorder=5)
    percent(left, "y", most=most)
    left.set_title("held-out win rate; grey: runs")
    bottom = np.zeros(len(field.bins))
    for cause in CAUSES:
        shares = np.array([row.causes[cause] for row in field.bins])
        right.bar(places, shares, 0.8, bottom=bottom, color=CAUSE_COLOURS[cause], label=said(cause))
        bottom += shares
    percent(right, "y")
    right.set_title("how held-out games end")
    right.grid(visible=False)
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True, handlelength=1)
    labels = [short(row.label, 14 if len(places) > 7 else 20) for row in field.bins]
    is_long = sum(map(len, labels)) > 52
    for axes in (left, right):
        axes.set_xticks(places, labels, rotation=30 * is_long, ha="right" if is_long else "center")
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_xlabel(short(field.name))
    return save(figure, folder, name, f"held-out win rate and how games end, along {field.name}")


def ranking(variants: Sequence[Variant], folder: Path) -> Drawing:
    """The best variants: win rate with its interval, and every seed."""
    shown = variants[:MAX_BARS]
    figure = sheet(11, 0.9 + 0.3 * len(shown))
    axes = figure.subplots()
    for row, one in enumerate(shown):
        axes.scatter(one.win_rates, [row] * len(one.win_rates), 14, color=GREY, zorder=2)
        _whisker(axes, one.win_rate, row)
        axes.plot(one.win_rate.value, row, "o", color=MARK, zorder=5)
    names = [f"{short(one.name)}   #{i}" for i, one in enumerate(shown, 1)]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    percent(axes, room=0.02)
    axes.set_xlabel("held-out win rate, 95 % interval; grey: seeds")
    return save(figure, folder, "ranking", "held-out win rate of the best variants")


# -- across seeds


def profiles(variants: Sequence[Variant], folder: Path) -> Drawing:
    """Share of seeds that win more than each rate, with a band for the first and the last."""
    figure = sheet(11, 3.2 + 0.2 * math.ceil(len(variants) / 2))
    axes = figure.subplots()
    thresholds = np.linspace(0, 1, 101)
    for i, one in enumerate(variants):
        band = performance_profile(one.win_rates, thresholds)
        colour = OKABE_ITO[i % len(OKABE_ITO)]
        shares = [point.value for point in band]
        dashes = "-" if i < len(OKABE_ITO) else "--"
        axes.step(thresholds, shares, dashes, where="post", color=colour, label=short(one.name))
        if i in (0, len(variants) - 1):
            ends = ([point.low for point in band], [point.high for point in band])
            axes.fill_between(thresholds, *ends, step="post", color=to_rgba(colour, 0.12), lw=0)
    percent(axes)
    percent(axes, "y")
    axes.set_xlabel("held-out win rate above ...")
    axes.set_ylabel("share of seeds")
    figure.legend(loc="outside lower left", ncols=2, fontsize=9)
    return save(figure, folder, "profiles", "performance profiles of the best variants")


def improvement(variants: Sequence[Variant], ranks: Sequence[int], folder: Path) -> Drawing:
    """How likely a run of each row beats one of each column."""
    intervals = [
        [probability_of_improvement(a.win_rates, b.win_rates) for b in variants] for a in variants
    ]
    found = np.array([[one.value for one in row] for row in intervals])
    np.fill_diagonal(found, np.nan)
    is_open = [[not one.is_known or one.low <= 0.5 <= one.high for one in row] for row in intervals]
    return _matrix(
        np.where(np.array(is_open), np.nan, found), found, variants, ranks, folder, "improvement",
        form="{:.0%}", below="... one of this variant",
        alt="how likely a run of one variant beats one of another",
    )  # fmt: skip


def rescoring(found: Rescored, ranks: Sequence[int], folder: Path) -> Drawing:
    """Games of the rows, paid under the weights of the columns; bright earns most in a column."""
    returns = found.returns
    low, high = returns.min(axis=0), returns.max(axis=0)
    shades = (returns - low) / np.where(high > low, high - low, 1)
    return _matrix(
        shades, returns, found.variants, ranks, folder, "rescoring",
        form="{:.2f}", below="... under the weights of this variant",
        alt="what variants' games pay under each other's weights", boxed=True,
    )  # fmt: skip


def _matrix(
    shades: Any,
    values: Any,
    variants: Sequence[Variant],
    ranks: Sequence[int],
    folder: Path,
    name: str,
    *,
    form: str,
    below: str,
    alt: str,
    boxed: bool = False,
) -> Drawing:
    """A square table in colours; columns are told by their ranks, rows by name and rank."""
    count = len(variants)
    figure = sheet(11, 1.1 + 0.34 * count)
    axes = figure.subplots()
    axes.imshow(shades, cmap=MAPS, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(count), [f"#{rank}" for rank in ranks])
    names = [f"{short(one.name)}   #{i}" for one, i in zip(variants, ranks, strict=True)]
    axes.set_yticks(range(count), names)
    axes.grid(visible=False)
    axes.set_xlabel(below)
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            axes.text(
                column, row, form.format(value), ha="center", va="center", fontsize=8.5,
                color=_on_map(shades[row, column]) if math.isfinite(shades[row, column]) else GREY,
                fontweight="bold" if boxed and row == column else "normal",
            )  # fmt: skip
    return save(figure, folder, name, alt)


def pareto(
    variants: Sequence[Variant], fronts: Sequence[tuple[str, str, Any, Any]], folder: Path
) -> Drawing:
    """Win rate against what it may cost; the front is marked, numbers are ranks.

    Args:
        variants: best first.
        fronts: of each panel its title, the axis' words, the amounts (nan where unknown), and
            bool whether a variant is on the front.
        folder: for the PNG.
    """
    figure = sheet(11, 3.4)
    panels = figure.subplots(1, len(fronts), sharey=True, squeeze=False)[0]
    rates = np.array([one.win_rate.value for one in variants])
    for axes, (title, words, amounts, is_front) in zip(panels, fronts, strict=True):
        axes.scatter(amounts[~is_front], rates[~is_front], 16, color=GREY, alpha=0.7, linewidths=0,
                     rasterized=len(rates) > 60)  # fmt: skip
        order = np.argsort(amounts[is_front], kind="stable")
        x, y = amounts[is_front][order], rates[is_front][order]
        axes.plot(x, y, "o-", color=OKABE_ITO[1], markersize=5, linewidth=1, drawstyle="steps-post")
        numbers = (np.flatnonzero(is_front) + 1)[order]
        _number(axes, x, y, numbers, float(np.ptp(amounts)))
        percent(axes, "y", most=float(rates.max()), room=0.08)
        axes.set_xlabel(words)
        axes.set_title(title)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    panels[0].set_ylabel("held-out win rate")
    return save(figure, folder, "pareto", "held-out win rate against friendly kills and the like")


def _number(axes: Any, x: Any, y: Any, numbers: Any, span: float) -> None:
    """Ranks beside points, as far as they don't fall on each other."""
    placed: list[tuple[float, float]] = []
    for left, up, number in sorted(zip(x, y, numbers, strict=True), key=lambda one: one[2]):
        spot = (left / (span or 1.0), up)
        if all(abs(spot[0] - a) > 0.12 or abs(spot[1] - b) > 0.07 for a, b in placed):
            placed.append(spot)
            axes.annotate(
                f"#{number}", (left, up), (-4, 4), textcoords="offset points", fontsize=8,
                ha="right", color=INK,
            )  # fmt: skip
