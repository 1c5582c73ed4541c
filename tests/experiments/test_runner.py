"""Trains and sweeps from end to end: tracked without loss, resumable, honest about failures."""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from experiments import cli, ranking, runner
from experiments.history import HISTORY_FILE, History, read_history
from experiments.lease import Lease
from experiments.metrics import FAMILIES
from experiments.runner import DONE_FILE, SPOOL, StudyResult
from experiments.study import TrialResult
from experiments.tracking import audit
from experiments.tracking.charts import TAG

ROOT = Path(__file__).parents[2]
WAIT_S = 100.0
"""Bound of every wait; never reached by a passing test."""
SMALL = shlex.split("--evaluation.num-levels 4 --evaluation.num-final-levels 8")


@dataclass(frozen=True)
class Call:
    """What a command line did."""

    status: int
    out: str
    err: str


Main = Callable[..., Call]


@pytest.fixture(scope="module")
def main(ray: Any) -> Main:
    """Runs the command line in this process, in a folder, under the tests' own Ray."""

    def call(folder: Path, *words: str) -> Call:
        out, err = io.StringIO(), io.StringIO()
        folder.mkdir(exist_ok=True)
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = cli.main(words)
        return Call(status, out.getvalue(), err.getvalue())

    return call


def experiments_of(folder: Path) -> list[Path]:
    """The experiment folders below a working folder, oldest first."""
    return sorted(one.parent for one in folder.glob("results/*/*/recipe.json"))


def steps_of(experiment: Path) -> list[list[int]]:
    """Env steps of each trial's reports, in the order in which they were written."""
    return [
        [json.loads(line)["env_steps"] for line in path.read_text().splitlines()]
        for path in sorted(experiment.glob(f"*/{HISTORY_FILE}"))
    ]


