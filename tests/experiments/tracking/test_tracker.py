"""What reaches MLflow: everything, once, in order, in the right runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking import RunInfo, TrackerConfig, audit, deliver
from experiments.tracking.names import clean_name, short_name
from experiments.tracking.store import connect

from .conftest import WAIT_S, Down, MakeTracker, history, start


class Counting:
    """A client that counts its calls."""

    def __init__(self, uri: str, calls: list[tuple[str, Any]]) -> None:
        self._client = connect(uri)
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append((name, kwargs))
            return getattr(self._client, name)(*args, **kwargs)

        return call


def test_every_point_that_was_logged_is_stored(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    start(tracker, "a", "b")
    metrics = {f"train/m{i}": i / 3 for i in range(40)}
    for step in range(50):
        tracker.report("a", metrics, step)
        tracker.report("b", metrics, step)
    assert tracker.drain(WAIT_S)
    result = tracker.audit()
    assert result.complete
    assert (result.num_spooled, result.num_sent, result.num_stored) == (4000, 4000, 4000)
    assert tracker.num_points_sent == 4000


def test_one_report_is_one_call(make_tracker: MakeTracker) -> None:
    calls: list[tuple[str, Any]] = []
    tracker = make_tracker(client=lambda uri: Counting(uri, calls))
    start(tracker, "a")
    assert tracker.drain(WAIT_S)
    calls.clear()
    tracker.report("a", {f"m{i}": 1.0 for i in range(40)}, 1)
    assert tracker.drain(WAIT_S)
    assert [name for name, _ in calls] == ["log_batch"]
    assert len(calls[0][1]["metrics"]) == 40


def test_many_kept_reports_share_a_call(make_tracker: MakeTracker, down: Down) -> None:
    tracker = make_tracker(client=down)
    start(tracker, "a")
    for step in range(300):
        tracker.report("a", {f"m{i}": 1.0 for i in range(10)}, step)
    assert not tracker.close(0.0)
    calls: list[tuple[str, Any]] = []
    tracker = make_tracker(client=lambda uri: Counting(uri, calls))
    assert tracker.drain(WAIT_S)
    sizes = [len(kwargs["metrics"]) for _, kwargs in calls if kwargs.get("metrics")]
    assert sum(sizes) == 3000 and max(sizes) <= 1000 and len(sizes) < 20


def test_runs_are_named_nested_and_described(make_tracker: MakeTracker, client: Any) -> None:
    tracker = make_tracker()
    tracker.start_run("parent", RunInfo(name="sweep", tags={"study": "study"}, note="**why**"))
    info = RunInfo(
        name="own_block=0.03 win_rate=0.5 seed=12",
        params={"rewards.own_block": 0.03, "lr": 1e-05, "layers": [1, 2], "preset": None},
        tags={"seed": 12, "git_dirty": True},
    )
    tracker.start_run("a", info)
    tracker.end_run("a", "FINISHED")
    assert tracker.drain(WAIT_S)
    parent, child = (client.get_run(tracker.run_id(key)) for key in ("parent", "a"))
    assert parent.info.run_name == "sweep"
    assert parent.data.tags["mlflow.note.content"] == "**why**"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert len(child.info.run_name) <= 24 and child.info.run_name.endswith("seed=12")
    assert child.data.tags["clowder.full_name"] == info.name
    assert child.data.params == {
        "rewards.own_block": "0.03", "lr": "1e-05", "layers": "[1, 2]", "preset": "None",
    }  # fmt: skip
    assert child.data.tags["seed"] == "12" and child.data.tags["git_dirty"] == "True"
    assert (parent.info.status, child.info.status) == ("RUNNING", "FINISHED")
    experiment = client.get_experiment(tracker.experiment_id)
    assert experiment.name == "study"
    assert experiment.artifact_location.endswith("/mlartifacts/study")


def test_tags_notes_artifacts_and_metrics_of_the_parent(
    make_tracker: MakeTracker, client: Any, root: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    (root / "films").mkdir()
    for name in ("films/one.html", "strip.png"):
        (root / name).write_text(name)
    tracker.log_artifact("a", root / "strip.png", "images", copy=True)
    tracker.log_artifact("a", root / "films", copy=True)
    tracker.log_artifact("parent", root / "films" / "one.html")
    (root / "strip.png").unlink()  # what was copied may go
    tracker.set_tags("parent", {"hacked_reward": "own_block"})
    tracker.set_note("a", "return rises, win rate doesn't")
    tracker.log_metrics("parent", {"best/win_rate": 0.5}, step=3)
    assert tracker.drain(WAIT_S)
    parent, child = tracker.run_id("parent"), tracker.run_id("a")
    assert parent and child
    assert [f.path for f in client.list_artifacts(child, "images")] == ["images/strip.png"]
    assert [f.path for f in client.list_artifacts(child, "films")] == ["films/one.html"]
    assert [f.path for f in client.list_artifacts(parent)] == ["one.html"]
    assert client.get_run(parent).data.tags["hacked_reward"] == "own_block"
    assert "win rate" in client.get_run(child).data.tags["mlflow.note.content"]
    assert history(client, parent, "best/win_rate") == [(3, 0.5)]
    assert not any((root / "spool" / "artifacts").iterdir())
    assert tracker.close(WAIT_S)
    assert deliver(root / "spool", from_start=True).num_refused == 0


def test_reports_are_told_apart_by_step(make_tracker: MakeTracker, client: Any) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    taken = [tracker.report("a", {"m": step / 10}, step) for step in (1, 2, 2, 1, 3)]
    assert taken == [True, True, False, False, True]
    tracker.log_metrics("a", {"final": 1.0}, step=3)  # beside the reports: not told apart
    assert tracker.drain(WAIT_S)
    run_id = tracker.run_id("a")
    assert run_id
    assert history(client, run_id, "m") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert history(client, run_id, "final") == [(3, 1.0)]


def test_a_new_process_continues_the_runs(make_tracker: MakeTracker, client: Any) -> None:
    first = make_tracker()
    start(first, "a")
    for step in (1, 2, 3):
        first.report("a", {"m": float(step)}, step)
    first.end_run("a", "FAILED", {"error": "node lost"})
    first.end_run("parent", "KILLED")
    assert first.close(WAIT_S)
    runs = first.run_id("parent"), first.run_id("a")

    second = make_tracker()
    start(second, "a", "b")
    assert not second.report("a", {"m": 2.5}, 2)  # Tune repeats rows after a resume
    assert second.report("a", {"m": 4.0}, 4)
    second.end_run("a", "FINISHED")
    assert second.drain(WAIT_S)
    assert (second.run_id("parent"), second.run_id("a")) == runs
    assert runs[1] is not None
    assert history(client, runs[1], "m") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert client.get_run(runs[1]).info.status == "FINISHED"
    assert len(client.search_runs([second.experiment_id])) == 3
    assert second.audit().complete


def test_an_ack_that_was_not_noted_repeats_nothing(
    make_tracker: MakeTracker, client: Any, root: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    for step in range(5):
        tracker.report("a", {"m": 0.1 * step, "n": 1.0}, step)
    assert tracker.close(WAIT_S)
    state_file = root / "spool" / "state" / "a.json"
    state = json.loads(state_file.read_text())
    # The file as the crash leaves it: MLflow has the points, the note says it has not.
    state_file.write_text(json.dumps({**state, "offset": 0, "num_points": 0}))
    report = deliver(root / "spool")
    assert (report.num_points_sent, report.num_points_left) == (10, 0)
    assert history(client, state["run_id"], "m") == [(s, 0.1 * s) for s in range(5)]
    result = audit(root / "spool")
    assert result.complete and result.num_stored == 10


def test_a_created_run_that_was_not_noted_is_found_again(
    make_tracker: MakeTracker, client: Any, root: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    tracker.report("a", {"m": 1.0}, 1)
    assert tracker.close(WAIT_S)
    for path in (root / "spool" / "state").glob("*.json"):
        path.unlink()
    again = make_tracker()
    assert again.drain(WAIT_S)
    assert again.run_id("a") == tracker.run_id("a")
    assert len(client.search_runs([again.experiment_id])) == 2
    assert again.audit().complete


def test_another_store_gets_everything_from_the_start(
    make_tracker: MakeTracker, root: Path, empty_store: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    tracker.report("a", {"m": 1.0}, 1)
    assert tracker.close(WAIT_S)
    (root / "other.db").write_bytes(empty_store.read_bytes())
    other = make_tracker(tracking_uri="sqlite:///other.db")
    other.report("a", {"m": 2.0}, 2)
    assert other.drain(WAIT_S)
    run_id = other.run_id("a")
    assert run_id and run_id != tracker.run_id("a")
    there = connect(f"sqlite:///{root}/other.db")
    assert history(there, run_id, "m") == [(1, 1.0), (2, 2.0)]
    assert there.get_run(run_id).data.tags["mlflow.parentRunId"] == other.run_id("parent")


def test_a_store_that_was_deleted_is_filled_again(
    make_tracker: MakeTracker, root: Path, empty_store: Path
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    tracker.report("a", {"m": 1.0}, 1)
    assert tracker.close(WAIT_S)
    (root / "new.db").write_bytes(empty_store.read_bytes())
    # As if mlflow.db had been removed: the same address, a store that knows no run.
    again = make_tracker(client=lambda uri: connect(f"sqlite:///{root}/new.db"))
    again.report("a", {"m": 2.0}, 2)
    assert again.drain(WAIT_S)
    run_id = again.run_id("a")
    assert run_id
    there = connect(f"sqlite:///{root}/new.db")
    assert history(there, run_id, "m") == [(1, 1.0), (2, 2.0)]


def test_a_killed_process_loses_nothing_it_logged(root: Path, client: Any) -> None:
    code = """
