"""A real SQLite store, a double of MLflow's server, and a disk that can be full."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from experiments.tracking import RunInfo, Tracker, TrackerConfig
from experiments.tracking.store import connect

# Bounds that keep the tests short; set before MLflow is imported anywhere.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_JITTER"] = "0"
os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "5"

WAIT_S = 60.0
"""Bound of every wait; never reached by a passing test."""


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables: making them takes seconds, copying them nothing."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    """A folder with an empty `mlflow.db`, as of a repository."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(root: Path) -> Any:
    """Reads the store in `root`."""
    return connect(f"sqlite:///{root}/mlflow.db")


MakeTracker = Callable[..., Tracker]


@pytest.fixture
def make_tracker(root: Path) -> Iterator[MakeTracker]:
    """Makes trackers of the study `study` with the spool `root/spool`, and closes them."""
    trackers: list[Tracker] = []

    def make(
        client: Callable[[str], Any] = connect,
        backoff_s: tuple[float, float] = (0.02, 0.1),
        **changes: Any,
    ) -> Tracker:
        config = {"study": "study", "spool_dir": root / "spool", "root": root, **changes}
        trackers.append(Tracker(TrackerConfig(**config), client=client, backoff_s=backoff_s))
        return trackers[-1]

    yield make
    for tracker in trackers:
        tracker.close(0.0)


def start(tracker: Tracker, *keys: str) -> None:
    """Starts the parent run and children."""
    tracker.start_run("parent", RunInfo(name="sweep"))
    for key in keys:
        tracker.start_run(key, RunInfo(name=f"trial {key}"))


def history(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    """A metric's (step, value) pairs in the order of their steps, repeated ones included."""
    return sorted((m.step, m.value) for m in client.get_metric_history(run_id, name))


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


class Down:
    """A client factory that fails until it is let up, and tells when it was first asked."""

    def __init__(self) -> None:
        self.is_up = threading.Event()
        self.asked = threading.Event()

    def __call__(self, uri: str) -> Any:
        self.asked.set()
        if not self.is_up.is_set():
            raise ConnectionError("[Errno 111] Connection refused")
        return connect(uri)


@pytest.fixture
def down() -> Down:
    """A store that is down until `down.is_up.set()`."""
    return Down()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The sentences that tracking has warned of so far."""
    return lambda: [r.getMessage() for r in caplog.records if r.name == "clowder.tracking"]


class FullDisk:
    """Makes writes to spool files fail, after a part of the line was written, while `full`."""

    def __init__(self) -> None:
        self.full = False
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        """Stands in for `os.write`."""
        if self.full and os.readlink(f"/proc/self/fd/{fd}").endswith(".jsonl"):
            self._write(fd, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """The disk of the spool."""
    disk = FullDisk()
    monkeypatch.setattr("experiments.tracking.spool.os.write", disk.write)
    return disk


MISBEHAVIOUR = {
    "errors": (503, b"busy"),
    "no login": (401, b"You are not authenticated."),
    "another program": (404, b'{"detail": "Not Found"}'),
    "a web server": (404, b"<h1>Not Found</h1>"),
    "a proxy": (400, b"Bad Request"),
}
"""Answers that are not MLflow's, or not to the question: status and body."""


class ServerDouble:
    """As much of MLflow's REST API as tracking uses, in memory; and three ways to misbehave."""

    def __init__(self) -> None:
        self.mode = "up"
        """`up`, `hang` (no answer before `release`), or a key of `MISBEHAVIOUR`."""
        self.asked = threading.Event()
        self.release = threading.Event()
        self.repeats = 0
        """How many of the next runs get created twice, as if a request had been sent again."""
        self.calls: list[str] = []
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self._answer(url.path, query)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(self.path, json.loads(body))

            def _answer(self, path: str, args: dict[str, Any]) -> None:
                double.asked.set()
                if double.mode == "hang":
                    double.release.wait(WAIT_S)
                if double.mode in MISBEHAVIOUR:
                    self._send(*MISBEHAVIOUR[double.mode])
                    return
                with double._lock:
                    status, content = double.answer(path.rpartition("/mlflow/")[2], args)
                self._send(status, json.dumps(content).encode())

            def _send(self, status: int, body: bytes) -> None:
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the client has given up

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, call: str, args: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answers a call."""
        self.calls.append(call)
        run = self.runs.get(args.get("run_id", ""))
        match call:
            case "experiments/get-by-name" if args["experiment_name"] in self.experiments:
                return 200, {"experiment": self.experiments[args["experiment_name"]]}
            case "experiments/create":
                experiment = {"experiment_id": "7", "name": args["name"]}
                self.experiments[args["name"]] = {**experiment, "lifecycle_stage": "active"}
                return 200, {"experiment_id": "7"}
            case "runs/search":
                wanted = args["filter"].split("'")[1]
                marked = [
                    run
                    for run in self.runs.values()
                    if {"key": "clowder.run", "value": wanted} in run["data"]["tags"]
                ]
                return 200, {"runs": marked}
            case "runs/create":
                if self.repeats:
                    self.repeats -= 1
                    self.answer(call, args)
                run_id = uuid.uuid4().hex
                info = {"run_id": run_id, "experiment_id": "7", "run_name": args["run_name"]}
                info |= {"status": "RUNNING", "lifecycle_stage": "active"}
                self.runs[run_id] = {
                    "info": info,
                    "data": {"tags": args["tags"], "metrics": [], "params": []},
                }
                return 200, {"run": self.runs[run_id]}
            case "runs/delete" if run:
                del self.runs[args["run_id"]]
                return 200, {}
            case "runs/get" if run:
                return 200, {"run": run}
            case "runs/log-batch" if run:
                for kind in ("metrics", "params", "tags"):
                    run["data"][kind] += args.get(kind, [])
                return 200, {}
            case "runs/update" if run:
                run["info"]["status"] = args["status"]
                return 200, {"run_info": run["info"]}
            case "metrics/get-history" if run:
                points = [m for m in run["data"]["metrics"] if m["key"] == args["metric_key"]]
                return 200, {"metrics": points}
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no {call} {args}"}

    def close(self) -> None:
        """Lets hanging requests go, and stops listening."""
        self.mode = "up"
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[ServerDouble]:
    """MLflow's server, as far as tracking can tell."""
    double = ServerDouble()
    yield double
    double.close()
