"""What a study's report says of its variants: ranking, training, seeds, prices, money, failures."""

from __future__ import annotations

from typing import Any

from experiments.report.head import Findings
from experiments.report.markup import (
    Markup,
    Part,
    amount,
    between,
    endings,
    figure,
    legend,
    percent,
    section,
    table,
    tag,
    watch,
)
from experiments.report.overview import is_halfway
from experiments.report.tables import MAX_CAUSE_ROWS, MEASURES, measures_of, share_of_causes, spread
from experiments.report.variants import Variant, causes_of, said
from experiments.statistics import IQM_FROM

RANKED = MEASURES[:4]
"""Measures in the ranking: own blocks, wasted shots, friendly kills, length."""


def ranking(found: Findings) -> Markup:
    """The variants; the table itself is built by the page's script."""
    seeds, count = found.overview.num_seeds, len(found.overview.variants)
    if seeds == 1:
        how = (
            "One seed a variant: the interval is of its held-out levels alone and says nothing of "
            "another seed. Train several (--sweep.num-seeds) before you claim a difference."
        )
    elif seeds < IQM_FROM:
        how = "Mean of seeds with Student's t interval; grey: every seed."
    else:
        how = "Interquartile mean of seeds with a bootstrap interval; grey: every seed."
    if count > 1:
        how += " Ordered by win rate, ties by cats that got out; click a heading to sort."
    script = tag("noscript", "This table needs scripts; trials.csv has its figures.")
    title = "Ranking" if count > 1 else "Result"
    return section("ranking", title, tag("div", script, id="variants"), note=how)


def ranking_data(found: Findings) -> dict[str, Any]:
    """What the page's script needs for the table."""
    heads = [
        ("", "rank"),
        ("variant", "what it varies"),
        ("", ""),
        ("win rate", "held out, 95 %, every seed"),
        ("", "held-out win rate"),
        ("95 %", "interval of the win rate"),
        ("seeds", "number of seeds"),
        ("greedy", "held-out win rate of the likeliest actions"),
        ("exits", "cats that got out, an episode"),
        *((one.title, one.note) for one in RANKED),
        ("hacked", "verdict on its reward"),
    ]
    rows = [_row(found, one, rank) for rank, one in enumerate(found.overview.variants, 1)]
    return {"heads": heads, "rows": rows}


def _row(found: Findings, one: Variant, rank: int) -> dict[str, Any]:
    greedy, exits = one.metric("eval/win_rate_greedy"), one.metric("eval/exits")
    measures = measures_of(one.trials)
    cells = [
        (one.win_rate.value, percent(one.win_rate.value)),
        (one.win_rate.low if one.win_rate.is_known else None, between(one.win_rate)),
        (len(one.trials), str(len(one.trials))),
        (greedy, percent(greedy)),
        (exits, amount(exits, "{:.2f}")),
        *((measures[of.key], amount(measures[of.key], of.form)) for of in RANKED),
    ]
    win_rate = (one.win_rate.value, one.win_rate.low, one.win_rate.high)
    return {
        "rank": rank,
        "name": one.name,
        "win": [_digits(value) for value in win_rate],
        "seeds": [_digits(rate) for rate in one.win_rates] if len(one.trials) > 1 else [],
        "cells": [[_digits(value), text] for value, text in cells],
        "hacked": one.hacked,
        "mark": "failed early" if any(map(is_halfway, one.trials)) else "",
        "failure": found.shelf.at("failure", one.name),
        "victory": found.shelf.at("victory", one.name),
    }


def _digits(value: float | None) -> float | None:
    """Short in JSON; None for what is no number."""
    return None if value is None or value != value else round(value, 4)


def curves(found: Findings) -> Markup | None:
    """Win rate while training."""
    drawing = found.drawings.get("curves")
    if drawing is None:
        return None
    note = "Held-out win rate at every evaluation. Band: "
    note += "lowest to highest seed." if found.overview.num_seeds > 1 else "Wilson's 95 %."
    if len(found.overview.variants) > 1:
        note += " In colour the best variants and the base; grey all others."
    return section("curves", "While training", figure(drawing), note=note)


def across(found: Findings) -> Markup | None:
    """Performance profiles, and who beats whom."""
    profiles, improvement = (found.drawings.get(name) for name in ("profiles", "improvement"))
    if profiles is None:
        return None
    parts: list[Part] = [
        tag("h3", "Performance profiles"),
        figure(
            profiles,
            "Share of a variant's seeds that win more than so many held-out levels. Bands, 95 % at "
            "each point: of the best and the last of these.",
        ),
    ]
    if improvement is not None:
        words = "How likely a run of the row wins more than one of the column; ties count half. "
        words += "Grey on no colour: the 95 % interval holds 50 %, so either may be better."
        parts += [tag("h3", "Who beats whom"), figure(improvement, words)]
    note = "The best variants that have two seeds or more."
    return section("across", "Across seeds", *parts, note=note)


def pareto(found: Findings) -> Markup | None:
    """What a high win rate costs elsewhere."""
    drawing = found.drawings.get("pareto")
    if drawing is None:
        return None
    note = (
        "A dot a variant. Orange: no other variant wins as much at less of it, or more at as much. "
        "Numbers are ranks."
    )
    return section("pareto", "Win rate and its price", figure(drawing), note=note)


def money(found: Findings) -> Markup | None:
    """Where the return comes from."""
    final, growth, again = (
        found.drawings.get(name) for name in ("ledger", "ledger-training", "rescoring")
    )
    if final is None and growth is None:
        return None
    parts: list[Part] = [figure(final)]
    if growth is not None:
        parts += [tag("h3", "While training"), figure(growth)]
    if again is not None:
        words = (
            "Mean return, a cat and episode, of the stored games of each row under the weights of "
            "each column; weights never change a game. Bright: earns most in its column. Where a "
            "team earns less under its own weights (bold) than another does, learning has let it "
            "down, not its weights."
        )
        parts += [tag("h3", "Paid under each other's weights"), figure(again, words)]
    return section("money", "Where the return comes from", *parts)


def failures(found: Findings) -> Markup:
    """How each variant's games end."""
    causes = [name for name, _ in share_of_causes({}) if name != "victory"]
    shown = spread(found.overview.variants, MAX_CAUSE_ROWS)
    rows = []
    for one in shown:
        shares = dict(share_of_causes(causes_of(one.trials)))
        cells = [_share(found, one, name, shares[name]) for name in causes]
        name = tag("span", one.name, class_="name clamped wide", title=one.name, tabindex=0)
        rows.append([name, endings(shares), *cells])
    heads = ["variant", "how games end", *(said(name) for name in causes)]
    note = "A button plays such a game."
    if len(shown) < len(found.overview.variants):
        count = len(found.overview.variants)
        note += f" {len(shown)} of {count:,} variants, from the best to the worst."
    body = table(heads, rows, texts=(0, 1))
    return section("failures", "Causes of failure", legend(), body, note=note)


def _share(found: Findings, variant: Variant, cause: str, share: float) -> Part:
    """Share of games that end so; a button if the page has such a game of this variant."""
    folders = {one.folder for one in variant.trials}
    for index, game in enumerate(found.shelf.games):
        if game.folder in folders and game.path.stem == f"{cause}-typical":
            return watch(index, found.titles, percent(share))
    return percent(share) if share else "-"
