"""MLflow or the disk in trouble: training is not held up, and nothing is lost without a word."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking import Tracker, audit, deliver
from experiments.tracking.__main__ import main
from experiments.tracking.store import connect

from .conftest import (
    MISBEHAVIOUR,
    WAIT_S,
    Down,
    FullDisk,
    MakeTracker,
    ServerDouble,
    history,
    start,
    until,
)


def test_down_then_up_delivers_in_order(
    make_tracker: MakeTracker, server: ServerDouble, warnings: Any
) -> None:
    server.mode = "errors"
    tracker = make_tracker(tracking_uri=server.uri)
    start(tracker, "a")
    for step in range(20):
        tracker.report("a", {"m": step / 2}, step)
    until(lambda: any("can't be told" in sentence for sentence in warnings()))
    assert not tracker.drain(0.0)
    server.mode = "up"
    assert tracker.drain(WAIT_S)
    run = server.runs[tracker.run_id("a") or ""]
    assert [m["step"] for m in run["data"]["metrics"]] == list(range(20))
    assert tracker.audit().complete
    told = [sentence for sentence in warnings() if "can't be told" in sentence]
    assert len(told) == 1, "one warning an outage, not one an attempt"
    assert any("answers again" in sentence for sentence in warnings())


def test_a_server_sees_one_call_a_report(make_tracker: MakeTracker, server: ServerDouble) -> None:
    tracker = make_tracker(tracking_uri=server.uri)
    start(tracker, "a")
    assert tracker.drain(WAIT_S)
    server.calls.clear()
    tracker.report("a", {f"m{i}": 1.0 for i in range(40)}, 1)
    assert tracker.drain(WAIT_S)
    assert server.calls == ["runs/log-batch"]
    tracker.end_run("a", "FAILED", {"error": "boom"})
    assert tracker.drain(WAIT_S)
    assert server.runs[tracker.run_id("a") or ""]["info"]["status"] == "FAILED"


def test_a_request_that_was_sent_twice_leaves_one_run(
    make_tracker: MakeTracker, server: ServerDouble
) -> None:
    server.repeats = 2
    tracker = make_tracker(tracking_uri=server.uri)
    start(tracker, "a")
    tracker.report("a", {"m": 1.0}, 1)
    assert tracker.drain(WAIT_S)
    assert set(server.runs) == {tracker.run_id("parent"), tracker.run_id("a")}
    assert tracker.audit().complete


def test_a_server_that_hangs_holds_up_no_call(
    make_tracker: MakeTracker, server: ServerDouble, root: Path
) -> None:
    server.mode = "hang"
    tracker = make_tracker(tracking_uri=server.uri)
    assert server.asked.wait(WAIT_S), "the delivery now hangs in its first request"
    start(tracker, "a")
    for step in range(30):
        tracker.report("a", {"m": 1.0}, step)
    tracker.set_note("a", "note")
    tracker.end_run("a", "FINISHED")
    # All calls came back while no request has been answered, and all is on disk.
    assert not server.calls
    lines = (root / "spool" / "runs" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["op"] for line in lines] == [
        "create", *["report"] * 30, "tags", "status",
    ]  # fmt: skip
    assert not tracker.drain(0.0)
    server.mode = "up"
    server.release.set()
    assert tracker.drain(WAIT_S)
    assert tracker.audit().num_stored == 30


def test_what_is_left_is_named_and_can_be_delivered_later(
    make_tracker: MakeTracker, down: Down, root: Path, warnings: Any
) -> None:
    tracker = make_tracker(client=down)
    start(tracker, "a")
    tracker.report("a", {"m": 1.0, "n": 2.0}, 1)
    assert down.asked.wait(WAIT_S)
    assert not tracker.close(0.0)
    left = warnings()[-1]
    assert "2 points of 2 runs" in left and str(root / "spool") in left
    assert f"python -m experiments.tracking deliver {root / 'spool'}" in left
    report = deliver(root / "spool", timeout_s=0.0, client=Down())
    assert (report.num_points_left, report.num_runs_left) == (2, 2)
    assert report.reason == "connection refused"
    report = deliver(root / "spool")
    assert (report.num_points_sent, report.num_points_left, report.reason) == (2, 0, "")
    assert audit(root / "spool").complete
    assert deliver(root / "spool").num_points_sent == 0
    assert deliver(root / "spool", from_start=True).num_points_sent == 2
    assert audit(root / "spool").complete


@pytest.mark.parametrize("mode", MISBEHAVIOUR)
def test_an_answer_that_is_not_mlflows_sets_nothing_aside(
    make_tracker: MakeTracker, server: ServerDouble, root: Path, warnings: Any, mode: str
) -> None:
    tracker = make_tracker(tracking_uri=server.uri)
    start(tracker, "a")
    assert tracker.drain(WAIT_S)
    server.mode = mode
    tracker.report("a", {"m": 1.0}, 1)
    until(lambda: any("can't be told" in sentence for sentence in warnings()))
    assert not tracker.close(0.0)
    assert not (root / "spool" / "refused.jsonl").exists()
    server.mode = "up"
    report = deliver(root / "spool")
    assert (report.num_points_sent, report.num_refused) == (1, 0)


def test_the_end_does_not_wait_for_a_long_back_off(
    make_tracker: MakeTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Tracker._attempt
    resting = threading.Event()

    def fail_first(tracker: Tracker, waited_s: float) -> float:
        if resting.is_set():
            return attempt(tracker, waited_s)
        resting.set()
        return 3600.0

    monkeypatch.setattr(Tracker, "_attempt", fail_first)
    tracker = make_tracker()
    start(tracker, "a")
    assert resting.wait(WAIT_S)
    assert tracker.drain(WAIT_S)


class Refusing:
    """A store that refuses one metric for good, and can't take artifacts."""

    def __init__(self, uri: str) -> None:
        self._client = connect(uri)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def log_batch(self, run_id: str, **kwargs: Any) -> None:
        from mlflow.exceptions import MlflowException

        if any(metric.key == "poison" for metric in kwargs.get("metrics", ())):
            raise MlflowException.invalid_parameter_value("bad metric")
        self._client.log_batch(run_id, **kwargs)

    def log_artifact(self, *args: Any) -> None:
        raise ConnectionError("artifact store is down")


