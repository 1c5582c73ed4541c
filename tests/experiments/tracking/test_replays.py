"""Replays in MLflow: drawn when delivered, seldom enough, and never in the way of a point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments.evaluate import ScriptedActor, play_levels
from experiments.replays import choose, make_replays, save_replays
from experiments.tracking import Extras, mlflow_callback

from .conftest import MakeTracker, start
from .test_callback import FakeTrial, MakeCallback, make_callback, run_trial  # noqa: F401


@pytest.fixture
def replays(tmp_path: Path) -> Path:
    """A folder as an evaluation leaves it: victories and failures."""
    config = PicoParkConfig(preset="gauntlet")
    games = play_levels(ScriptedActor(), config, range(40), keep_tracks=True)
    made = make_replays(games, choose(games), config, PicoParkRewards(), range(40))
    save_replays(made, tmp_path / "replays")
    return tmp_path / "replays"


def artifacts(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    """Paths of all files among a run's artifacts."""
    found = set()
    for one in client.list_artifacts(run_id, folder):
        found |= artifacts(client, run_id, one.path) if one.is_dir else {one.path}
    return found


def test_what_is_worth_watching_lies_beside_the_run(
    make_tracker: MakeTracker, client: Any, replays: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "t")
    tracker.log_replays("t", replays, 100, videos=False)
    tracker.log_replays("t", replays, 200, videos=True)
    assert tracker.drain(60)
    found = artifacts(client, str(tracker.run_id("t")))
    names = {path.stem for path in replays.iterdir()}
    for step in (100, 200):
        for name in names:
            assert {f"replays/{step}/{name}.replay", f"replays/{step}/{name}.html"} <= found
    videos = {path for path in found if path.endswith(".mp4")}
    assert videos == {"replays/200/worst.mp4", "replays/200/victory-shortest.mp4"}
    strips = {path.split("+step+")[0] for path in found if path.endswith(".png")}
    assert strips == {"images/worst failure", "images/victory"}


def test_a_folder_that_is_gone_holds_up_nothing(
    make_tracker: MakeTracker, client: Any, tmp_path: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "t")
    tracker.log_replays("t", tmp_path / "nowhere", 1, videos=True)
    tracker.report("t", {"m": 1.0}, 1)
    assert tracker.drain(60)
    assert client.get_run(tracker.run_id("t")).data.metrics == {"m": 1.0}


def test_a_damaged_replay_is_passed_over(
    make_tracker: MakeTracker, client: Any, replays: Path
) -> None:
    (replays / "worst.replay").write_bytes(b"not a replay")
    tracker = make_tracker()
    start(tracker, "t")
    tracker.log_replays("t", replays, 1, videos=True)
    assert tracker.drain(60)
    found = artifacts(client, str(tracker.run_id("t")))
    assert "replays/1/victory-typical.html" in found
    assert not any("worst" in path for path in found)


def test_they_are_drawn_seldom_but_always_at_the_end(
    make_callback: MakeCallback,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(mlflow_callback.time, "monotonic", lambda: now[0])
    callback = make_callback(extras_of=lambda result: Extras(replays=result.get("folder")))
    logged: list[tuple[str, int, bool]] = []
    monkeypatch.setattr(
        callback.tracker,
        "log_replays",
        lambda key, folder, step, videos: logged.append((folder, step, videos)),
    )
    shared: list[int] = []
    monkeypatch.setattr(callback.tracker, "share_view", lambda *view: shared.append(view[-1]))
    trial = FakeTrial("t")
    results: list[dict[str, Any]] = [
        {"m": 0.0, "steps": steps, "folder": f"f{steps}"} for steps in range(1, 9)
    ]
    del results[1]["folder"]
    results[-1]["done"] = True
    for result in results:
        run_trial(callback, trial, result)
        now[0] += 10.0
    assert logged == [("f1", 1, False), ("f4", 4, False), ("f7", 7, False), ("f8", 8, True)]
    assert shared == [8], "MLflow's view shows the last strips"
    run_trial(callback, trial, results[-1])  # a report that was logged is not drawn again
    assert len(logged) == 4


def test_an_alarm_is_told_once_with_its_replays(
    make_callback: MakeCallback,  # noqa: F811
    tmp_path: Path,
    client: Any,
) -> None:
    def extras_of(result: dict[str, Any]) -> Extras:
        verdict = result.get("verdict", "no")
        alarm = "" if verdict == "no" else f"**Hacked?** {verdict}."
        file = tmp_path / "episodes" / f"{result['steps']}.npz"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"records")
        return Extras(
            replays=str(tmp_path), files=(str(file),), tags={"hacked": verdict}, alarm=alarm
        )

    callback = make_callback(extras_of=extras_of)
    logged: list[int] = []
    tagged: list[str] = []
    set_tags = callback.tracker.set_tags

    def spy(key: str, tags: Any) -> None:
        tagged.append(tags["hacked"])
        set_tags(key, tags)

    callback.tracker.set_tags = spy
    callback.tracker.log_replays = lambda key, folder, step, videos: logged.append(step)
    trial = FakeTrial("t")
    for steps, verdict in enumerate(("no", "no", "by alive", "by alive", "no longer"), 1):
        result = {"m": 0.0, "steps": steps, "verdict": verdict, "done": steps == 5}
        run_trial(callback, trial, result)
        if steps == 3:
            assert callback.tracker.drain(60)
            run = client.get_run(callback.tracker.run_id("t"))
            assert run.data.tags["mlflow.note.content"] == (
                "**Hacked?** by alive. Its games: `replays/3` among the artifacts."
            )
    assert logged == [1, 3, 5], "the alarm's games are drawn before their time"
    assert tagged == ["no", "by alive", "no longer"]
    assert callback.tracker.drain(60)
    assert client.get_run(callback.tracker.run_id("t")).data.tags["hacked"] == "no longer"
    assert "episodes/5.npz" in artifacts(client, str(callback.tracker.run_id("t")))
    assert "episodes/4.npz" not in artifacts(client, str(callback.tracker.run_id("t")))