import os, pathlib, sys
from experiments.tracking import RunInfo, Tracker, TrackerConfig
def never(uri):
    raise ConnectionError("down")
root = pathlib.Path(sys.argv[1])
tracker = Tracker(TrackerConfig(study="study", spool_dir=root / "spool", root=root), client=never)
tracker.start_run("a", RunInfo(name="a"))
for step in range(7):
    tracker.report("a", {"m": step / 7}, step)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True)
    assert killed.returncode == -9, killed.stderr
    report = deliver(root / "spool")
    assert (report.num_points_sent, report.reason) == (7, "")
    assert audit(root / "spool").num_stored == 7


def test_a_line_that_was_cut_short_counts_as_never_written(
    make_tracker: MakeTracker, down: Down, root: Path, client: Any
) -> None:
    first = make_tracker(client=down)
    start(first, "a")
    for step in (1, 2):
        first.report("a", {"m": float(step)}, step)
    first.close(0.0)
    path = root / "spool" / "runs" / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    second = make_tracker()
    assert second.report("a", {"m": 2.0}, 2)  # step 2 was cut short, so it is logged again
    assert second.drain(WAIT_S)
    run_id = second.run_id("a")
    assert run_id and history(client, run_id, "m") == [(1, 1.0), (2, 2.0)]


