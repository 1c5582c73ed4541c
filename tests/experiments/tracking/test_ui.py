"""`make ui`: MLflow's pages, opened on the newest sweep's charts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cluster.ports import free_port
from experiments.tracking import Unavailable, ui
from experiments.tracking.charts import share_key
from experiments.tracking.ui import newest_view, serve, server_command

from .conftest import MakeTracker, start


def test_the_server_stays_on_this_machine() -> None:
    command = server_command("sqlite:////repo/mlflow.db", "/repo/my artifacts", 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--artifacts-destination") + 1] == "/repo/my artifacts"


def test_the_link_is_the_newest_sweeps_view(
    root: Path, make_tracker: MakeTracker, client: Any
) -> None:
    store = f"sqlite:///{root}/mlflow.db"
    base = "http://127.0.0.1:5000"
    assert newest_view(store, base) == base, "an empty store has no charts"
    tracker = make_tracker()
    start(tracker)
    assert tracker.drain(60)
    assert "viewStateShareKey" not in newest_view(store, base), "no sweep arranged a view"
    tracker.share_view(["rewards.alive"], [])
    assert tracker.drain(60)
    parent = str(tracker.run_id())
    link = newest_view(store, base)
    assert link.endswith(f"&viewStateShareKey={share_key(parent)}")
    # Somebody's run beside it, later, in an experiment that no sweep made.
    other = client.create_experiment("by hand")
    client.create_run(other, start_time=2**42)
    assert newest_view(store, base) == link


def test_without_runs_it_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="make sweep"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", "mlartifacts")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_taken_port_is_named(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} .* PORT=5001"):
            serve(f"sqlite:///{root}/mlflow.db", "mlartifacts", port=port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(root: Path, client: Any, port: int) -> None:
    with pytest.raises(Unavailable, match=f"port {port} .*1 to 65535"):
        serve(f"sqlite:///{root}/mlflow.db", "mlartifacts", port=port)


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match=r"mlflow\.db can't be read: .*not a database"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", "mlartifacts", port=free_port())


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unavailable, match="can't be read: connection refused"):
        serve(f"http://127.0.0.1:{free_port()}", "mlartifacts")


ANSWERS_ONCE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).handle_request()
sys.exit("out of memory")
"""


def test_pages_that_end_by_themselves_say_so(
    root: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(_uri: str, _artifacts: str, port: int) -> list[str]:
        return [sys.executable, "-c", ANSWERS_ONCE, str(port)]

    monkeypatch.setattr(ui, "server_command", fake)
    with pytest.raises(Unavailable, match=r"ended with status 1 \(out of memory\)"):
        serve(f"sqlite:///{root}/mlflow.db", "mlartifacts", port=free_port(), browse=False)


def test_a_closed_terminal_leaves_no_server(root: Path, client: Any) -> None:
    port = free_port()
    command = [sys.executable, "-m", "experiments.tracking", "ui", "--no-browser"]
    store = ["--tracking-uri", f"sqlite:///{root}/mlflow.db", "--port", str(port)]
    # A proxy that nobody runs: this machine is reached without.
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    with subprocess.Popen(
        command + store, stdout=subprocess.PIPE, text=True, env=environment
    ) as pages:
        assert pages.stdout is not None
        assert pages.stdout.readline().startswith("MLflow    http://127.0.0.1:")
        assert answers(port)
        pages.send_signal(signal.SIGHUP)
        assert pages.wait(30) == 0
    assert not answers(port)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
            return True
    except urllib.error.URLError:
        return False
