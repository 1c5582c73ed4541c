"""MLflow's pages for a store on this machine, opened on the newest sweep's charts."""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator
from pathlib import Path

from experiments.tracking.address import chart_url, is_server, redact, resolve_tracking_uri
from experiments.tracking.charts import TAG, share_key
from experiments.tracking.failures import Unavailable
from experiments.tracking.store import connect

START_S = 120.0
"""Within which MLflow must answer; on a cold disk it takes half a minute."""
NEWEST = 100
"""Runs among which a sweep is looked for."""


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
    """
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
        Unavailable: the port is taken, there is no such store, or MLflow doesn't start.
    """
    if is_server(tracking_uri):
        _show(newest_view(tracking_uri, tracking_uri), browse)
        return 0
    uri = resolve_tracking_uri(tracking_uri, Path.cwd())
    database = uri.removeprefix("sqlite:///").partition("?")[0]
    if uri.startswith("sqlite:///") and not Path(database).exists():
        raise Unavailable(
            f"there are no runs in {database} yet; `make sweep` makes some, and "
            "MLFLOW_TRACKING_URI names another store"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(
                f"port {port} can't be had ({error.strerror}); name another: make ui PORT=5001"
            ) from None
    base = f"http://127.0.0.1:{port}"
    link = newest_view(uri, base)  # before there is a server: it also makes or checks the tables
    try:
        with running(uri, artifact_root, port) as server:
            _show(link, browse)
            print("Ctrl-C ends it", flush=True)
            return server.wait()
    except KeyboardInterrupt:
        return 0


@contextlib.contextmanager
def running(tracking_uri: str, artifact_root: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server of a database, which answers inside and is gone after.

    Raises:
        Unavailable: it doesn't start.
    """
    command = server_command(tracking_uri, artifact_root, port)
    with tempfile.TemporaryFile() as said:
        # In a group of its own: MLflow's workers outlive a parent that is told to end.
        server = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if not _answers(server, f"http://127.0.0.1:{port}"):
                said.seek(0)
                words = said.read().decode(errors="replace").strip().splitlines()
                raise Unavailable(
                    f"MLflow did not start ({redact(words[-1]) if words else 'it said nothing'}); "
                    f"see what it says: {redact(shlex.join(command))}"
                )
            yield server
        finally:
            signal.signal(signal.SIGTERM, before)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(server: subprocess.Popen[bytes], base: str) -> bool:
    """Whether MLflow answers, once it does or has ended or has had its time."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=2):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def _show(link: str, browse: bool) -> None:
    """Says the link; opens it where there is a screen."""
    print(f"MLflow    {link}", flush=True)
    if browse and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(link)