def test_a_damaged_line_is_passed_over(
    make_tracker: MakeTracker, down: Down, root: Path, client: Any, warnings: Any
) -> None:
    first = make_tracker(client=down)
    start(first, "a")
    for step in (1, 2, 3):
        first.report("a", {"m": float(step)}, step)
    first.close(0.0)
    path = root / "spool" / "runs" / "a.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * (len(lines[2]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    second = make_tracker()
    assert second.drain(WAIT_S)
    run_id = second.run_id("a")
    assert run_id and history(client, run_id, "m") == [(1, 1.0), (3, 3.0)]
    assert sum("damaged line of run 'a'" in sentence for sentence in warnings()) == 1


def test_values_that_no_chart_can_show_are_named_and_left_out(
    make_tracker: MakeTracker, client: Any, warnings: Any
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    tracker.report("a", {"loss": 1.0, "kl": 0.5}, 1)
    tracker.report("a", {"loss": float("nan"), "kl": float("inf"), "ok": 2.0, "text": "x"}, 2)
    tracker.report("a", {"loss": float("nan")}, 3)
    assert tracker.drain(WAIT_S)
    run = client.get_run(tracker.run_id("a"))
    assert run.data.metrics == {"loss": 1.0, "kl": 0.5, "ok": 2.0}
    assert run.data.tags["non_finite"] == "loss was nan at step 2; kl was inf at step 2"
    assert sum("no chart can show" in sentence for sentence in warnings()) == 1
    assert tracker.audit().complete


def test_names_that_mlflow_refuses_are_cleaned() -> None:
    assert clean_name("eval/win_rate_low") == "eval/win_rate_low"
    assert clean_name("a//b/../c?(x)") == "a/c__x_"
    assert clean_name("../up") == "up"
    assert short_name("short") == "short"


def test_a_name_that_is_cut_still_says_its_values() -> None:
    assert short_name("team_share=0.2 alive=0.02") == "team_shar=0.2 alive=0.02"
    assert short_name("own_block=0.03 crushed=-0.5 s1") == "own_b=0.03 crush=-0.5 s1"
    assert short_name("ab_______c=0.12345678 own_block=0.3") == "ab_=0.12345678 own_b=0.3"
    assert short_name("a long name that has no values") == "a long name …s no values"
    many = short_name(" ".join(f"parameter_{i}=0.{i}" for i in range(9)))
    assert len(many) == 24 and many.startswith("par=0.0 ") and many.endswith("par=0.8")


def test_a_spool_belongs_to_one_study(make_tracker: MakeTracker, root: Path) -> None:
    make_tracker()
    with pytest.raises(ValueError, match="belongs to the study 'study', not to 'other'"):
        TrackerConfig(study="other", spool_dir=root / "spool", root=root).resolved()
    with pytest.raises(ValueError, match="holds no spool"):
        deliver(root / "nowhere")
