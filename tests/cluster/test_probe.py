"""`clowder doctor --address`: doors that are closed, open, or not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

import clowder
from cluster import jobs, probe
from cluster.ports import free_ports

TOKEN = "a token that only this test has, 0123456789"


class Answers(BaseHTTPRequestHandler):
    """A web server that says the same to all."""

    status = 200
    asked: list[str]

    def answer(self) -> None:
        self.asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args: object) -> None:
        """Nothing to say."""


@pytest.fixture
def web(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """A server with the status that the test asks for: its address, and what it was asked."""
    asked: list[str] = []
    handler = type("Handler", (Answers,), {"status": request.param, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("web", [200, 400, 302, 404, 500], indirect=True)
def test_whatever_answers_a_stranger_is_open(web: tuple[str, list[str]]) -> None:
    address, asked = web
    assert {one.state for one in probe.probe_mlflow(address)} == {"open"}
    assert {one.partition(" ")[0] for one in asked} == {"GET", "POST", "PUT", "DELETE"}


@pytest.mark.parametrize("web", [401, 403], indirect=True)
def test_a_refusal_is_a_closed_door_and_no_password_was_tried(
    web: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    address, asked = web
    with_password = address.replace("http://", "http://admin:hidden@")
    found = list(probe.probe_mlflow(with_password))
    assert {one.state for one in found} == {"refused"}
    assert all(one.endswith(" None") for one in asked)
    assert "hidden" not in "".join(one.door for one in found)


@pytest.mark.parametrize("web", [200], indirect=True)
def test_an_open_cluster_ends_with_1_and_the_remedy(
    web: tuple[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert clowder.main(["doctor", "--address", web[0]]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "RAY_AUTH_MODE=token" in out and f"chmod 600 {token}" in out
    assert "MLflow was not asked" in out and "that answered stand open" in out
    assert TOKEN not in out


def test_an_open_gcs_is_seen() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: object) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(lambda message, context: b"")

    server.add_generic_rpc_handlers((Everything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        found = probe._grpc("GCS", "127.0.0.1", port, "/ray.rpc.X/Y")
        assert (found.state, found.said) == ("open", "ok")
    finally:
        server.stop(None)


def test_nobody_there_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = free_ports(4)
    for name, port in zip(("GCS_PORT", "AGENT_PORT", "CLIENT_PORT"), ports, strict=False):
        monkeypatch.setattr(probe, name, port)
    monkeypatch.setattr(probe, "METRICS_PORTS", ())
    assert clowder.main(["doctor", "--address", f"http://127.0.0.1:{ports[3]}"]) == 2
    assert "nobody answers at" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--adress", "x"], ["--address"]])
def test_unknown_words_and_missing_values_are_refused(words: list[str]) -> None:
    assert clowder.main(["doctor", *words]) == 2


def test_a_ray_cluster_with_a_token_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real head: job server, agent, GCS and Ray Client."""
    gcs, dashboard, agent, client = free_ports(4)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)  # of the Ray that other tests share
    environment = os.environ | secret
    environment.pop("RAY_ADDRESS", None)
    short = tempfile.mkdtemp(prefix="ray-")  # a socket's path has at most 107 characters
    start = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--num-cpus", "1",
        "--node-ip-address", "127.0.0.1",
        "--port", str(gcs), "--dashboard-port", str(dashboard),
        "--dashboard-agent-listen-port", str(agent), "--ray-client-server-port", str(client),
        "--temp-dir", short, "--disable-usage-stats", "--block",
    ]  # fmt: skip
    said = tmp_path / "said"
    with said.open("wb") as out:
        head = subprocess.Popen(start, env=environment, stdout=out, stderr=out)
    try:
        for name, port in (("GCS_PORT", gcs), ("AGENT_PORT", agent), ("CLIENT_PORT", client)):
            monkeypatch.setattr(probe, name, port)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        address = f"http://127.0.0.1:{dashboard}"
        monkeypatch.setattr(probe, "METRICS_PORTS", ())  # another cluster's, perhaps
        for _ in range(60):  # until the last of its processes answers
            nodes = jobs.nodes(address)
            found = list(probe.probe_cluster(address, nodes))
            if nodes and all(one.state != "no answer" for one in found):
                break
            assert head.poll() is None, said.read_text()
            threading.Event().wait(1)
        assert {one.door.partition("  ")[0]: one.state for one in found} == {
            "job server: list jobs": "refused",
            "job server: submit a job": "refused",
            "job server: read the cluster's state": "refused",
            "GCS: list all jobs": "refused",
            "Ray Client: open a session": "refused",
            "agent: submit a job": "refused",
            "node: make an environment": "refused",
            "node: read its load": "refused",
            "node: pull an object": "refused",
            "node: report figures": "refused",
            "metrics: read figures": "figures",
        }
        assert clowder.main(["doctor", "--address", address]) == 0
        out = capsys.readouterr().out
        assert "none of 12 that answered stands open" in out and "figures: Ray tells" in out
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr(probe, "AGENT_PORT", agent)
        assert clowder.main(["doctor", "--address", address]) == 0
        assert "only the head was asked" in capsys.readouterr().out
    finally:
        head.terminate()
        head.wait()
        shutil.rmtree(short, ignore_errors=True)
