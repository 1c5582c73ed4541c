"""The pictures of docs/08-watching.md: `python -m docs.screenshots [NAME ...]` takes them anew.

The player and the terminal show games of a RUN; MLflow shows the newest sweep of the store in this
folder (`make sweep` makes one). Needs Chromium and playwright, see `make browser`.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from env.errors import BadInputError
from env.film import frames
from env.player import write_page
from env.replay import Replay
from experiments.tracking.store import connect
from experiments.tracking.ui import newest_view, running
from experiments.watch_cli import WatchOptions, picture, play_level

FOLDER = Path(__file__).with_name("pictures")
STORE = "sqlite:///mlflow.db"
PORT = 5077
MAX_LEVELS = 400
SETTLE_MS = 8000
"""MLflow's charts are drawn some seconds after their page has come."""


def find_game(run: str, preset: str, cause: str) -> Replay:
    """The first held-out level that ends by `cause` when a team plays it."""
    for level in range(MAX_LEVELS):
        replay = play_level(run, WatchOptions(level=level, preset=preset))
        if replay.record["cause"] == cause:
            return replay
    raise BadInputError(f"{run} ends none of {MAX_LEVELS} levels of {preset} by {cause!r}.")


def take_player(browser: Any, run: str) -> None:
    """A win by day, a friendly kill by night."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, theme, replay, share in (
            ("player-win", "light", find_game(run, "gauntlet", "victory"), 0.55),
            ("player-kill", "dark", find_game("random", "gates", "shot"), 1.0),
        ):
            page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme)
            page.goto(write_page(replay, Path(scratch) / "a.html").as_uri())
            page.evaluate("tick => player.seek(tick)", round(share * replay.num_ticks))
            page.keyboard.press("2")
            page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
            page.close()


def take_terminal(browser: Any, run: str) -> None:
    """`clowder watch --show terminal`, in the middle of a game."""
    replay = find_game(run, "gauntlet", "victory")
    shown = list(frames(replay))
    frame = shown[len(shown) // 2]
    console = Console(record=True, width=frame.tiles.shape[1] + 2, file=io.StringIO())
    console.print(picture(frame).append(f"\ntick {frame.tick} of {replay.num_ticks}"))
    page = browser.new_page(viewport={"width": 1100, "height": 700})
    page.set_content(console.export_svg(title=f"clowder watch {run} --show terminal"))
    page.locator("svg").first.screenshot(path=FOLDER / "terminal.png")
    page.close()


def take_mlflow(browser: Any, run: str) -> None:
    """The sweep's charts, two of its runs compared, a replay in the artifact view."""
    del run
    base = f"http://127.0.0.1:{PORT}"
    link = newest_view(STORE, base)
    client = connect(STORE)
    experiment = link.split("/experiments/")[1].split("/")[0]
    found = client.search_runs([experiment], order_by=["metrics.`eval/win_rate` DESC"])
    trials = [one.info.run_id for one in found if "mlflow.parentRunId" in one.data.tags]
    ids = "%5B" + ",".join(f"%22{one}%22" for one in trials) + "%5D"
    steps = [one.path for one in client.list_artifacts(trials[0], "replays")]
    last = max(steps, key=lambda path: int(path.rpartition("/")[2]))
    shown = [one.path for one in client.list_artifacts(trials[0], last)]
    html = next(path for path in shown if path.endswith(".html") and "victory" in path)
    with running(STORE, "mlartifacts", PORT):
        for name, url in (
            ("mlflow-charts", link),
            (
                "mlflow-compare",
                f"{base}/#/compare-runs?runs={ids}&experiments=%5B%22{experiment}%22%5D",
            ),
            (
                "mlflow-artifact",
                f"{base}/#/experiments/{experiment}/runs/{trials[0]}/artifacts/{html}",
            ),
        ):
            page = browser.new_page(viewport={"width": 1600, "height": 1150})
            page.goto(url)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()


PICTURES: dict[str, Callable[[Any, str], None]] = {
    "player": take_player,
    "terminal": take_terminal,
    "mlflow": take_mlflow,
}


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--run", default="pico_park", help="whose games; a shipped team")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in given.names or PICTURES:
            PICTURES[name](browser, given.run)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
