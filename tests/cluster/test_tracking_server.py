"""MLflow's server: who may ask, and what a stranger gets."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.ports import free_port
from cluster.tracking_server import Options, main, password_file, prepare
from env.errors import BadInputError

API = "/api/2.0/mlflow/experiments/search?max_results=1"
START_S = 120.0


def test_no_secret_is_on_the_command_line_and_all_stay_private(tmp_path: Path) -> None:
    database = "postgresql://clowder:hidden@db/clowder"
    command, environment = prepare(
        Options(folder=str(tmp_path / "kept")), {"MLFLOW_BACKEND_STORE_URI": database}
    )
    password = environment["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert password == password_file(tmp_path / "kept").read_text().strip()
    assert len(password) >= 32
    for secret in (password, environment["MLFLOW_FLASK_SERVER_SECRET_KEY"], "hidden"):
        assert secret not in " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == database
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "kept").iterdir()} == {0o600}
    assert password not in (tmp_path / "kept" / "auth.ini").read_text()


def test_secrets_stay_from_start_to_start(tmp_path: Path) -> None:
    first, again = (prepare(Options(folder=str(tmp_path)), {}) for _ in range(2))
    assert first == again


def test_a_password_of_ones_own_is_not_written_anywhere(tmp_path: Path) -> None:
    _, environment = prepare(
        Options(folder=str(tmp_path)), {"MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery"}
    )
    assert environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == "correct horse battery"
    assert not password_file(tmp_path).exists()


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (Options(host="0.0.0.0"), {}, "'0.0.0.0' can be called from elsewhere"),
        (Options(allowed_hosts=("*",)), {}, "names that anybody can make up"),
        (Options(port=70_000), {}, "port 70000 is none"),
        (Options(workers=0), {}, "0 workers answer nobody"),
        (Options(), {"MLFLOW_AUTH_ADMIN_PASSWORD": "short"}, "is too short"),
        (Options(folder="/proc/nowhere"), {}, "can't be written"),
    ],
)
def test_what_would_be_open_or_can_not_be_is_refused(
    options: Options, environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    if options.folder == Options().folder:
        options = Options(**(vars(options) | {"folder": str(tmp_path)}))
    with pytest.raises(BadInputError, match=message):
        prepare(options, environment)


def test_bad_options_end_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "0.0.0.0"]) == 2
    assert "--allowed-hosts" in capsys.readouterr().err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A running one: its address and the first user's password."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command, environment = prepare(
        Options(folder=str(folder), port=port, workers=1), dict(os.environ)
    )
    base = f"http://127.0.0.1:{port}"
    said = folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while ask(base + "/health") != 200:
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        yield base, password_file(folder).read_text().strip()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(
    url: str, method: str = "GET", *, password: str | None = None, host: str | None = None
) -> int:
    """The status of an answer; 0 if there is none."""
    request = urllib.request.Request(url, method=method, data=b"{}" if method != "GET" else None)
    request.add_header("Content-Type", "application/json")
    if password is not None:
        word = base64.b64encode(f"admin:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    if host is not None:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", API),
        ("POST", "/api/2.0/mlflow/experiments/create"),
        ("POST", "/api/2.0/mlflow/runs/delete"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/stolen.txt"),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/run.txt"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=0"),
        ("POST", "/api/2.0/mlflow/users/create"),
    ],
)
def test_strangers_are_refused(server: tuple[str, str], method: str, path: str) -> None:
    base, _ = server
    assert ask(base + path, method) == 401
    assert ask(base + path, method, password="wrong password here") == 401


def test_whoever_has_the_password_is_let_in(server: tuple[str, str]) -> None:
    base, password = server
    assert ask(base + API, password=password) == 200


def test_a_name_that_is_not_allowed_is_refused(server: tuple[str, str]) -> None:
    base, password = server
    assert ask(base + API, password=password, host="elsewhere.example") == 403
