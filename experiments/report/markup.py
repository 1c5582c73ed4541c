"""HTML from plain data. Whatever isn't marked as HTML is a text and gets escaped: names come from
users."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from experiments.report.canvas import CAUSE_COLOURS, Drawing
from experiments.report.variants import CAUSES, said
from experiments.statistics import Interval


class Markup(str):
    """A text that is HTML already."""


Part = str | Markup | None
"""A text, or HTML; None is nothing."""
NOTHING = Markup("")


def tag(name: str, *parts: Part | Iterable[Part], **attributes: Any) -> Markup:
    """An element.

    Args:
        name: of the element.
        parts: texts, which are escaped, and elements.
        attributes: `class_`, `data_game`, ...; None and False leave one out, True gives no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(str(value))}"')
    if name in ("br", "i") and not parts:
        return Markup(f"<{' '.join(words)}>" + ("</i>" if name == "i" else ""))
    return Markup(f"<{' '.join(words)}>{join(*parts)}</{name}>")


def join(*parts: Part | Iterable[Part]) -> Markup:
    """Texts and elements one after the other."""
    found: list[str] = []
    for part in parts:
        if part is None:
            continue
        if isinstance(part, Markup):
            found.append(part)
        elif isinstance(part, str):
            found.append(html.escape(part))
        else:
            found.append(join(*part))
    return Markup("".join(found))


def section(anchor: str, title: str, *parts: Part | Iterable[Part], note: Part = None) -> Markup:
    """A card with a heading, and a line on how to read it."""
    head = [tag("h2", title)]
    if note:
        head.append(tag("p", note, class_="note"))
    return tag("section", head, *parts, id=anchor)


def table(
    heads: Sequence[Part | tuple[str, str]],
    rows: Sequence[Sequence[Part]],
    *,
    texts: Collection[int] = (0,),
    kinds: Sequence[str | None] = (),
    is_small: bool = False,
) -> Markup:
    """A table that scrolls by itself where it is too wide.

    Args:
        heads: of the columns; two texts are one and what it means.
        rows: their cells.
        texts: places of the columns that begin at the left; numbers end at the right.
        kinds: class of each row.
        is_small: whether it takes no more room than it needs.
    """

    def line(name: str, cells: Sequence[Any], kind: str | None = None) -> Markup:
        made = []
        for i, cell in enumerate(cells):
            words, title = cell if isinstance(cell, tuple) else (cell, None)
            made.append(tag(name, words, class_="text" if i in texts else None, title=title))
        return tag("tr", made, class_=kind)

    body = [line("td", row, kind) for row, kind in itertools.zip_longest(rows, kinds)]
    parts = tag("thead", line("th", heads)), tag("tbody", body)
    whole = tag("table", parts, class_="small" if is_small else None)
    return tag("div", whole, class_="scroll")


def figure(drawing: Drawing | None, caption: Part = None) -> Markup:
    """A drawing; nothing if there is none."""
    if drawing is None:
        return NOTHING
    width = f"max-width:{100 * drawing.width:.0f}%;min-width:{640 * drawing.width:.0f}px"
    picture = tag(
        "div",
        Markup(drawing.svg),
        class_="drawing",
        role="img",
        aria_label=drawing.alt,
        style=width,
    )
    below = tag("figcaption", caption) if caption else None
    return tag("figure", tag("div", picture, class_="scroll"), below)


def watch(index: int | None, titles: Sequence[str], words: str = "watch") -> Markup:
    """A button that plays a game of the page; nothing if there is none."""
    if index is None:
        return NOTHING
    return tag(
        "button", f"\u25b8 {words}", type="button", class_="watch", data_game=index,
        title=titles[index],
    )  # fmt: skip


def strip(interval: Interval, points: Sequence[float] = (), *, is_clear: bool = True) -> Markup:
    """A value from 0 to 1 with its interval and points beside, on a line."""

    def at(value: float) -> str:
        return f"{100 * min(1.0, max(0.0, value)):.1f}%"

    marks = [tag("u", style=f"left:{at(one)}") for one in points]
    if interval.is_known:
        low, high = max(0.0, interval.low), min(1.0, interval.high)
        marks.append(tag("i", style=f"left:{at(low)};width:{100 * (high - low):.1f}%"))
    if math.isfinite(interval.value):
        marks.append(tag("b", style=f"left:{at(interval.value)}"))
    return tag("span", marks, class_="strip" if is_clear else "strip unclear")


def endings(causes: Mapping[str, float]) -> Markup:
    """How games end, as one stacked bar."""
    parts = []
    for name in CAUSES:
        share = causes.get(name, 0.0)
        if share > 0:
            label = f"{share:.0%}" if share >= 0.14 else ""
            parts.append(
                tag(
                    "span", label, style=f"width:{100 * share:.2f}%", class_=f"end {name}",
                    title=f"{said(name)}: {share:.1%}",
                )
            )  # fmt: skip
    return tag("span", parts, class_="endings")


def legend() -> Markup:
    """What the colours of endings mean."""
    return tag(
        "p",
        [tag("span", tag("i", class_=f"swatch {name}"), said(name)) for name in CAUSES],
        class_="legend",
    )


def colours() -> str:
    """Rules of style for endings."""
    return "\n".join(f".{name} {{ background: {one}; }}" for name, one in CAUSE_COLOURS.items())


# -- numbers


def percent(value: float | None) -> str:
    """A share, or nothing."""
    return "" if value is None or not math.isfinite(value) else f"{value:.0%}"


def between(interval: Interval, scale: float = 100) -> str:
    """The bounds of a share; nothing if they aren't known."""
    if not interval.is_known:
        return ""
    return f"{scale * interval.low:.0f} to {scale * interval.high:.0f}%"


def points(interval: Interval) -> str:
    """A difference of shares, in points of a percentage."""
    return f"{100 * interval.value:+.0f}"


def chance(p_value: float) -> str:
    """A p value."""
    if not math.isfinite(p_value):
        return ""
    if p_value < 0.001:
        return "<\u00a0.001"
    return f"{p_value:.2g}".removeprefix("0") if p_value < 0.995 else "1"


def amount(value: float | None, form: str) -> str:
    """A number as its column writes it."""
    return "" if value is None else form.format(value)


def field_name(name: str) -> Markup:
    """A field, its group in soft ink."""
    head, dot, tail = name.rpartition(".")
    return join(tag("span", head + dot, class_="soft") if dot else None, tail)


def values(changes: Mapping[str, Any]) -> str:
    """Fields and values, short."""
    return ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in changes.items()
    )