def client_of(folder: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs_of(folder: Path) -> tuple[Any, list[Any]]:
    """The one parent run of a store, and its children."""
    client = client_of(folder)
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    parents = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    assert len(parents) == 1
    children = [one for one in found if one is not parents[0]]
    assert all(one.data.tags["mlflow.parentRunId"] == parents[0].info.run_id for one in children)
    return parents[0], sorted(children, key=lambda one: one.info.run_name)


# -- a real sweep


@dataclass(frozen=True)
class Sweep:
    """A finished sweep."""

    call: Call
    folder: Path
    experiment: Path


@pytest.fixture(scope="module")
def sweep(main: Main, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The smoke recipe's two variants, trained for real."""
    folder = tmp_path_factory.mktemp("sweep")
    call = main(folder, "sweep", "smoke", *SMALL, "--run.env-steps", "600")
    (experiment,) = experiments_of(folder)
    return Sweep(call, folder, experiment)


def test_a_sweep_ends_well_and_says_where_to_look(sweep: Sweep) -> None:
    assert sweep.call.status == 0 and sweep.call.err == ""
    assert (sweep.experiment / DONE_FILE).exists()
    for text in ("2 trials", "picture", "best team", "clowder evaluate", "compareRunsMode=CHART"):
        assert text in sweep.call.out
    assert "not finished" not in sweep.call.out


def test_it_has_one_parent_and_a_child_a_trial(sweep: Sweep) -> None:
    parent, children = runs_of(sweep.folder)
    assert [one.data.tags["variant"] for one in children] == ["team_share=0", "team_share=1"]
    assert {one.info.status for one in (parent, *children)} == {"FINISHED"}
    for child, share in zip(children, (0.0, 1.0), strict=True):
        # Numbers, written as numbers, so that charts can use them as an axis.
        assert child.data.params["rewards.team_share"] in (str(share), f"{share:g}")
        assert float(child.data.params["rewards.own_block"]) == 0.05
        assert child.data.params["env.preset"] == "meadow"
        tags = child.data.tags
        assert tags["study"] == "smoke" and tags["game"] == "pico_park" and tags["seed"] == "0"
        assert tags["simulator_version"] and tags["ray_trial_id"]
        assert Path(tags["folder"]).is_dir()


def test_no_metric_is_lost(sweep: Sweep) -> None:
    counts = audit(sweep.experiment / SPOOL)
    assert counts.num_spooled == counts.num_sent == counts.num_stored > 200
    assert counts.num_missing == counts.num_repeated == 0
    assert f"tracked   {counts.num_stored} points in MLflow" in sweep.call.out


def test_every_family_is_stored_at_the_steps_that_were_reported(sweep: Sweep) -> None:
    client = client_of(sweep.folder)
    for child in runs_of(sweep.folder)[1]:
        history = read_history(Path(child.data.tags["folder"]))
        for family in set(FAMILIES) - {"rating/"}:  # of games with opponents
            assert sum(name.startswith(family) for name in child.data.metrics) >= 2, family
        for name in ("eval/win_rate", "train/total_loss", "time/env_steps_per_second"):
            expected = [(one["env_steps"], one[name]) for one in history if name in one]
            stored = client.get_metric_history(child.info.run_id, name)
            assert sorted((one.step, one.value) for one in stored) == expected and expected


def test_the_last_state_is_judged_thoroughly_and_kept(sweep: Sweep) -> None:
    for child in runs_of(sweep.folder)[1]:
        folder = Path(child.data.tags["folder"])
        last = read_history(folder)[-1]
        assert last["env_steps"] >= 600 and "eval/win_rate_greedy" in last
        assert len(list(folder.glob("checkpoint_*/manifest.json"))) >= 1


def replays_of(folder: Path) -> list[str]:
    """What MLflow has of the trials' replays, and the charts of film strips."""
    client = client_of(folder)
    _, children = runs_of(folder)
    found = [
        Path(file.path).name
        for child in children
        for step in client.list_artifacts(child.info.run_id, "replays")
        for file in client.list_artifacts(child.info.run_id, step.path)
    ]
    (experiment,) = [one for one in client.search_experiments() if one.name == "smoke"]
    (view,) = [one for one in experiment.tags.items() if one[0].startswith(TAG)]
    charts = json.loads(zlib.decompress(base64.b64decode(view[1].removeprefix("deflate;"))))
    strips = [one["imageKeys"] for one in charts["compareRunCharts"] if one["type"] == "IMAGE"]
    return [*found, *map(str, strips)]


def test_replays_and_film_strips_are_kept(sweep: Sweep) -> None:
    kept = replays_of(sweep.folder)
    assert "worst.replay" in kept and "worst.html" in kept and "['worst failure']" in kept


def test_replays_can_be_left_out(main: Main, tmp_path: Path) -> None:
    words = ("--evaluation.replays", "false", "--run.env-steps", "300")
    assert main(tmp_path, "train", "smoke", *SMALL, *words).status == 0
    assert replays_of(tmp_path) == []
    assert not list(tmp_path.glob("results/**/*.replay"))


def test_it_leaves_a_report_beside_its_trials_and_in_mlflow(sweep: Sweep) -> None:
    page = sweep.experiment / "report" / "report.html"
    assert f"report    {page}" in sweep.call.out and page.stat().st_size > 10_000
    parent, _ = runs_of(sweep.folder)
    artifacts = client_of(sweep.folder).list_artifacts(parent.info.run_id, "report")
    names = {"report/report.html", "report/trials.csv", "report/marl_eval.json"}
    assert names <= {one.path for one in artifacts}


def test_the_picture_shows_something(sweep: Sweep) -> None:
    from matplotlib import image

    picture = image.imread(sweep.experiment / "sweep.png")
    assert picture.shape[0] > 200 and picture.shape[1] > 800
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 50
    parent, _ = runs_of(sweep.folder)
    artifacts = client_of(sweep.folder).list_artifacts(parent.info.run_id)
    assert "sweep.png" in [one.path for one in artifacts]


def test_the_best_team_can_be_loaded(sweep: Sweep) -> None:
    from experiments.policy import load_policy

    line = next(one for one in sweep.call.out.splitlines() if one.startswith("best team"))
    policy = load_policy(Path(line.removeprefix("best team").strip()))
    assert policy.env_steps >= 600


def test_a_finished_sweep_is_not_resumed(main: Main, sweep: Sweep) -> None:
    call = main(
        sweep.folder, "sweep", "smoke", *SMALL, "--run.env-steps", "600", "--resume", "must"
    )
    assert call.status == 2 and "no unfinished sweep" in call.err


def fake_result(variant: str, objective: float, **final: Any) -> TrialResult:
    history = ({"env_steps": 5, "eval/win_rate": 0.5, "eval/objective": objective, **final},)
    return TrialResult(
        trial_id=variant,
        variant=variant,
        config={},
        history=history if objective >= 0 else ({"env_steps": 3},),
        folder=Path("nowhere"),
        error="",
    )


def test_the_ranking_goes_by_the_objective_of_what_was_judged() -> None:
    trials = [fake_result("a", 0.2), fake_result("b", 0.9), fake_result("c", -1)]
    result = StudyResult(
        recipe=None,  # type: ignore[arg-type]
        folder=Path("nowhere"),
        trials=(*trials, fake_result("d", 0.5)),
        tracker=None,  # type: ignore[arg-type]
        seconds=0,
        interrupted=False,
    )
    assert [one.variant for one in result.ranking] == ["b", "d", "a"]


def test_a_hacked_run_is_named_below_the_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "ranking_table", lambda trials: "the table")
    verdicts = {"a": "the return rises by alive", "b": "no", "c": "no longer, since 9; by alive"}
    trials = [fake_result(name, 0.5, hacked=verdict) for name, verdict in verdicts.items()]
    result = SimpleNamespace(ranking=trials, trials=trials)
    out = io.StringIO()
    ranking.print_ranking(result, Console(file=out, width=100))  # type: ignore[arg-type]
    assert out.getvalue().splitlines() == ["the table", "hacked?   a: the return rises by alive"]


def test_a_history_has_each_step_once_and_survives_a_torn_line(tmp_path: Path) -> None:
    rows = [{"env_steps": 1, "x": 1}, {"env_steps": 2, "x": 2}, {"env_steps": 2, "x": 3}]
    text = "\n".join([json.dumps(one) for one in rows]) + '\n{"env_steps": 3, "x'
    (tmp_path / HISTORY_FILE).write_text(text)
    assert [(one["env_steps"], one["x"]) for one in read_history(tmp_path)] == [(1, 1), (2, 3)]
    assert read_history(tmp_path / "nowhere") == ()


# -- Ctrl-C and resuming, for real


LONG = ("train", "smoke", *SMALL, "--run.env-steps", "4000", "--evaluation.every-env-steps", "2000")


@dataclass(frozen=True)
class Interrupted:
    """A training that Ctrl-C stopped after its first checkpoint."""

    status: int
    out: str
    folder: Path
    experiment: Path
    checkpoint: int
    """Env steps of its newest checkpoint."""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """Ctrl-C as a terminal sends it: to the whole group of processes."""
    folder = tmp_path_factory.mktemp("interrupted")
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, ROOT / "clowder.py", *LONG],
            cwd=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + WAIT_S
        while not known_checkpoints(folder):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        status = process.wait(WAIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    (experiment,) = experiments_of(folder)
    checkpoint = max(known_checkpoints(folder))
    return Interrupted(status, log.read_text(), folder, experiment, checkpoint)


def known_checkpoints(folder: Path) -> list[int]:
    """Env steps of checkpoints that the driver has reported beyond: it hears of one after it is
    on disk, and goes on from the one before if it is stopped in between."""
    reported = [steps[-1] for one in experiments_of(folder) for steps in steps_of(one) if steps]
    found = folder.glob("results/*/*/*/checkpoint_*/manifest.json")
    stored = [json.loads(one.read_text())["env_steps"] for one in found]
    return [one for one in stored if one < max(reported, default=0)]


def test_ctrl_c_leaves_a_run_and_says_how_to_resume_it(interrupted: Interrupted) -> None:
    assert interrupted.status == 130
    assert "clowder " + " ".join(LONG) in interrupted.out
    assert "Traceback" not in interrupted.out
    assert not (interrupted.experiment / DONE_FILE).exists()


def test_other_settings_are_not_mixed_into_it(main: Main, interrupted: Interrupted) -> None:
    call = main(interrupted.folder, *LONG, "--rewards.own-block", "0.07")
    assert call.status == 2
    assert "rewards.own_block = 0.05, not 0.07" in call.err and "--resume never" in call.err
    assert call.err.count("\n") == 1


def test_the_same_command_goes_on_from_the_checkpoint(main: Main, interrupted: Interrupted) -> None:
    (before,) = steps_of(interrupted.experiment)
    call = main(interrupted.folder, *LONG)
    assert call.status == 0, call.out
    assert "continuing" in call.out and (interrupted.experiment / DONE_FILE).exists()
    assert experiments_of(interrupted.folder) == [interrupted.experiment]
    (after,) = steps_of(interrupted.experiment)
    assert after[: len(before)] == before
    assert after[len(before)] > interrupted.checkpoint >= 512
    assert after[-1] >= 4000
    # One run, continued, with each point once.
    parent, (child,) = runs_of(interrupted.folder)
    assert parent.info.status == child.info.status == "FINISHED"
    counts = audit(interrupted.experiment / SPOOL)
    assert counts.complete and counts.num_missing == 0
    stored = client_of(interrupted.folder).get_metric_history(child.info.run_id, "train/entropy")
    steps = [one.step for one in stored]
    assert len(steps) == len(set(steps)) and {before[0], after[-1]} <= set(steps)


# -- the mechanics, with a trial that does next to nothing


def make_trial(flag: Path) -> type:
    """A trial that reports what it was made for; one with alive=0.02 fails until `flag` exists."""
    from experiments.trial import Trial, build_recipe

    class Quick(Trial):
        def setup(self, config: dict[str, Any]) -> None:
            self.recipe = build_recipe(config)
            self.steps = 0

        def step(self) -> dict[str, Any]:
            self.steps += 100
            if self.recipe.rewards.alive == 0.02 and self.steps > 200 and not flag.exists():
                raise RuntimeError("the cat ran away")
            goodness = self.recipe.rewards.key
            names = ("low", "high")
            return {
                "env_steps": self.steps,
                "objective": goodness,
                "eval/objective": goodness,
                "eval/win_rate": goodness,
                **{f"eval/win_rate_{name}": goodness for name in names},
                "eval/exits": 2 * goodness,
                **{
                    f"behaviour/{name}": 0.5
                    for name in shlex.split("key_rate unlock_rate crushed shot timeouts idle_share")
                },
                "reward/return": goodness,
                "time/agent_steps_per_second": 1.0,
                "should_checkpoint": self.steps % 200 == 0,
                "done": self.steps >= self.recipe.run.env_steps,
            }

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "steps").write_text(str(self.steps))

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            self.steps = int((Path(checkpoint_dir) / "steps").read_text())

        def cleanup(self) -> None:
            pass

    return Quick


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Makes trials quick; returns the flag that lets the failing one succeed."""
    monkeypatch.setattr("experiments.trial.Trial", make_trial(tmp_path / "repaired"))
    monkeypatch.setattr(runner, "DRAIN_S", 1.0)
    return tmp_path / "repaired"


def sweep_of(*space: str, env_steps: int = 600, more: Sequence[str] = ()) -> list[str]:
    words = ["sweep", "smoke", "--sweep.space", *space, "--run.env-steps", str(env_steps)]
    return [*words, *more]


def test_a_failed_trial_is_named_and_can_be_resumed(
    main: Main, quick: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = sweep_of("rewards.alive=0,0.02")
    call = main(tmp_path / "work", *words)
    assert not [one for one in caplog.records if one.name.startswith("ray")]  # no traceback
    assert call.status == 1
    assert "failed: alive=0.02" in call.out and "the cat ran away" in call.out
    assert "Traceback" not in call.out + call.err
    assert "clowder sweep smoke" in call.out
    (experiment,) = experiments_of(tmp_path / "work")
    assert not (experiment / DONE_FILE).exists()
    _, (good, bad) = runs_of(tmp_path / "work")
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert "the cat ran away" in bad.data.tags["error"]

    quick.touch()
    call = main(tmp_path / "work", *words)
    assert call.status == 0, call.out
    assert (experiment / DONE_FILE).exists()
    assert all(steps[-1] == 600 for steps in steps_of(experiment))
    _, children = runs_of(tmp_path / "work")
    assert [one.info.status for one in children] == ["FINISHED"] * 2


def test_asha_stops_the_worse_while_mlflow_is_down(
    main: Main, quick: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopping early is an end like any other; a store that doesn't answer costs one warning."""
    quick.touch()
    more = shlex.split(
        "--sweep.scheduler asha --sweep.grace-env-steps 100 --sweep.max-concurrent 1 "
        "--run.tracking-uri http://127.0.0.1:9"
    )
    call = main(tmp_path / "work", *sweep_of("rewards.key=0.9,0.5,0.1", env_steps=900, more=more))
    assert call.status == 0, call.out
    (experiment,) = experiments_of(tmp_path / "work")
    assert (experiment / DONE_FILE).exists()
    last = [steps[-1] for steps in steps_of(experiment)]
    assert last[0] == 900 and last[2] == 100
    lines = call.out.splitlines()
    ranked = [
        next(i for i, one in enumerate(lines) if f"│ key={key} " in one) for key in (0.9, 0.1)
    ]
    assert ranked == sorted(ranked)
    warnings = [one.getMessage() for one in caplog.records if one.name == "clowder.tracking"]
    assert sum("can't be told" in one for one in warnings) == 1
    assert sum("deliver" in one for one in warnings) == 1 and len(warnings) == 2
    assert f"tracked   in {experiment / SPOOL}" in call.out
    assert any((experiment / SPOOL / "runs").iterdir())

    from experiments.tracking import deliver

    store = f"sqlite:///{tmp_path}/mlflow.db"
    report = deliver(experiment / SPOOL, tracking_uri=store)
    assert report.num_points_left == 0
    assert audit(experiment / SPOOL, tracking_uri=store).complete


