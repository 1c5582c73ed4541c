"""What faults cost: env steps lost, seconds until training goes on, and what the user is told.

    python -m benchmarks.faults                # every fault, a table
    python -m benchmarks.faults kill_trial     # those named

Each fault strikes a small training run on a Ray of its own. A crash may cost at most the env steps
since the last checkpoint; a simulator that keeps crashing or hanging fails the trial with the
reason. Exits with 1 if any doesn't.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.outcomes import (
    CHECKPOINT_ENV_STEPS,
    ENV_STEPS,
    SETTINGS,
    STRIKE_AT,
    Outcome,
    cut_short,
    kill,
    last_with,
    lost_steps,
    said,
    show,
)
from cluster.machines import MARK, marked_processes
from experiments.history import HISTORY_FILE, read_rows

ROOT = Path(__file__).resolve().parents[1]
HANG_S = 3.0
PATIENCE_S = 180.0
"""How long anything may take, seconds."""

MODE = "CLOWDER_FAULTS_MODE"
"""Environment variable that makes the simulators of a run crash or hang."""


class Run:
    """A training run in processes of its own."""

    def __init__(self, folder: Path, *flags: str, mode: str = "") -> None:
        self.folder = folder
        self.flags = flags
        self.mode = mode
        self.output = folder / "output.txt"
        self.mark = f"{os.getpid()}/faults/{folder.name}"

    def start(self) -> subprocess.Popen[bytes]:
        """Starts it, or starts it again: the same command, as a user would."""
        settings = SETTINGS | {
            "run.storage": self.folder,
            "run.tracking-uri": f"sqlite:///{self.folder}/mlflow.db",
        }
        words = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults", "--drive", "smoke", *words, *self.flags],
            stdout=self.output.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, MARK: self.mark, MODE: self.mode, "PYTHONPATH": str(ROOT)},
        )

    def rows(self) -> list[int]:
        """Env steps of every report so far, in the order in which they were written."""
        found = sorted(self.folder.glob(f"smoke/*/*/{HISTORY_FILE}"))
        return [row["env_steps"] for row in read_rows(found[-1].parent)] if found else []

    def wait_for(self, env_steps: int, process: subprocess.Popen[bytes]) -> None:
        """Waits until a report has that many.

        Raises:
            TimeoutError: it never came.
        """
        self._wait(lambda: max(self.rows(), default=0) >= env_steps, process)

    def wait_for_more(self, count: int, process: subprocess.Popen[bytes]) -> None:
        """Waits until there are more than `count` reports."""
        self._wait(lambda: len(self.rows()) > count, process)

    def _wait(self, is_there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_there():
            if time.monotonic() > end or process.poll() is not None:
                raise TimeoutError(f"nothing more came; see {self.output.read_text()[-2000:]}")
            time.sleep(0.05)

    def pids(self, name: str) -> list[int]:
        """Processes of this run whose command line begins with `name`."""
        return [pid for pid, line in marked_processes(self.mark) if line.startswith(name)]

    def said(self) -> list[str]:
        """Lines of its output."""
        return said(self.output, self.folder)

    def clean(self) -> None:
        """Leaves no process behind."""
        for pid, _ in list(marked_processes(self.mark)):
            kill(pid)

    def points_twice(self) -> int:
        """Points of one metric that MLflow has more than once for a step."""
        twice = 0
        for run in self._tracked():
            points = self._client().get_metric_history(run.info.run_id, "train/entropy")
            steps = [one.step for one in points]
            twice += len(steps) - len(set(steps))
        return twice

    def num_trial_runs(self) -> int:
        """Trials that MLflow knows: a resumed one is the same."""
        return sum("mlflow.parentRunId" in one.data.tags for one in self._tracked())

    def _client(self) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def _tracked(self) -> list[Any]:
        """Every run in the tracker."""
        client = self._client()
        experiments = [one.experiment_id for one in client.search_experiments()]
        return list(client.search_runs(experiments))


# -- the faults


def kill_trial(folder: Path) -> Outcome:
    """kill -9 of the trial's process."""
    return _struck(folder, "kill_trial", _kill_first("ray::Trial"))


def kill_runner(folder: Path) -> Outcome:
    """kill -9 of one of two remote runners."""
    flags = ("--ppo.num-env-runners", "2", "--ppo.num-envs", "4")
    return _struck(folder, "kill_runner", _kill_first("ray::BatchedEnvRunner"), *flags)