def test_what_is_refused_for_good_is_set_aside_and_holds_up_nothing(
    make_tracker: MakeTracker, down: Down, root: Path, client: Any, warnings: Any
) -> None:
    (root / "file").write_text("x")
    first = make_tracker(client=down)
    start(first, "a")
    first.log_artifact("a", root / "gone")
    first.log_artifact("a", root / "file")
    for step in range(4):
        first.report("a", {"poison" if step == 1 else "m": float(step)}, step)
    first.close(0.0)
    second = make_tracker(client=Refusing, backoff_s=(0.01, 0.01))
    assert second.drain(WAIT_S)
    run_id = second.run_id("a")
    assert run_id and history(client, run_id, "m") == [(0, 0.0), (2, 2.0), (3, 3.0)]
    lines = (root / "spool" / "refused.jsonl").read_text().splitlines()
    assert [json.loads(line)["op"]["op"] for line in lines] == ["artifact", "artifact", "report"]
    assert sum("set aside" in sentence for sentence in warnings()) == 1


def test_a_full_disk_costs_no_point_while_mlflow_answers(
    make_tracker: MakeTracker, disk: FullDisk, warnings: Any, client: Any
) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    tracker.report("a", {"m": 0.0}, 0)
    assert tracker.drain(WAIT_S)
    disk.full = True
    for step in (1, 2, 3):
        assert tracker.report("a", {"m": float(step)}, step)
    assert tracker.drain(WAIT_S)
    disk.full = False
    tracker.report("a", {"m": 4.0}, 4)
    assert tracker.drain(WAIT_S)
    run_id = tracker.run_id("a")
    assert run_id and history(client, run_id, "m") == [(s, float(s)) for s in range(5)]
    assert sum("No space left on device" in sentence for sentence in warnings()) == 1


def test_a_full_disk_that_is_emptied_gets_what_was_kept_in_memory(
    make_tracker: MakeTracker, disk: FullDisk, down: Down, root: Path
) -> None:
    tracker = make_tracker(client=down)
    start(tracker, "a")
    disk.full = True
    for step in (1, 2, 3):
        tracker.report("a", {"m": float(step)}, step)
    disk.full = False
    tracker.report("a", {"m": 4.0}, 4)
    down.is_up.set()
    assert tracker.drain(WAIT_S)
    lines = (root / "spool" / "runs" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line).get("step") for line in lines] == [None, 1, 2, 3, 4]
    assert tracker.audit().complete


def test_memory_is_bounded_and_its_losses_are_counted(
    make_tracker: MakeTracker, disk: FullDisk, down: Down, warnings: Any, client: Any
) -> None:
    disk.full = True
    tracker = make_tracker(client=down, memory_limit=2000)
    start(tracker, "a")
    for step in range(100):
        tracker.report("a", {"m": float(step)}, step)
    tracker.end_run("a", "FINISHED")
    kept = 100 - tracker.num_points_dropped
    assert 0 < kept < 100
    down.is_up.set()
    assert tracker.drain(WAIT_S)
    run_id = tracker.run_id("a")
    assert run_id and history(client, run_id, "m") == [(s, float(s)) for s in range(kept)]
    assert client.get_run(run_id).info.status == "FINISHED", "only points are dropped"
    assert any(f"{100 - kept} points are lost" in sentence for sentence in warnings())


def test_two_processes_do_not_deliver_one_spool(make_tracker: MakeTracker, root: Path) -> None:
    tracker = make_tracker()
    start(tracker, "a")
    assert tracker.drain(WAIT_S)
    report = deliver(root / "spool", timeout_s=0.0)
    assert "another process" in report.reason
    assert tracker.close(WAIT_S)
    assert deliver(root / "spool", timeout_s=0.0).reason == ""


def test_a_caller_may_log_from_many_threads(make_tracker: MakeTracker, client: Any) -> None:
    tracker = make_tracker()
    start(tracker, *"abcd")

    def log(key: str) -> None:
        for step in range(50):
            tracker.report(key, {"m": float(step)}, step)

    threads = [threading.Thread(target=log, args=(key,)) for key in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.drain(WAIT_S)
    assert tracker.audit().num_stored == 200


def test_the_command_that_a_warning_names_works(
    make_tracker: MakeTracker, down: Down, root: Path, monkeypatch: Any, capsys: Any
) -> None:
    tracker = make_tracker(client=down)
    start(tracker, "a")
    tracker.report("a", {"m": 1.0}, 1)
    tracker.close(0.0)

    def run(verb: str, folder: Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["tracking", verb, str(folder)])
        code = main()
        return code, "".join(capsys.readouterr())

    assert run("audit", root / "spool")[0] == 1
    assert run("deliver", root / "spool") == (0, "1 points delivered, 0 refused.\n")
    assert run("audit", root / "spool")[0] == 0
    code, said = run("deliver", root)
    assert code == 2 and "holds no spool" in said
