"""A report's page: one file that needs no network, no other file and no storage."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from env.player import in_script, page_template
from experiments.report import fields_sections, variants_sections
from experiments.report.head import Findings, head, rest
from experiments.report.markup import Markup, Part, colours, join, tag
from experiments.report.watching import Game, pack

FOLDER = Path(__file__).parent
MAX_PAGE_BYTES = 5_000_000
"""Of a page over a thousand trials."""


def study_page(found: Findings) -> str:
    """The page of a study's report."""
    parts = {
        "matter": ("which matters", fields_sections.matter(found)),
        "along": ("what the cats do", fields_sections.along(found)),
        "ranking": ("ranking", variants_sections.ranking(found)),
        "curves": ("while training", variants_sections.curves(found)),
        "across": ("across seeds", variants_sections.across(found)),
        "pareto": ("price", variants_sections.pareto(found)),
        "money": ("return", variants_sections.money(found)),
        "failures": ("failures", variants_sections.failures(found)),
        "rest": ("do it again", rest(found)),
    }
    body = assemble(head(found), {key: one for key, one in parts.items() if one[1]})
    data = {"ranking": variants_sections.ranking_data(found)}
    return fill(found.overview.study.name, body, found.shelf.games, data)


def assemble(head: Markup, parts: Mapping[str, tuple[str, Part]]) -> Markup:
    """Head, links to the sections, and the sections."""
    links = [tag("a", words, href=f"#{anchor}") for anchor, (words, _) in parts.items()]
    return join(
        tag("header", head),
        tag("nav", tag("div", links)),
        tag("main", [part for _, part in parts.values()], tag("footer", "Clowder")),
    )


def fill(title: str, body: Markup, games: Sequence[Game], data: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        title: of the page.
        body: its content.
        games: what its buttons play.
        data: what its script needs beside.
    """
    told = {
        **data,
        "player": pack(page_template("pico_park")) if games else "",
        "games": [
            {"title": one.title, "path": str(one.path.resolve()), "packed": one.packed}
            for one in games
        ],
    }
    text = (FOLDER / "page.html").read_text()
    payload = in_script(json.dumps(told, separators=(",", ":"), allow_nan=False))
    filled = {
        "TITLE": html.escape(title),
        "STYLE": (FOLDER / "style.css").read_text() + colours(),
        "BODY": body,
        "DATA": payload,
        "SCRIPT": (FOLDER / "report.js").read_text(),
    }
    # In one go, so that nothing that was filled in is taken for a place to fill.
    return re.sub(r"@([A-Z]+)@", lambda place: filled[place[1]], text)
