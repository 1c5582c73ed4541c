"""MLflow's pages of a sweep in a real browser: charts as arranged, and a replay that plays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster.ports import free_port
from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments.evaluate import ScriptedActor, play_levels
from experiments.replays import choose, make_replays, save_replays
from experiments.report import make_report
from experiments.study import load_study
from experiments.tracking import RunInfo, Tracker, TrackerConfig
from experiments.tracking.store import connect
from experiments.tracking.ui import newest_view, running
from tests.experiments.report.synthetic import Outcome, make_pool, make_study

WAIT_MS = 60_000
TRIAL = "alive=0.02 s1"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of a served store: a sweep's `charts`, and in the artifacts its `report` and a
    trial's `replay`."""
    root = tmp_path_factory.mktemp("mlflow")
    store = f"sqlite:///{root}/mlflow.db"
    config = PicoParkConfig(preset="meadow")
    games = play_levels(ScriptedActor(), config, range(4), keep_tracks=True)
    replays = make_replays(games, choose(games), config, PicoParkRewards(), range(4))
    save_replays(replays, root / "replays")
    tracker = Tracker(TrackerConfig(study="study", spool_dir=root / "spool", root=root))
    tracker.start_run("parent", RunInfo(name="sweep"))
    for index, name in enumerate(("base", TRIAL)):
        tracker.start_run(name, RunInfo(name=name, params={"rewards.alive": 0.02 * index}))
        for step in (100, 200):
            tracker.report(name, {"eval/win_rate": 0.1 * index, "train/return": 1.0}, step)
        tracker.log_replays(name, root / "replays", 200, videos=False)
    configs = [{"rewards.own_block": value} for value in (0.0, 0.1)]
    study = make_study(
        root / "study", make_pool(root / "pool"), configs, lambda c, i: Outcome(win_rate=0.8 * i)
    )
    tracker.log_artifact("parent", make_report(load_study(str(study))).page.parent)
    tracker.share_view(["rewards.alive"], ["victory"])
    assert tracker.close(WAIT_MS / 1000)
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    charts = newest_view(store, base)
    experiment = charts.split("/experiments/")[1].split("/")[0]
    run_id = tracker.run_id(TRIAL)
    page = "replays/200/victory-shortest.html"
    assert page in [one.path for one in connect(store).list_artifacts(run_id, "replays/200")]
    parent, runs = tracker.run_id(), f"{base}/#/experiments/{experiment}/runs"
    assert "report/report.html" in [
        one.path for one in connect(store).list_artifacts(parent, "report")
    ]
    with running(store, str(root / "mlartifacts"), port):
        yield {
            "charts": charts,
            "report": f"{runs}/{parent}/artifacts/report/report.html",
            "replay": f"{runs}/{run_id}/artifacts/{page}",
        }


def test_the_link_opens_the_charts_as_the_sweep_arranged_them(
    browser: Any, pages: dict[str, str]
) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.goto(pages["charts"])
    for title in ("eval/win_rate", "Parallel Coordinates", "train/return", "victory"):
        page.get_by_text(title, exact=True).first.wait_for(timeout=WAIT_MS)
    assert page.get_by_text(TRIAL).count(), "names are readable beside the charts"
    page.close()


def test_a_replay_plays_in_the_artifact_view(browser: Any, pages: dict[str, str]) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.goto(pages["replay"])
    frame = page.wait_for_selector("iframe", timeout=WAIT_MS).content_frame()
    frame.wait_for_function("window.player && player.tick() === 0", timeout=WAIT_MS)
    frame.evaluate("player.seek(5)")
    assert frame.inner_text("#clock").startswith("tick 5 of")
    page.close()


def test_a_report_plays_games_in_the_artifact_view(browser: Any, pages: dict[str, str]) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.goto(pages["report"])
    frame = page.wait_for_selector("iframe", timeout=WAIT_MS).content_frame()
    frame.wait_for_selector("#variants tbody tr", timeout=WAIT_MS)
    frame.locator(".actions button.watch").first.click()
    player = frame.wait_for_selector("#frame").content_frame()
    player.wait_for_function("window.player && player.tick() === 0", timeout=WAIT_MS)
    page.close()
