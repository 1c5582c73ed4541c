"""MLflow's pages for a store on this machine, opened on the newest sweep's charts."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from experiments.tracking.address import chart_url, is_server, redact, resolve_tracking_uri
from experiments.tracking.charts import TAG, share_key
from experiments.tracking.failures import Unavailable, one_sentence
from experiments.tracking.store import connect

START_S = 120.0
"""Within which MLflow must answer; on a cold disk it takes half a minute."""
NEWEST = 100
"""Runs among which a sweep is looked for."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the pages, and the server with them."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine, which no proxy knows."""


@dataclass(frozen=True)
class Server:
    """MLflow's process and its output so far."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]

    def last_words(self) -> str:
        """Its last line, without credentials."""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return redact(lines[-1]) if lines else "it said nothing"


def server_command(tracking_uri: str, artifact_root: str, port: int) -> list[str]:
    """The command that serves a database's pages, on this machine only: they ask for no
    credentials."""
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri,
        "--artifacts-destination", artifact_root, "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip


def newest_view(tracking_uri: str, base: str) -> str:
    """The link to the newest run's charts: as its sweep arranged them, if one did.

    Args:
        tracking_uri: the store.
        base: address of MLflow's pages.

    Raises:
        Unavailable: the store can't be read.
    """
    try:
        return _newest_view(tracking_uri, base)
    except Exception as error:  # MLflow's, its database's or the network's
        raise Unavailable(f"{redact(tracking_uri)} can't be read: {one_sentence(error)}") from error


def _newest_view(tracking_uri: str, base: str) -> str:
    client = connect(tracking_uri)
    experiments = {one.experiment_id: one for one in client.search_experiments()}
    runs = client.search_runs(
        list(experiments), order_by=["attributes.start_time DESC"], max_results=NEWEST
    )
    for run in runs:
        key = share_key(run.data.tags.get("mlflow.parentRunId", run.info.run_id))
        if TAG + key in experiments[run.info.experiment_id].tags:
            return chart_url(base, run.info.experiment_id, view=key)
    return chart_url(base, runs[0].info.experiment_id) if runs else base


def serve(tracking_uri: str, artifact_root: str, *, port: int = 5000, browse: bool = True) -> int:
    """Serves a store's pages until Ctrl-C, and opens them; of a server, only opens them.

    Args:
        tracking_uri: the store; a relative SQLite path is under the working directory.
        artifact_root: folder or URI of artifacts.
        port: TCP port on this machine.
        browse: whether to open a browser, if this machine has a screen.

    Returns:
        The exit status.

    Raises:
        Unavailable: the port can't be had, the store can't be read, or MLflow doesn't start or
            ends by itself.
    """
    with contextlib.suppress(KeyboardInterrupt), _interrupted_by(ENDINGS):
        if is_server(tracking_uri):
            _show(newest_view(tracking_uri, tracking_uri), browse)
            return 0
        uri = resolve_tracking_uri(tracking_uri, Path.cwd())
        _check_database(uri)
        _check_port(port)
        link = newest_view(uri, f"http://127.0.0.1:{port}")  # also makes or checks the tables
        with running(uri, artifact_root, port) as server:
            _show(link, browse)
            print("Ctrl-C ends it", flush=True)
            status = server.process.wait()
            raise Unavailable(f"MLflow ended with status {status} ({server.last_words()})")
    return 0


def _check_database(uri: str) -> None:
    database = uri.removeprefix("sqlite:///").partition("?")[0]
    if uri.startswith("sqlite:///") and not Path(database).exists():
        raise Unavailable(
            f"there are no runs in {database} yet; `make sweep` makes some, and "
            "MLFLOW_TRACKING_URI names another store"
        )


def _check_port(port: int) -> None:
    why = "ports are 1 to 65535"
    if 1 <= port <= 65535:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return
            except OSError as error:
                why = str(error.strerror)
    raise Unavailable(f"port {port} can't be had ({why}); name another: make ui PORT=5001")


@contextlib.contextmanager
def _interrupted_by(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Inside, each of the signals is as Ctrl-C."""
    before = {one: signal.signal(one, signal.default_int_handler) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextlib.contextmanager
def running(tracking_uri: str, artifact_root: str, port: int) -> Iterator[Server]:
    """MLflow's server of a database, which answers inside and is gone after.

    Raises:
        Unavailable: it doesn't start.
    """
    command = server_command(tracking_uri, artifact_root, port)
    # Its helpers for background jobs, which nothing here has, would outlive it.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = None
    with tempfile.TemporaryFile() as said:
        try:
            # In a group of its own: MLflow's workers outlive a parent that is told to end.
            process = subprocess.Popen(
                command, stdout=said, stderr=said, start_new_session=True, env=environment
            )
            server = Server(process, said)
            if not _answers(process, f"http://127.0.0.1:{port}"):
                late = process.poll() is None
                what = f"did not answer in {START_S:.0f} s" if late else "did not start"
                raise Unavailable(
                    f"MLflow {what} ({server.last_words()}); see what it says: "
                    f"{redact(shlex.join(command))}"
                )
            yield server
        finally:
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(process: subprocess.Popen[bytes], base: str) -> bool:
    """Whether MLflow answers, once it does or has ended or has had its time."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with _DIRECT.open(f"{base}/health", timeout=2):
                return True
        except (OSError, http.client.HTTPException):  # not yet, or half an answer
            time.sleep(0.2)
    return False


def _show(link: str, browse: bool) -> None:
    """Says the link; opens it where there is a screen."""
    print(f"MLflow    {link}", flush=True)
    if browse and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(link)