def test_resuming_never_starts_another(main: Main, quick: Path, tmp_path: Path) -> None:
    words = ["train", "smoke", "--run.env-steps", "200"]
    assert main(tmp_path, *words).status == 0
    (first,) = experiments_of(tmp_path)
    (first / DONE_FILE).unlink()  # as if it had been interrupted
    assert main(tmp_path, *words, "--resume", "never").status == 0
    assert len(experiments_of(tmp_path)) == 2
    assert not (first / DONE_FILE).exists()


def test_insisting_on_a_run_that_is_not_there_is_a_mistake(main: Main, tmp_path: Path) -> None:
    call = main(tmp_path, "train", "smoke", "--resume", "must")
    assert call.status == 2
    assert "no unfinished train" in call.err and call.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_file_in_place_of_the_results_folder_is_a_mistake(main: Main, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    call = main(tmp_path, "train", "smoke")
    assert call.status == 2
    assert "can't be written" in call.err and call.err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_an_unreadable_recipe_of_an_unfinished_run_is_named(
    main: Main, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "results" / "smoke" / "train-20260101-000000"
    folder.mkdir(parents=True)
    (folder / "tuner.pkl").touch()
    (folder / "recipe.json").write_text(text)
    call = main(tmp_path, "train", "smoke")
    assert call.status == 2
    assert "recipe.json" in call.err and call.err.count("\n") == 1


def test_a_full_disk_is_one_sentence_and_keeps_what_was_written(
    main: Main, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own files find no room after the third report."""
    quick.touch()
    write = History.on_trial_result

    def fail(self: Any, *, result: dict[str, Any], **info: Any) -> None:
        if result["env_steps"] > 300:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), HISTORY_FILE)
        write(self, result=result, **info)

    monkeypatch.setattr(History, "on_trial_result", fail)
    words = sweep_of("rewards.key=0.5", env_steps=2000)
    call = main(tmp_path / "work", *words)
    assert call.status == 1
    assert "No space left on device" in call.err and "Traceback" not in call.err
    assert call.err.count("\n") == 1
    (experiment,) = experiments_of(tmp_path / "work")
    assert steps_of(experiment) == [[100, 200, 300]]

    monkeypatch.undo()
    monkeypatch.setattr("experiments.trial.Trial", make_trial(quick))
    call = main(tmp_path / "work", *words)
    assert call.status == 0, call.out
    assert steps_of(experiment)[0][-1] == 2000


@pytest.fixture(autouse=True)
def _no_tracker_is_left() -> Iterator[None]:
    """A tracker that couldn't deliver shall not go on trying in the next test."""
    yield
    from experiments.tracking import mlflow_callback

    for tracker in mlflow_callback._trackers.values():
        if not tracker.is_closed:
            tracker.close(0.0)
    mlflow_callback._trackers.clear()


def test_a_study_is_not_run_twice_at_once(main: Main, tmp_path: Path) -> None:
    study = tmp_path / "results" / "smoke"
    study.mkdir(parents=True)
    with Lease(study, what="the study smoke"):
        call = main(tmp_path, "train", "smoke")
    assert call.status == 2 and call.err.count("\n") == 1
    assert "the study smoke is being run by process" in call.err
    assert [one.name for one in study.iterdir()] == []


def test_a_trial_that_never_reported_has_a_result_too(tmp_path: Path) -> None:
    # Ctrl-C while trials wait, or a failure before the first report: Tune knows no config then.
    found = SimpleNamespace(config=None, metrics=None, path=tmp_path, error=RuntimeError("a\nwhy"))
    result = runner._Experiment._result_of(SimpleNamespace(), found)  # type: ignore[arg-type]
    assert result.error == "why" and result.history == () and result.final == {}
