"""The docs say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from docs import tables

ROOT = Path(__file__).resolve().parents[1]


def test_tables_are_the_codes() -> None:
    for path in tables.PAGES:
        assert path.read_text() == tables.rendered(path), "run `python -m docs.tables`"
    page = (ROOT / "docs" / "02-pico-park.md").read_text()
    assert "| `own_block` |" in page and "| `gap_min` |" in page
    assert "| `point_won` |" in (ROOT / "docs" / "12-pong.md").read_text()


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_targets_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert target in targets, f"{page.name} names make {target}"
