"""Everything that a page shows of a study, worked out and drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.metrics import number
from experiments.report import figures, tables, training_figures, training_tables
from experiments.report.canvas import Drawing, style
from experiments.report.head import Findings
from experiments.report.overview import Overview, look_over
from experiments.report.tables import FieldTable
from experiments.report.variants import Variant, verdict_of
from experiments.report.watching import Shelf, asks_of
from experiments.statistics import Interval, pareto_front
from experiments.study import Study

MAX_COMPARED = 10
"""Variants in profiles and in the matrix of who beats whom."""
NUM_CURVES = 5
"""Best variants whose curve has a colour."""
NUM_LEDGERS = 12
"""Variants whose ledger is drawn."""
MAX_DRAWN_FIELDS = 12
"""Fields whose response is drawn; of others the table says it."""
MAX_NAMED = 5
"""Damaged files that a warning names."""
PRICES = (
    ("friendly kills", "team-mates shot, an episode", "behaviour/friendly_kills"),
    ("wasted shots", "bullets that hit nothing, an episode", "behaviour/wasted_shots"),
    ("length", "ticks of an episode", "eval/episode_length"),
)
"""What a high win rate may cost: title, words and metric; less is better."""


def find(study: Study, folder: Path) -> Findings:
    """Looks a study over, and draws its figures.

    Args:
        study: what to look at.
        folder: of the report; PNGs go there.

    Raises:
        BadInputError: no trial has been evaluated yet.
    """
    overview = look_over(study)
    folder.mkdir(parents=True, exist_ok=True)
    fields = tables.field_tables(overview)
    effects = tables.effects(overview) if overview.is_one_at_a_time else ()
    pair = tables.interaction(overview)
    games, unreadable = training_tables.stored_games(overview)
    with style():
        drawings = dict(_draw(overview, fields, pair, games, folder))
    shelf = Shelf()
    shelf.answer(list(asks_of(overview, fields, effects)))
    return Findings(
        overview=overview,
        fields=fields,
        effects=effects,
        interaction=pair,
        drawings=drawings,
        shelf=shelf,
        warnings=_unreadable(unreadable),
    )


def _draw(
    overview: Overview,
    fields: tuple[FieldTable, ...],
    pair: Any,
    games: training_tables.GamesOf,
    folder: Path,
) -> Iterator[tuple[str, Drawing]]:
    variants = overview.variants
    best, worst = variants[0], variants[-1]
    base = overview.base

    def ranks_of(some: Sequence[Variant]) -> list[int]:
        return [variants.index(one) + 1 for one in some]

    if any(one.importance and not math.isnan(one.importance.share.value) for one in fields):
        yield "importance", figures.importance(fields, folder)
    if pair is not None and pair.share > 0:
        yield "interaction", figures.interaction(pair, folder)
    for place, field in enumerate(fields[:MAX_DRAWN_FIELDS]):
        if len(field.bins) <= figures.MAX_BARS:
            name = f"response-{place + 1}-{field.name}"
            yield f"response {place}", figures.response(field, folder, name)
    yield "ranking", figures.ranking(variants, folder)
    named = _with(variants[:NUM_CURVES], base)
    if (curves := training_figures.curves(variants, named, folder)) is not None:
        yield "curves", curves
    seeded = [one for one in variants if len(one.trials) > 1][:MAX_COMPARED]
    if seeded:
        yield "profiles", figures.profiles(seeded, folder)
    if len(seeded) > 1:
        yield "improvement", figures.improvement(seeded, ranks_of(seeded), folder)
    if len(variants) > 1 and (fronts := list(_fronts(variants))):
        yield "pareto", figures.pareto(variants, fronts, folder)
    shown = _with(tables.spread(variants, NUM_LEDGERS), base)
    terms = training_figures.main_terms((*shown, best, worst))
    if terms:
        yield "ledger", training_figures.ledgers(shown, terms, folder)
    pairs = [("best: ", best), ("worst: ", worst)] if len(variants) > 1 else [("", best)]
    if (growth := training_figures.ledger_growth(pairs, terms, folder)) is not None:
        yield "ledger-training", growth
    if (again := training_tables.rescored(games)) is not None:
        yield "rescoring", figures.rescoring(again, ranks_of(again.variants), folder)


def _unreadable(paths: Sequence[Path]) -> tuple[str, ...]:
    if not paths:
        return ()
    shown = ", ".join(map(str, paths[:MAX_NAMED]))
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return (f"Episodes that can't be read aren't paid anew: {shown}{more}.",)


def _with(variants: tuple[Variant, ...], base: Variant | None) -> tuple[Variant, ...]:
    """These, and the base if it isn't among them."""
    return variants if base is None or base in variants else (*variants, base)


def _fronts(variants: tuple[Variant, ...]) -> Iterator[tuple[str, str, Any, Any]]:
    """Each price that is known: amounts, and who is on the front."""
    rates = np.array([one.win_rate.value for one in variants])
    for title, words, key in PRICES:
        found = [one.metric(key) for one in variants]
        if all(one is not None for one in found):
            amounts = np.array(found, np.float64)
            yield title, words, amounts, pareto_front(np.column_stack([rates, -amounts]))


# -- in plain data


def summary(found: Findings) -> dict[str, Any]:
    """What was found, for other programs."""
    overview = found.overview
    return {
        "study": overview.study.name,
        "folder": str(overview.study.folder),
        "state": overview.state,
        "num_trials": len(overview.study.trials),
        "num_compared": len(overview.trials),
        "warnings": [*overview.warnings, *found.warnings],
        "fields": [_field(one) for one in found.fields],
        "effects": [
            {
                "variant": one.variant.name,
                "difference": _interval(one.difference),
                "improvement": _interval(one.improvement),
            }
            for one in found.effects
        ],
        "ranking": [
            {
                "variant": one.name,
                "seeds": [trial.seed for trial in one.trials],
                "win_rate": _interval(one.win_rate),
                "win_rates": list(one.win_rates),
                "hacked": [verdict_of(trial) for trial in one.trials],
            }
            for one in overview.variants
        ],
    }


def _field(field: FieldTable) -> dict[str, Any]:
    one = field.importance
    return {
        "name": field.name,
        "share": _interval(one.share) if one else None,
        "p_value": number(one.p_value) if one else None,
        "p_corrected": number(one.p_corrected) if one else None,
        "bins": [
            {
                "label": row.label,
                "num_runs": len(row.trials),
                "win_rate": _interval(row.win_rate),
                "causes": dict(row.causes),
                **row.measures,
            }
            for row in field.bins
        ],
    }


def _interval(interval: Interval) -> dict[str, Any]:
    ends = {name: number(getattr(interval, name)) for name in ("value", "low", "high")}
    return {**ends, "method": interval.method}
