"""docs/13-your-own-game.md, followed step by step on a copy of the platform."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.shipment import pack

PAGE = Path(__file__).resolve().parents[1] / "docs" / "13-your-own-game.md"
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def patch(text: str, diff: str) -> str:
    """A file with the lines of a diff: those with a plus come beside those that are there."""
    there = "".join(line[1:] for line in diff.splitlines(True) if not line.startswith("+"))
    changed = "".join(line[1:] for line in diff.splitlines(True))
    assert text.count(there) == 1, f"the page changes what isn't there once: {there!r}"
    return text.replace(there, changed)


@pytest.mark.timeout(300)
def test_the_page_makes_a_game(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    pack(tree)
    checks = []
    for kind, name, body in BLOCK.findall(PAGE.read_text()):
        if name == "check":
            checks.append(body)
        elif kind == "diff":
            (tree / name).write_text(patch((tree / name).read_text(), body))
        else:
            assert not (tree / name).exists(), f"{name} is there already"
            (tree / name).write_text(body)
    assert len(checks) == 2 and (tree / "env" / "meet.py").exists()
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "CLOWDER_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    for body in checks:
        done = subprocess.run(
            [sys.executable, "-c", body], cwd=tree, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^\d+ games in the last iteration$", done.stdout, re.MULTILINE)
