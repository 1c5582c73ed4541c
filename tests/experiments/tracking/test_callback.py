"""Tune's hooks: what each means for a trial's run, and that none can stop a training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from experiments.tracking import MLflowCallback, RunInfo, TrackerConfig
from experiments.tracking.failures import reason_of_trial

from .conftest import WAIT_S, ServerDouble, history


@dataclass
class FakeTrial:
    """As much of a Tune trial as the callback reads."""

    trial_id: str
    status: str = "RUNNING"
    stopping_criterion: dict[str, Any] = field(default_factory=dict)
    error_file: str | None = None


MakeCallback = Callable[..., MLflowCallback]


@pytest.fixture
def make_callback(root: Path) -> Iterator[MakeCallback]:
    """Makes callbacks of the study `study`, set up, and closes their trackers."""
    made: list[MLflowCallback] = []

    def make(stop: Any = None, **changes: Any) -> MLflowCallback:
        config = {"study": "study", "spool_dir": root / "spool", "root": root}
        functions: dict[str, Any] = {
            "describe": lambda trial: RunInfo(name=f"trial {trial.trial_id}", tags={"seed": 1}),
            "metrics_of": lambda result: {"m": result["m"]},
            "step_of": lambda result: result["steps"],
        }
        names = {name: changes.pop(name) for name in list(changes) if name in TRACKER_FIELDS}
        made.append(
            MLflowCallback(
                TrackerConfig(**{**config, **names}),
                parent="sweep",
                **{**functions, **changes},
            )
        )
        made[-1].setup(stop=stop)
        return made[-1]

    yield make
    for callback in made:
        callback.tracker.close(0.0)


TRACKER_FIELDS = ("tracking_uri", "drain_timeout_s")


def run_trial(callback: MLflowCallback, trial: FakeTrial, *results: Mapping[str, Any]) -> None:
    """Calls the hooks that Tune calls while a trial runs."""
    callback.on_trial_start(0, [trial], trial)
    for result in results:
        callback.on_trial_result(0, [trial], trial, dict(result))


def test_ends_are_told_apart(make_callback: MakeCallback, client: Any, root: Path) -> None:
    callback = make_callback(stop={"info/steps": 30}, num_steps=100)
    (root / "error.txt").write_text(
        "Failure # 1 (occurred at 2026-01-01)\n\x1b[36mray::f()\x1b[39m\nValueError: first\n"
        'Failure # 2 (occurred at 2026-01-01)\nray::f()\n  File "x.py"\nValueError: no exit\n'
    )
    criterion = {"info/steps": 30}
    trials = [
        FakeTrial("whole", stopping_criterion=criterion),
        FakeTrial("early", stopping_criterion=criterion),
        FakeTrial("longest", stopping_criterion=criterion),
        FakeTrial("failed", error_file=str(root / "error.txt")),
        FakeTrial("budget"),
        FakeTrial("interrupted"),
    ]
    done = {"m": 1.0, "done": True}
    run_trial(callback, trials[0], {**done, "steps": 30, "info": {"steps": 30}})
    run_trial(callback, trials[1], {**done, "steps": 10, "info": {"steps": 10}})
    run_trial(callback, trials[2], {**done, "steps": 100, "info": {"steps": 10}})
    for trial in trials[3:]:
        run_trial(callback, trial, {"m": 1.0, "steps": 10, "done": False})
    for trial in trials[:3]:
        callback.on_trial_complete(0, trials, trial)
        trial.status = "TERMINATED"
    callback.on_trial_error(0, trials, trials[3])
    trials[3].status = "ERROR"
    trials[4].status = "TERMINATED"  # Tune tells no callback of trials that a time budget ends
    callback.on_step_end(0, trials)
    trials[5].status = "TERMINATED"  # nor of those that Ctrl-C ends, after the last step
    callback.on_experiment_end(trials)

    runs = {t.trial_id: client.get_run(callback.tracker.run_id(t.trial_id)) for t in trials}
    assert {key: run.info.status for key, run in runs.items()} == {
        "whole": "FINISHED", "early": "FINISHED", "longest": "FINISHED", "failed": "FAILED",
        "budget": "FINISHED", "interrupted": "KILLED",
    }  # fmt: skip
    assert {key: run.data.tags.get("stopped_by") for key, run in runs.items()} == {
        "whole": None, "early": "scheduler", "longest": None, "failed": None,
        "budget": "experiment", "interrupted": None,
    }  # fmt: skip
    assert runs["failed"].data.tags["error"] == "ValueError: no exit"
    parent = client.get_run(callback.tracker.run_id())
    assert (parent.info.status, parent.data.tags["failed_trials"]) == ("KILLED", "1")


def test_a_stopper_object_says_nothing_about_the_scheduler(
    make_callback: MakeCallback, client: Any
) -> None:
    callback = make_callback(stop=lambda trial_id, result: True)
    trial = FakeTrial("a")
    run_trial(callback, trial, {"m": 1.0, "steps": 1, "done": True})
    callback.on_trial_complete(0, [trial], trial)
    callback.on_experiment_end([trial])
    assert "stopped_by" not in client.get_run(callback.tracker.run_id("a")).data.tags


def test_a_restart_within_a_sweep_keeps_the_run(make_callback: MakeCallback, client: Any) -> None:
    callback = make_callback()
    trial = FakeTrial("a")
    run_trial(callback, trial, {"m": 0.1, "steps": 1}, {"m": 0.2, "steps": 2})
    callback.on_trial_recover(0, [trial], trial)
    run_trial(callback, trial, {"m": 0.9, "steps": 2}, {"m": 0.3, "steps": 3})
    callback.on_trial_complete(0, [trial], trial)
    callback.on_experiment_end([trial])
    run_id = callback.tracker.run_id("a")
    assert run_id and history(client, run_id, "m") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    run = client.get_run(run_id)
    assert run.data.tags["last_failure"] == "unknown" and run.info.status == "FINISHED"


def test_a_mistake_in_a_callers_function_stops_no_training(
    make_callback: MakeCallback, client: Any, warnings: Any
) -> None:
    def broken(_: Any) -> Any:
        raise KeyError("win_rate")

    callback = make_callback(describe=broken, metrics_of=broken)
    trial = FakeTrial("a")
    run_trial(callback, trial, *({"m": 1.0, "steps": step} for step in range(5)))
    callback.on_trial_complete(0, [trial], trial)
    callback.on_experiment_end([trial])
    assert client.get_run(callback.tracker.run_id("a")).info.run_name == "a"
    assert sum("KeyError('win_rate')" in sentence for sentence in warnings()) == 2


def test_hooks_wait_for_no_answer(
    make_callback: MakeCallback, server: ServerDouble, warnings: Any
) -> None:
    server.mode = "hang"
    callback = make_callback(tracking_uri=server.uri, drain_timeout_s=0.0)
    assert server.asked.wait(WAIT_S)
    trial = FakeTrial("a")
    finished = threading.Event()

    def train() -> None:
        run_trial(callback, trial, *({"m": 1.0, "steps": step} for step in range(20)))
        callback.on_step_end(0, [trial])
        callback.on_trial_complete(0, [trial], trial)
        callback.on_experiment_end([trial])
        finished.set()

    threading.Thread(target=train, daemon=True).start()
    assert finished.wait(WAIT_S)
    assert not server.calls, "training ended while the first request was still unanswered"
    assert "20 points of 2 runs" in warnings()[-1]


def test_copies_of_a_callback_share_a_tracker(make_callback: MakeCallback) -> None:
    callback = make_callback()
    copy = cloudpickle.loads(cloudpickle.dumps(callback))
    assert copy.tracker is callback.tracker


def test_a_study_of_an_older_version_goes_on(make_callback: MakeCallback, client: Any) -> None:
    callback = make_callback()
    state = callback.__getstate__()
    for name in ("_num_steps", "_extras_of", "_varied", "_strips"):
        del state[name]
    older = cloudpickle.loads(cloudpickle.dumps(callback))
    older.__dict__.clear()
    older.__setstate__(state)
    run_trial(older, FakeTrial("t"), {"m": 1.0, "steps": 10})
    older.on_experiment_end([])
    assert older.tracker.drain(WAIT_S)
    assert client.get_run(older.tracker.run_id("t")).data.metrics


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Failure # 1 (occurred at x)\nTraceback:\n  f\nValueError: bad\n", "ValueError: bad"),
        ("Failure # 1 (at x)\nThe actor died.\n\tclass_name: F\n", "The actor died"),
        ("", "unknown"),
    ],
)
def test_a_failure_is_told_in_one_sentence(text: str, reason: str) -> None:
    assert reason_of_trial(text) == reason
