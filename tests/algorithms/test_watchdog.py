"""What hangs ends, and says where; what moves on is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from algorithms.watchdog import Watchdog

SCRIPT = """
import sys, time
from algorithms.watchdog import Watchdog
with Watchdog(0.4, sys.argv[1], "test") as watchdog:
    for _ in range(10):
        time.sleep(0.1)
        if sys.argv[2] == "beats":
            watchdog.beat()
print("done")
"""


@pytest.mark.parametrize(("how", "status"), [("beats", 0), ("hangs", 1)])
def test_a_process_lives_as_long_as_it_beats(tmp_path: Path, how: str, status: int) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tmp_path), how]
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=60)
    assert found.returncode == status
    assert ("done" in found.stdout) == (status == 0)
    left = [path.read_text() for path in tmp_path.glob("hang-test-*.txt")]
    assert bool(left) == bool(status)
    assert all("Timeout" in text for text in left)


@pytest.mark.parametrize("timeout", [None, 0.0])
def test_without_a_timeout_nothing_is_watched(tmp_path: Path, timeout: float | None) -> None:
    with Watchdog(timeout, tmp_path, "test") as watchdog:
        watchdog.beat()
        assert not list(tmp_path.iterdir())
