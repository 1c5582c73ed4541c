"""How figures look: one palette and one hand, on paper and in pages of either theme.

A figure is drawn once and saved twice: as a PNG, dark on white, and as SVG for the page, in which
ink, soft ink, lines and paper become the page's own colours. Names come from users, so nothing in
a text is taken for mathematics.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from env.files import in_one_piece

INK, SOFT, LINE, PAPER, MARK = "#1b2130", "#5b6475", "#d5dae4", "#ffffff", "#0073b3"
_THEME = {INK: "--ink", SOFT: "--soft", LINE: "--line", PAPER: "--card", MARK: "--mark"}
"""The page's own name for each of these."""
OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7a5230")
"""Okabe and Ito's colours but for yellow and black, which a light or a dark page swallows, and two
more."""
CAUSE_COLOURS = {
    "victory": "#009e73",
    "crushed": "#d55e00",
    "shot": "#e69f00",
    "key_lost": "#cc79a7",
    "door_lost": "#0072b2",
    "time": "#56b4e9",
}
"""Of each way in which a game ends."""
GREY = "#999fab"
MAPS = "cividis"
FULL_WIDTH = 11.0
"""Inches of a figure that is as wide as a page."""
DPI = 144
"""Of the PNGs: twice what a page has."""
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "clowder",
    "svg.image_inline": True,
}


@dataclass(frozen=True)
class Drawing:
    """A saved figure."""

    path: Path
    """Of the PNG."""
    svg: str
    """For a page, in its colours."""
    width: float
    """Share of a page's width that it takes."""
    alt: str
    """What it shows, for who can't see it."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Context in which figures are made, without a word about letters that the font hasn't got."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sheet(width: float, height: float) -> Figure:
    """An empty figure.

    Args:
        width, height: inches; a page is `FULL_WIDTH` wide.
    """
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str, alt: str) -> Drawing:
    """Writes the PNG, and makes the SVG."""
    path = folder / f"{re.sub(r'[^a-z0-9._-]+', '-', name.lower()).strip('.-') or 'figure'}.png"
    with in_one_piece(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    text = io.StringIO()
    # Transparent: the page's own card is the paper.
    figure.savefig(text, format="svg", dpi=DPI, transparent=True, metadata={"Date": None})
    return Drawing(
        path, _for_page(text.getvalue(), path.stem), figure.get_figwidth() / FULL_WIDTH, alt
    )


def _for_page(svg: str, name: str) -> str:
    """The drawing alone, in the page's colours, with ids of its own."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = svg[svg.index("<svg") :]
    head, _, body = svg.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))

    def adapt(match: re.Match[str]) -> str:
        """A tag; texts between tags are names and numbers, which stay as they are."""
        tag = match[0].replace("xlink:href", "href")
        tag = re.sub(r' id="([^"]*)"', lambda one: f' id="{name}-{one[1]}"' * (one[1] in used), tag)
        tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", tag)
        tag = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", tag)
        tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)
        for colour, variable in _THEME.items():
            tag = tag.replace(colour, f"var({variable})")
        return tag

    body = re.sub(r">\s+<", "><", re.sub(r"<[^>]+>", adapt, body))
    return f"<svg {box[0]}>{body.strip()}"


def short(name: str, length: int = 46) -> str:
    """A name that fits beside a figure: its middle may be left out."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def percent(axes: Any, axis: str = "x", *, most: float = 1.0, room: float = 0.04) -> None:
    """An axis of shares: to 100 %, or to a quarter if all are small, with room at both ends.

    Args:
        axes: matplotlib's.
        axis: `x` or `y`.
        most: the largest share.
        room: beyond the last tick, as a share of the axis.
    """
    top = 1.0 if most > 0.2 else 0.25
    ticks = [top * i / (4 if top == 1 else 5) for i in range(5 + (top < 1))]
    labels = [f"{one:.0%}" for one in ticks]
    limits = (-0.02 * top, (1 + room) * top)
    if axis == "x":
        axes.set_xlim(*limits)
        axes.set_xticks(ticks, labels)
    else:
        axes.set_ylim(*limits)
        axes.set_yticks(ticks, labels)


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, the last ones grey if there are too many."""
    return {name: OKABE_ITO[i] if i < len(OKABE_ITO) else GREY for i, name in enumerate(names)}