def kill_driver(folder: Path) -> Outcome:
    """kill -9 of the driver; the same command again."""

    def strike(run: Run, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        run.clean()

    return _struck(folder, "kill_driver", strike)


def truncated_checkpoint(folder: Path) -> Outcome:
    """Ctrl-C, the newest checkpoint cut short, the same command again."""

    def strike(run: Run, process: subprocess.Popen[bytes]) -> None:
        os.kill(process.pid, signal.SIGINT)
        process.wait(PATIENCE_S)
        newest = sorted(folder.glob("smoke/*/*/checkpoint_*"))[-1]
        cut_short(newest)

    return _struck(folder, "truncated_checkpoint", strike, intervals=2)


Strike = Callable[[Run, "subprocess.Popen[bytes]"], None]
"""Does something bad to a run; if the driver has ended by then, it is started again."""


def _kill_first(name: str) -> Strike:
    def strike(run: Run, process: subprocess.Popen[bytes]) -> None:
        os.kill(run.pids(name)[0], signal.SIGKILL)

    return strike


def _struck(folder: Path, fault: str, strike: Strike, *flags: str, intervals: int = 1) -> Outcome:
    """A run that is struck in its middle."""
    run = Run(folder, *flags)
    process = run.start()
    try:
        run.wait_for(STRIKE_AT, process)
        strike(run, process)
        count, struck = len(run.rows()), time.monotonic()
        if process.poll() is None:
            count += 1  # one may still be on its way
        else:
            process = run.start()
        run.wait_for_more(count, process)
        recovery = time.monotonic() - struck
        process.wait(PATIENCE_S)
    finally:
        run.clean()
    return _recovered(run, fault, process.returncode, recovery, intervals)


def _recovered(run: Run, fault: str, status: int, recovery_s: float, intervals: int) -> Outcome:
    """A run must end well, with at most so many checkpoint intervals sampled twice."""
    rows = run.rows()
    lost = lost_steps(rows)
    allowed = intervals * CHECKPOINT_ENV_STEPS + rows[0]
    holds = (
        status == 0
        and rows[-1] >= ENV_STEPS
        and lost <= allowed
        and run.points_twice() == 0
        and run.num_trial_runs() == 1
    )
    return Outcome(
        fault=fault,
        bar=f"completes, at most {allowed:,} lost, no point twice",
        holds=holds,
        env_steps=rows[-1],
        lost_env_steps=lost,
        recovery_s=recovery_s,
        told=last_with("damaged", run.said()) if holds else _last_words(run, status),
    )


def segfault(folder: Path) -> Outcome:
    """The simulator crashes every 300 steps."""
    return _failing(folder, "segfault", "crashed", mode="segfault")


def hang(folder: Path) -> Outcome:
    """The simulator hangs for good, the interpreter's lock held, after 300 steps."""
    return _failing(folder, "hang", "hung", "--run.hang-timeout-s", str(HANG_S), mode="hang")


def segfault_in_runners(folder: Path) -> Outcome:
    """The simulators of two remote runners crash every 300 steps."""
    flags = ("--ppo.num-env-runners", "2", "--ppo.num-envs", "4")
    return _failing(folder, "segfault_in_runners", "crashed or hung", *flags, mode="segfault")


def not_a_number(folder: Path) -> Outcome:
    """A learning rate that blows training up."""
    return _failing(folder, "not_a_number", "blew up", "--ppo.lr", "1e30", "--ppo.lr-end", "1e30")


def _failing(folder: Path, fault: str, reason: str, *flags: str, mode: str = "") -> Outcome:
    """A run must end as failed and say why."""
    run = Run(folder, *flags, mode=mode)
    started = time.monotonic()
    process = run.start()
    try:
        process.wait(PATIENCE_S)
    finally:
        run.clean()
    rows = run.rows() or [0]
    told = last_with("failed: ", run.said())
    return Outcome(
        fault=fault,
        bar="fails with the reason",
        holds=process.returncode == 1 and reason in told and rows[-1] < ENV_STEPS,
        env_steps=rows[-1],
        lost_env_steps=lost_steps(rows),
        recovery_s=time.monotonic() - started,
        told=told,
    )


def _last_words(run: Run, status: int) -> str:
    """What a run that didn't end well said at its end."""
    return f"exit {status}: " + "\n".join([one for one in run.said() if one][-12:])


FAULTS: dict[str, Callable[[Path], Outcome]] = {
    one.__name__: one
    for one in (
        kill_runner,
        kill_trial,
        kill_driver,
        truncated_checkpoint,
        segfault,
        segfault_in_runners,
        hang,
        not_a_number,
    )
}


# -- inside a run's processes


def break_simulators() -> None:
    """Makes every simulator of this process crash or hang at its 300th step: a hook that Ray calls
    in each of its workers."""
    from env.batch import BatchedGame

    step, count = BatchedGame.step, 0

    def broken(self: BatchedGame, actions: object) -> None:
        nonlocal count
        count += 1
        if count == 300:
            if os.environ[MODE] == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            while True:  # never lets the interpreter's lock go for long
                pass
        step(self, actions)  # type: ignore[arg-type]

    BatchedGame.step = broken  # type: ignore[method-assign]


def drive(words: list[str]) -> int:
    """The command line `clowder train`, on a Ray whose workers are broken if MODE says so."""
    import logging

    from experiments import cli, session

    session.prepare()
    import ray

    hook = {"worker_process_setup_hook": "benchmarks.faults.break_simulators"}
    ray.init(
        address="local",
        num_cpus=4,  # counted, not there: room for a trial with two runners
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
        runtime_env=hook if os.environ.get(MODE) else None,
    )
    return cli.main(["train", *words])


def main() -> None:
    """Command line, see the top of this file."""
    if sys.argv[1:2] == ["--drive"]:
        sys.exit(drive(sys.argv[2:]))
    names = sys.argv[1:] or list(FAULTS)
    for name in names:
        if name not in FAULTS:
            sys.exit(f"there is no fault {name!r}; choose from {', '.join(FAULTS)}.")
    outcomes = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(FAULTS[name](Path(folder)))
    sys.exit(0 if show(outcomes) else 1)


if __name__ == "__main__":
    main()
