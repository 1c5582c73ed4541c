"""What a report over a thousand trials costs: seconds, size, and how soon a browser shows it.

    python -m benchmarks.report [--trials 1000] [--keep FOLDER] [--check]

The study is made up (`tests/experiments/report/synthetic.py`): its folders are like those of a
random search over eight reward weights, its games were really played. The report is made in a
process of its own, on one thread. Without Chromium and playwright its page isn't opened. With
`--check` it exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Bar, machine, report

SECONDS_BAR = 60.0
SIZE_BAR = 5.0
"""MB."""
LOAD_BAR = 3.0
"""Seconds until the page is there and its table is built, in headless Chromium."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def make_report(experiment: Path) -> tuple[float, Path]:
    """Seconds of `clowder report` from start to end, and the page."""
    words = [sys.executable, "-m", "experiments", "report", str(experiment)]
    started = time.perf_counter()
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return time.perf_counter() - started, Path(done.stdout.split(maxsplit=1)[1].strip())


def load_time(page: Path) -> float | None:
    """Seconds until Chromium shows the page; None where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        return None
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto("about:blank")
        started = time.perf_counter()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_function("document.querySelectorAll('#variants tbody tr').length > 0")
        # A frame has been drawn after that.
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        found = time.perf_counter() - started
        browser.close()
    return found


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    from tests.experiments.report.synthetic import random_search

    parser = argparse.ArgumentParser(description="What does a report over many trials cost?")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for the study and its report")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        experiment = random_search(given.keep or Path(scratch), given.trials)
        seconds, page = make_report(experiment)
        size = page.stat().st_size / 1e6
        bars = [
            Bar(name="report, s", value=seconds, bar=SECONDS_BAR, at_most=True),
            Bar(name="page, MB", value=size, bar=SIZE_BAR, at_most=True),
        ]
        loaded = load_time(page)
        if loaded is None:
            print("Chromium or playwright isn't here; the page was not opened.")
        else:
            bars.append(Bar(name="shown after, s", value=loaded, bar=LOAD_BAR, at_most=True))
    return 1 if report(bars) and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
