"""What a study's report says of the fields that varied: which matters, and what the cats do."""

from __future__ import annotations

from experiments.report.head import Findings
from experiments.report.markup import (
    Markup,
    Part,
    amount,
    between,
    chance,
    endings,
    field_name,
    figure,
    join,
    legend,
    percent,
    points,
    section,
    strip,
    table,
    tag,
    values,
)
from experiments.report.tables import (
    MEASURES,
    SIGNIFICANT,
    BinRow,
    Effect,
    FieldTable,
    why_no_interaction,
)
from experiments.report.variants import main_failure, said

NUM_OPEN_FIELDS = 6
"""Fields that are shown at once; the others lie behind a line to click."""


def matter(found: Findings) -> Markup | None:
    """Importances, or named variants beside the base; nothing if nothing varied."""
    if found.overview.is_one_at_a_time:
        return _beside_base(found) if found.effects else None
    if not found.fields:
        return None
    rows = []
    for one in found.fields:
        assert one.importance is not None
        share, p_value = one.importance.share, one.importance.p_corrected
        rows.append(
            [
                field_name(one.name),
                strip(share, is_clear=one.is_clear),
                percent(share.value) or "can't be told",
                between(share),
                chance(p_value),
                _extreme(one, one.best),
                _extreme(one, one.worst),
                found.watch("wrong", one.name),
            ]
        )
    heads = ["field", "", "share", "95 %", "p", "wins most at", "wins least at", ""]
    return section(
        "matter",
        "Which weight matters",
        _lead(found),
        table(heads, rows, texts=(0, 1)),
        _interaction(found),
        note="Share: how much of what differs in held-out win rate, and other fields leave, a "
        "field explains (analysis of variance). p: how likely chance alone explains as much, "
        "corrected for the number of fields; grey where that may be.",
    )


def _extreme(field: FieldTable, row: BinRow) -> Part:
    """Where a field wins most, or least; a dash where it makes no difference."""
    if field.best is field.worst:
        return "-"
    return join(tag("b", row.label), f" · {percent(row.win_rate.value)}")


def _lead(found: Findings) -> Markup:
    """The answer in a sentence or two, and games that show it."""
    first = found.fields[0]
    assert first.importance is not None
    share = first.importance.share
    best, worst = first.best, first.worst
    bounds = f" ({between(share)})" if share.is_known else ""
    text: list[Part]
    if first.is_clear:
        cause, lost = main_failure(worst.causes)
        text = [
            tag("b", first.name),
            f" matters most: it explains {share.value:.0%}{bounds} of what differs in "
            f"held-out win rate. Cats win {percent(best.win_rate.value)} at {best.label} "
            f"and {percent(worst.win_rate.value)} at {worst.label}, where most games are lost this "
            f"way: {said(cause)} ({lost:.0%}).",
        ]
    elif share.value == share.value:
        text = [
            "No field stands out from chance. The largest share is that of ",
            tag("b", first.name),
            f": {share.value:.0%}{bounds}.",
        ]
    else:
        rates = [one.win_rate.value for one in found.overview.variants]
        text = ["What each field explains can't be told: "]
        if max(rates) == min(rates):
            text.append(f"all variants win {rates[0]:.0%}.")
        else:
            text.append("there are too few variants for the number of values.")
    name = first.name.rpartition(".")[2]
    wrong = found.watch("wrong", first.name, words=f"what cats do at {name} = {worst.label}")
    right = None
    if best is not worst:
        right = found.watch("right", first.name, words=f"and at {best.label}")
    return join(tag("p", text, class_="lead"), tag("div", wrong, right, class_="actions"))


def _interaction(found: Findings) -> Markup | None:
    one = found.interaction
    if one is None:
        reason = why_no_interaction(found.overview)
        return tag("p", reason) if reason else None
    drawing = found.drawings.get("interaction")
    if drawing is None:
        return tag("p", "No two fields do more together than each does alone.")
    title = "Strongest interaction"
    if one.p_corrected >= SIGNIFICANT:
        title += ", which may be chance"
    num_units = sum(sum(row) for row in one.counts)
    units = "variants" if num_units == len(found.overview.variants) else "runs"
    pairs = "one pair" if one.num_pairs == 1 else f"{one.num_pairs} pairs"
    p_value = chance(one.p_corrected)
    p_value = f"p\u00a0{p_value}" if p_value.startswith("<") else f"p\u00a0=\u00a0{p_value}"
    words = (
        f"Of {pairs} of fields, {one.fields[0]} and {one.fields[1]} do most together: "
        f"{one.share:.0%} of the variance beyond what both do alone ({p_value}). "
        f"Mean held-out win rate; n: {units}."
    )
    return join(tag("h3", title), figure(drawing, words))


