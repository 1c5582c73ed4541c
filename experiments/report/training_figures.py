"""The figures of a report that show training, and what it paid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from env.pico_park import PicoParkRewards
from experiments.report.canvas import (
    GREY,
    INK,
    OKABE_ITO,
    PAPER,
    SOFT,
    Drawing,
    colours_of,
    percent,
    save,
    sheet,
    short,
)
from experiments.report.training_tables import curve_of, ledger_of, ledger_over_time
from experiments.report.variants import Variant

NUM_TERMS = 7
"""Reward terms with a colour of their own."""
REST = "the rest"
"""All other terms, drawn as one."""


# -- over training


def curves(variants: Sequence[Variant], named: Sequence[Variant], folder: Path) -> Drawing | None:
    """Win rate by env steps and by time; the named in colour, the rest thin and grey."""
    figure = sheet(11, 3.4 + 0.2 * math.ceil(len(named) / 2))
    panels = figure.subplots(1, 2, sharey=True)
    colours = colours_of([one.name for one in named])
    is_drawn = False
    for axes, axis in zip(panels, ("env_steps", "time_total_s"), strict=True):
        found = {one: curve_of(one, axis) for one in variants}
        ends = [curve.x[-1] for curve in found.values() if curve is not None]
        unit, scale = _unit(axis, max(ends, default=0))
        for one, curve in found.items():
            if curve is not None and one not in named:
                faint = {"color": GREY, "linewidth": 0.6, "rasterized": len(variants) > 60}
                alpha = max(0.12, min(0.55, 60 / len(variants)))
                axes.plot(curve.x / scale, curve.mean, alpha=alpha, **faint)
        for i, one in enumerate(named):
            if (curve := found.get(one)) is None:
                continue
            is_drawn, colour = True, colours[one.name]
            shade = {"color": to_rgba(colour, 0.16), "linewidth": 0}
            axes.fill_between(curve.x / scale, curve.low, curve.high, **shade)
            look = {"color": colour, "linewidth": 1.8, "markersize": 3.5}
            label = short(one.name) if axis == "env_steps" else None
            axes.plot(curve.x / scale, curve.mean, f"{'osD^v'[i % 5]}-", label=label, **look)
        most = [curve.high.max() for curve in found.values() if curve is not None]
        percent(axes, "y", most=max(most, default=1.0))
        axes.set_xlim(left=0)
        axes.set_xlabel(unit)
    panels[0].set_ylabel("held-out win rate")
    figure.legend(loc="outside lower left", ncols=2, fontsize=9)
    return save(figure, folder, "curves", "held-out win rate while training") if is_drawn else None


def _unit(axis: str, end: float) -> tuple[str, float]:
    """Words below an axis of steps or seconds, and what it is divided by."""
    sizes = [(1e6, "million env steps"), (1e3, "thousand env steps"), (1, "env steps")]
    if axis == "time_total_s":
        sizes = [(7200, "hours"), (120, "minutes"), (0, "seconds")]
        factor = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
        unit = next(name for least, name in sizes if end >= least)
        return f"{unit} of training", factor[unit]
    scale, unit = next((one for one in sizes if end >= 2 * one[0]), sizes[-1])
    return unit, scale


# -- money


def ledgers(variants: Sequence[Variant], terms: Sequence[str], folder: Path) -> Drawing:
    """A stacked bar a variant: what each term pays at the end."""
    tables = [ledger_of(one) for one in variants]
    rows = range(len(tables))
    figure = sheet(11, 1.5 + 0.34 * len(tables))
    axes = figure.subplots()
    ends = {1: [0.0] * len(tables), -1: [0.0] * len(tables)}
    for term in [*terms, REST]:
        amounts = [_amount(table, term, terms) for table in tables]
        for sign, end in ends.items():
            part = [max(0.0, sign * one) * sign for one in amounts]
            axes.barh(rows, part, 0.66, left=end, color=_shade(term, terms))
            ends[sign] = [a + b for a, b in zip(end, part, strict=True)]
    returns = [sum(table.values()) for table in tables]
    axes.plot(returns, rows, "D", color=PAPER, markeredgecolor=INK, markersize=5)
    axes.use_sticky_edges = False
    axes.margins(x=0.03)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(rows, [short(one.name) for one in variants])
    axes.set_ylim(len(tables) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("paid a cat and episode, weighted; diamond: the return")
    _name_terms(figure, terms)
    return save(figure, folder, "ledger", "return by term of each variant")


def main_terms(variants: Sequence[Variant]) -> list[str]:
    """The terms that pay most in one of the ledgers, in the order of the game's table."""
    tables = [ledger_of(one) for one in variants]
    sizes = {
        name: max(abs(one.get(name, 0.0)) for one in tables) for name in PicoParkRewards.terms()
    }
    most = sorted((one for one in sizes if sizes[one] > 0), key=lambda one: -sizes[one])[:NUM_TERMS]
    return [name for name in sizes if name in most]


def ledger_growth(
    pairs: Sequence[tuple[str, Variant]], terms: Sequence[str], folder: Path
) -> Drawing | None:
    """What each term pays while a variant trains, of its typical seed."""
    found = [(title, one, *ledger_over_time(one.typical)) for title, one in pairs]
    found = [one for one in found if len(one[2]) > 1 and one[3]]
    if not found:
        return None
    figure = sheet(11, 3.5)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (title, variant, steps, table) in zip(panels, found, strict=True):
        unit, scale = _unit("env_steps", steps[-1])
        x = np.array(steps) / scale
        top, bottom = np.zeros(len(x)), np.zeros(len(x))
        rows = [{name: of[i] for name, of in table.items()} for i in range(len(x))]
        for term in [*terms, REST]:
            amounts = np.array([_amount(row, term, terms) for row in rows])
            up, down = np.maximum(amounts, 0), np.minimum(amounts, 0)
            for base, part in ((top, up), (bottom, down)):
                colour = _shade(term, terms)
                axes.fill_between(x, base, base + part, color=colour, linewidth=0)
            top, bottom = top + up, bottom + down
        axes.plot(x, top + bottom, color=INK, linewidth=1.6)
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.set_xlim(x[0], x[-1])
        axes.set_xlabel(unit)
        axes.set_title(f"{title}{short(variant.name, 40)}")
    panels[0].set_ylabel("paid a cat and episode; line: return")
    _name_terms(figure, terms)
    return save(figure, folder, "ledger-training", "return by term while training")


def _amount(table: Mapping[str, float], term: str, terms: Sequence[str]) -> float:
    """Of a term, or of all that have no colour of their own."""
    if term != REST:
        return table.get(term, 0.0)
    return sum(value for name, value in table.items() if name not in terms)


def _shade(term: str, terms: Sequence[str]) -> str:
    return GREY if term == REST else OKABE_ITO[list(terms).index(term)]


def _name_terms(figure: Any, terms: Sequence[str]) -> None:
    """The legend, which is the same below all ledgers of a report."""
    patches = [Patch(color=_shade(term, terms), label=term) for term in [*terms, REST]]
    figure.legend(handles=patches, loc="outside lower left", ncols=8, fontsize=8.5, handlelength=1)
