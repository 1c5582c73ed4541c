"""The same config, level and actions give the same history: on every build, batch and thread.

After a deliberate change of the rules: raise SIMULATOR_VERSION, then
`python -m tests.env.golden --write`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from native import build
from tests.env import golden

ROOT = Path(__file__).resolve().parents[2]
RECORDED = golden.load()
EXPECTED = {name: case["games"] for name, case in RECORDED.items()}


def describe(name: str, found: list[dict[str, Any]], games: list[int]) -> str:
    """One sentence on where a history leaves the recorded one; empty if it doesn't."""
    for game, mine in zip(games, found, strict=True):
        expected = EXPECTED[name][game]
        for i, pair in enumerate(zip(mine["states"], expected["states"], strict=True)):
            if pair[0] != pair[1]:
                first = i * golden.CHECKPOINT + 1
                last = first + golden.CHECKPOINT - 1
                return f"{name}, game {game}: states differ first in ticks {first} to {last}"
        if mine["outputs"] != expected["outputs"]:
            return f"{name}, game {game}: states agree, observations, rewards or records don't"
    return ""


def actions_of(name: str) -> Any:
    return golden.unpack(golden.CASES[name], RECORDED[name]["actions"])


@pytest.mark.parametrize("name", golden.CASES)
def test_this_build_plays_the_recorded_histories(name: str) -> None:
    games = list(range(golden.NUM_GAMES))
    assert not describe(name, golden.play(golden.CASES[name], actions_of(name), games), games)


def test_the_histories_go_deep() -> None:
    totals: dict[str, int] = {}
    for name, case in golden.CASES.items():
        events = golden.count_events(case, actions_of(name))
        assert events["victory"] > 0, f"{name}: nobody wins"
        assert events["own_block"] > 0 and events["shot"] > 0 and events["exit"] > 0, name
        totals = {term: totals.get(term, 0) + events[term] for term in events}
    assert min(totals.values()) > 0, f"something never happens: {totals}"
    assert totals["key"] > 100 and totals["unlock"] > 100


@pytest.mark.parametrize("name", ["gates", "curtains of eight", "classic", "a yard of eight"])
@pytest.mark.parametrize("parts", [[[0], [1], [2], [3]], [[3, 0], [2, 1]], [[2], [1, 3, 0]]])
def test_no_history_depends_on_the_batch(name: str, parts: list[list[int]]) -> None:
    for games in parts:
        assert not describe(name, golden.play(golden.CASES[name], actions_of(name), games), games)


def test_no_history_depends_on_the_thread() -> None:
    halves = [[0, 1], [2, 3]]
    failures: list[str] = []

    def play(games: list[int]) -> None:
        for name, case in golden.CASES.items():
            failures.append(describe(name, golden.play(case, actions_of(name), games), games))

    threads = [threading.Thread(target=play, args=[games]) for games in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 2 * len(golden.CASES) and not any(failures)


@pytest.mark.skipif("CLOWDER_NATIVE" in os.environ, reason="another build was asked for")
@pytest.mark.parametrize("optimize", ["0", "2", "3"])
def test_no_history_depends_on_the_optimiser(optimize: str, tmp_path: Path) -> None:
    library = build.build(tmp_path, optimize=optimize)
    command = [sys.executable, "-m", "tests.env.golden"]
    environment = dict(os.environ, CLOWDER_NATIVE=str(library))
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    games = list(range(golden.NUM_GAMES))
    assert not any(describe(name, found[name], games) for name in golden.CASES)