# -- named variants


def _beside_base(found: Findings) -> Markup:
    base = found.overview.base
    assert base is not None
    heads = [
        "variant",
        "",
        "what differs",
        "wins",
        "points",
        "95 %",
        "compared by",
        "beats it",
        "95 %",
    ]
    return section(
        "matter",
        "Which change matters",
        _lead_of_effects(found, base.name),
        table(heads, [_effect(found, one) for one in found.effects], texts=(0, 1, 2)),
        note=f"Each variant beside {base.name}, which wins {percent(base.win_rate.value)}. Points: "
        "difference in held-out win rate; by seeds the mean of their paired differences, by levels "
        "of these two runs only. Beats it: how likely a run of the variant "
        "wins more than one of the base. Fields don't vary apart, so no shares of variance.",
    )


def _effect(found: Findings, one: Effect) -> list[Part]:
    difference = one.difference
    shade = ("wins" if difference.value > 0 else "loses") if one.is_clear else "soft"
    bounds = ""
    if difference.is_known:
        bounds = f"{100 * difference.low:+.0f} to {100 * difference.high:+.0f}"
    name = one.variant.name
    failure = found.watch("failure", name, words="lost")
    victory = found.watch("victory", name, words="won")
    return [
        tag("b", tag("span", name, class_="name")),
        join(failure, " ", victory),
        tag("span", values(one.changes), class_="name"),
        percent(one.variant.win_rate.value),
        tag("span", points(difference), class_=shade),
        bounds,
        one.compared,
        percent(one.improvement.value),
        between(one.improvement),
    ]


def _lead_of_effects(found: Findings, base: str) -> Markup:
    clear = [one for one in found.effects if one.is_clear]
    lead: list[Part] = [f"No variant differs clearly from {base}."]
    first = found.effects[0]
    if clear:
        first = max(clear, key=lambda one: abs(one.difference.value))
        verb = "wins" if first.difference.value > 0 else "loses"
        lead = [
            tag("b", first.variant.name),
            f" makes the largest difference to {base}: it {verb} "
            f"{abs(100 * first.difference.value):.0f} points of held-out win rate "
            f"({100 * first.difference.low:+.0f} to {100 * first.difference.high:+.0f}).",
        ]
    name = first.variant.name
    game = found.watch("failure", name, words=f"how {name} fails")
    best = found.watch("victory", base, words=f"how {base} wins")
    return join(tag("p", lead, class_="lead"), tag("div", game, best, class_="actions"))


# -- along each field


def along(found: Findings) -> Markup | None:
    """What the cats do at each value of each field."""
    if not found.fields:
        return None
    cards = [_field(found, one, place) for place, one in enumerate(found.fields)]
    more = cards[NUM_OPEN_FIELDS:]
    return section(
        "along",
        "What the cats do at each value",
        legend(),
        cards[:NUM_OPEN_FIELDS],
        tag("details", tag("summary", f"{len(more)} more fields"), more) if more else None,
        note="Held-out games, means over runs. Watch: a typical game of a typical run. Green line: "
        "wins most; red line: wins least.",
    )


def _field(found: Findings, field: FieldTable, place: int) -> Markup:
    rows = []
    for i, row in enumerate(field.bins):
        typical = found.watch("bin", field.name, i)
        failure = found.watch("failure in bin", field.name, i, words="lost")
        rows.append(
            [
                tag("b", tag("span", row.label, class_="name")),
                join(typical, " ", failure),
                str(len(row.trials)),
                strip(row.win_rate),
                percent(row.win_rate.value),
                between(row.win_rate),
                endings(row.causes),
                *(amount(row.measures[one.key], one.form) for one in MEASURES),
            ]
        )
    heads = ["value", "", "runs", "win rate", "", "95 %", "how games end"]
    measures = [(one.title, one.note) for one in MEASURES]
    kinds: list[str | None] = [None] * len(rows)
    if field.best.win_rate.value - field.worst.win_rate.value >= 0.01:
        kinds[field.bins.index(field.worst)] = "worst"
        kinds[field.bins.index(field.best)] = "best"
    return join(
        tag("h3", field_name(field.name)),
        figure(found.drawings.get(f"response {place}")),
        table([*heads, *measures], rows, texts=(0, 1, 3, 6), kinds=kinds),
    )
