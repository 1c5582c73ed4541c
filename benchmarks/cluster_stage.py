"""A lab with a tracking server, for benchmarks of clusters, and sweeps that are submitted to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.outcomes import (
    CHECKPOINT_ENV_STEPS,
    ENV_STEPS,
    SETTINGS,
    Outcome,
    last_with,
    lost_steps,
    said,
)
from cluster.lab import Lab, Options, without_ray
from cluster.machines import Machine, folder_of
from cluster.ports import free_port
from experiments.cli import EXIT_USAGE
from experiments.history import HISTORY_FILE, read_rows

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 300.0
"""How long anything may take, seconds."""
NUM_TRIALS = 4
BATCH = 256
"""Env steps of a report of the recipe `smoke`."""
SMALL_BYTES = 128 * 2**20
"""Of the file system that can be filled."""
USER = "MLFLOW_TRACKING_USERNAME"
PASSWORD = "MLFLOW_TRACKING_PASSWORD"


class TrackingServer:
    """MLflow's server on this machine, with a password, for the lab's nodes."""

    def __init__(self, folder: Path, host: str, password: str) -> None:
        """
        Args:
            folder: what it keeps.
            host: address that the nodes reach this machine at.
            password: the first user's.
        """
        self.folder, self.password = folder, password
        self._port = free_port()
        self._machine = Machine(f"tracking-{os.getpid()}", "mlflow", host)
        self.uri = f"http://{host}:{self._port}"

    def start(self, password: str = "") -> None:
        """Serves; returns once it answers. Another password than before makes other users."""
        folder = self.folder
        if password:
            for path in folder.glob("users.db*"):
                path.unlink()
        folder.mkdir(exist_ok=True)
        host = self._machine.address
        command = [
            sys.executable, "-m", "cluster.tracking_server", "--folder", str(folder),
            "--host", host, "--port", str(self._port), "--workers", "1",
            "--allowed-hosts", f"{host}:{self._port}",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_AUTH_ADMIN_PASSWORD": password or self.password,
        }
        self._machine.start(command, environment, folder / "said.txt")
        wait_until(self._answers, "MLflow to answer", folder / "said.txt")

    def _answers(self) -> bool:
        import requests

        with contextlib.suppress(requests.RequestException), requests.Session() as session:
            session.trust_env = False
            return session.get(f"{self.uri}/health", timeout=2).status_code == 200
        return False

    def stop(self) -> None:
        """Kills it; what it has said yes to is in its database."""
        self._machine.power_off()

    def pids(self) -> list[int]:
        """Its processes."""
        return [pid for pid, _ in self._machine.processes()]

    def steps(self, study: str) -> dict[str, list[int]]:
        """Steps of every point of one metric, for each of a study's trials by Tune's id."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            return {}
        found: dict[str, list[int]] = {}
        for run in client.search_runs([experiment.experiment_id]):
            if "ray_trial_id" in run.data.tags:
                points = client.get_metric_history(run.info.run_id, "train/entropy")
                found.setdefault(run.data.tags["ray_trial_id"], []).extend(
                    one.step for one in points
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a fault strikes: a cluster, its tracking server, a folder for results."""

    lab: Lab
    server: TrackingServer
    folder: Path
    """Of results and of what clients said; removed at the end."""
    small: Path | None
    """A file system of `SMALL_BYTES`, where it could be made."""
    clients: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Every one that was started."""

    def start_afresh(self) -> None:
        """Ends whatever a fault has left running: clients, jobs, nodes; then all nodes are on."""
        for client in self.clients:
            client.kill()
            client.wait()
        for machine in self.lab.machines:
            machine.power_off()
        for machine in self.lab.machines:
            self.lab.on(machine)
        self.lab.wait()


class Sweep:
    """A sweep that a client submits to the lab, and what its folder and the tracker say of it."""

    def __init__(
        self,
        stage: Stage,
        study: str,
        *flags: str,
        recipe: str = "smoke",
        storage: Path | None = None,
        tree: Path = ROOT,
    ) -> None:
        """
        Args:
            stage: where it runs.
            study: its name; a row's own.
            *flags: beside those that all sweeps here have.
            recipe: its name.
            storage: where results go, if not into the stage's folder.
            tree: sources that are sent.
        """
        self.stage, self.study, self.recipe, self.tree = stage, study, recipe, tree
        self.folder = (storage or stage.folder) / study
        self.output = stage.folder / f"{study}.txt"
        self.submitted = 0.0
        self._client: subprocess.Popen[bytes] | None = None
        settings = SETTINGS | {
            "evaluation.replays": "false",
            "run.storage": self.folder.parent,
            "run.study": study,
            "sweep.space": "rewards.team_share=0,0.3,0.6,1",
        }
        named = {one.removeprefix("--") for one in flags if one.startswith("--")}
        settings = {name: value for name, value in settings.items() if name not in named}
        self._words = [text for name, value in settings.items() for text in (f"--{name}", value)]
        self._words += list(flags)

    def submit(self, *own: str) -> subprocess.Popen[bytes]:
        """Sends it, or sends the same again; the client stays to show what the job says."""
        self.submitted = time.monotonic()
        self._client = self.client("sweep", self.recipe, *own, *map(str, self._words))
        return self._client

    def client(self, *words: str) -> subprocess.Popen[bytes]:
        """A `clowder submit` of those words in a process of its own."""
        started = subprocess.Popen(
            [sys.executable, "clowder.py", "submit", *words],
            cwd=self.tree,
            env={
                **client_environment(self.stage.lab, self.tree),
                "MLFLOW_TRACKING_URI": self.stage.server.uri,
            },
            stdin=subprocess.DEVNULL,
            stdout=self.output.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.stage.clients.append(started)
        return started

    def rows(self) -> dict[str, list[int]]:
        """Env steps of every report, in the order in which they were written, of each trial."""
        return {
            one.parent.name: [row["env_steps"] for row in read_rows(one.parent)]
            for one in self.folder.glob(f"*/*/{HISTORY_FILE}")
        }

    def said(self) -> list[str]:
        """Lines that clients showed."""
        return said(self.output, self.folder.parent)

    def told(self, *words: str) -> str:
        """The last line with any of those words."""
        return last_with(words, self.said())

    def least(self) -> int:
        """Env steps of the trial that has come least far."""
        return min((one[-1] for one in self.rows().values() if one), default=0)

    def wait_for(self, env_steps: int) -> None:
        """Until a trial has reported that many, and every other whose process runs has reported,
        so that whichever is struck is known.

        Raises:
            TimeoutError: the client has ended before.
        """

        def is_there() -> bool:
            if self._client is not None and self._client.poll():
                raise TimeoutError(f"the client has ended: {' / '.join(self.said()[-8:])}")
            under_way = [one[-1] for one in self.rows().values() if one and one[-1] < ENV_STEPS]
            return max(under_way, default=0) >= env_steps and len(under_way) >= len(
                self.trial_processes()
            )

        self.wait(is_there, f"{env_steps:,} env steps")

    def wait_for_all(self, env_steps: int) -> None:
        """Until every trial has reported more than that many."""

        def are_there() -> bool:
            rows = self.rows().values()
            return len(rows) == NUM_TRIALS and all(max(one, default=0) > env_steps for one in rows)

        self.wait(are_there, f"all trials to pass {env_steps:,} env steps")

    def wait(self, is_there: Callable[[], bool], what: str) -> None:
        """Until something is so; meanwhile nodes that ended by themselves are started again.

        Raises:
            TimeoutError: it never was, or what was submitted is a mistake.
        """

        def look() -> bool:
            self.stage.lab.tend()
            if self._client is not None and self._client.poll() == EXIT_USAGE:
                raise TimeoutError(f"a mistake was submitted: {' / '.join(self.said()[-4:])}")
            return is_there()

        wait_until(look, f"{self.study}: {what}", self.output)

    def under_way(self) -> dict[str, int]:
        """Env steps that every trial will have reported soon that has begun and not ended."""
        return {
            trial: max(rows) + BATCH
            for trial, rows in self.rows().items()
            if rows and max(rows) < ENV_STEPS
        }

    def recovery(self, struck: float, goal: Mapping[str, int] | None = None) -> float:
        """Seconds from then until every trial is where it was and goes on.

        Args:
            struck: time of the fault, of `time.monotonic`.
            goal: what `under_way` gave then; None: what it gives now.

        Raises:
            TimeoutError: they never are, or none was under way.
        """
        goal = self.under_way() if goal is None else goal
        if not goal:
            raise TimeoutError(f"{self.study}: no trial was under way when the fault struck")

        def is_back() -> bool:
            rows = self.rows()
            # What was on its way when the fault struck doesn't count: one report more.
            return all(
                max(rows[trial][-1:], default=0) >= min(least + BATCH, ENV_STEPS)
                for trial, least in goal.items()
            )

        self.wait(is_back, "trials to go on")
        return time.monotonic() - struck

    def end(self, client: subprocess.Popen[bytes]) -> int:
        """Waits for a client to end; returns its exit status."""
        self.wait(lambda: client.poll() is not None, "the job to end")
        return int(client.returncode)

    def attend(self) -> int:
        """Shows the newest job until it ends; returns the exit status."""
        return self.end(self.client("attach", self.study))

    def trial_processes(self, name: str = "ray::Trial") -> list[tuple[Machine, int]]:
        """Where processes run whose command line begins so."""
        return [
            (machine, pid)
            for machine in self.stage.lab.workers
            for pid, line in machine.processes()
            if line.startswith(name)
        ]

    def driver_pids(self) -> list[int]:
        """Processes of the job's driver."""
        return [
            pid
            for machine in self.stage.lab.machines
            for pid, line in machine.processes()
            if f"clowder.py sweep {self.recipe}" in line
        ]

    def mistakes_in_mlflow(self) -> str:
        """What MLflow has twice or lacks of what was reported; empty if nothing."""
        steps = self.stage.server.steps(self.study)
        for trial, rows in self.rows().items():
            found = steps.get(trial, [])
            if twice := len(found) - len(set(found)):
                return f"MLflow has {twice} points of {trial} twice"
            if lacking := len(set(rows) - set(found)):
                return f"MLflow lacks {lacking} points of {trial}"
        return ""

    def outcome(
        self, status: int, recovery_s: float, *, intervals: int = 1, told: str = "", wrong: str = ""
    ) -> Outcome:
        """Of a sweep that must end well, with so many checkpoint intervals a trial lost at most."""
        rows = self.rows()
        lost = max((lost_steps(one) for one in rows.values() if one), default=0)
        least = self.least()
        allowed = intervals * (CHECKPOINT_ENV_STEPS + BATCH)
        if status:
            wrong = f"exit {status}: " + " / ".join(self.said()[-8:])
        if len(rows) != NUM_TRIALS or least < ENV_STEPS:
            wrong = wrong or f"{len(rows)} trials, the least at {least:,}"
        if lost > allowed:
            wrong = wrong or "too much lost"
        wrong = wrong or self.mistakes_in_mlflow()
        return Outcome(
            fault=self.study,
            bar=f"completes, at most {allowed:,} lost a trial" if intervals else "nothing lost",
            holds=not wrong,
            env_steps=least,
            lost_env_steps=lost,
            recovery_s=recovery_s,
            told=wrong or told,
        )


def client_environment(lab: Lab, tree: Path) -> dict[str, str]:
    """Of a command that runs a tree's sources against the lab."""
    return without_ray(os.environ) | lab.client_environment | {"PYTHONPATH": str(tree)}


def wait_until(
    is_so: Callable[[], bool], what: str, output: Path, patience_s: float = PATIENCE_S
) -> None:
    """
    Raises:
        TimeoutError: it never was.
    """
    end = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > end:
            words = output.read_text(errors="replace")[-3000:] if output.exists() else ""
            raise TimeoutError(f"waited {patience_s:.0f} s for {what}: {words}")
        time.sleep(0.1)


@contextlib.contextmanager
def staged(options: Options) -> Iterator[Stage]:
    """A stage, taken down at the end."""
    folder = folder_of("stage-")
    small = folder / "small"
    small.mkdir()
    # Before the nodes start: each has mounts of its own from then on.
    has_small = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", str(small)],
        check=False, capture_output=True,
    ).returncode  # fmt: skip
    server: TrackingServer | None = None
    try:
        password = os.urandom(12).hex()
        environment = {USER: "admin", PASSWORD: password}
        lab = Lab(options, environment)
        try:
            server = TrackingServer(folder / "mlflow", lab.host_address, password)
            server.start()
            with lab:
                yield Stage(
                    lab=lab, server=server, folder=folder, small=small if has_small else None
                )
        finally:
            lab.close()
    finally:
        if server is not None:
            server.stop()
        if has_small:
            subprocess.run(["umount", "--lazy", str(small)], check=False)
        shutil.rmtree(folder, ignore_errors=True)
