"""`clowder submit`, against a job server that is played here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

import clowder
from cluster import jobs, submit

ADDRESS = "http://127.0.0.1:8265"


class Server:
    """Jobs, what they say, and what they are told."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.submitted: list[dict[str, Any]] = []
        self.shipped: set[str] = set()
        self.says = ["running\n", "[0:01] 1/2 trials done\n"]
        self.ends = "SUCCEEDED"
        self.breaks = 0
        self.error: Exception = RuntimeError("WebSocket connection closed unexpectedly")
        self.falls_silent = False

    def add(self, job: str, study: str, status: str, start: int = 1000) -> None:
        self.jobs[job] = SimpleNamespace(
            submission_id=job,
            metadata={jobs.STUDY: study},
            status=SimpleNamespace(value=status),
            start_time=start,
            end_time=None,
            message="Job entrypoint command failed with exit code 1, last available logs (...)\nx",
        )

    def submit_job(self, **what: Any) -> None:
        self.submitted.append(what)
        folder = Path(what["runtime_env"]["working_dir"])
        self.shipped = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
        self.add(what["submission_id"], what["metadata"][jobs.STUDY], "RUNNING")

    def list_jobs(self) -> list[Any]:
        return [*self.jobs.values(), SimpleNamespace(metadata=None, submission_id="foreign")]

    def get_job_info(self, job: str) -> Any:
        return self.jobs[job]

    def get_job_status(self, job: str) -> Any:
        if job not in self.jobs:
            raise RuntimeError("Request failed with status code 404: Job one does not exist")
        if self.falls_silent:
            raise ConnectionError("no route to host")
        return self.jobs[job].status

    def stop_job(self, job: str) -> None:
        self.ends = "STOPPED"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for index, text in enumerate(self.says):
            if index and self.breaks:
                self.breaks -= 1
                raise self.error
            if self.falls_silent and index:
                await asyncio.sleep(3600)
            yield text
        self.jobs[job].status.value = self.ends


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(jobs, "connect", lambda address: found)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in ("MLFLOW_TRACKING_URI", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return found


def run(*words: str) -> int:
    return clowder.main(["submit", *words, "--address", ADDRESS])


def test_a_sweep_is_sent_followed_and_told(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert run("sweep", "smoke", "--rewards.alive", "0.5", "--driver-cpus=1") == 0
    (sent,) = server.submitted
    assert sent["entrypoint"] == ("python clowder.py sweep smoke --rewards.alive 0.5 --resume auto")
    assert sent["entrypoint_num_cpus"] == 1
    environment = sent["runtime_env"]["env_vars"]
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert environment["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert not [one for one in environment if "TOKEN" in one or "PASSWORD" in one]
    out = capsys.readouterr().out
    assert "[0:01] 1/2 trials done" in out and "has ended: succeeded" in out


def test_what_is_sent_is_the_platform_and_nothing_else(server: Server) -> None:
    assert run("train", "smoke", "--detach") == 0
    assert {"clowder.py", "cluster/submit.py", "native/batch.c"} <= server.shipped
    assert "env/player/page.html" in server.shipped
    assert [one for one in server.shipped if one.startswith("clowder_native")]
    rooms = {one.partition("/")[0] for one in server.shipped if "/" in one}
    assert rooms == {"native", "env", "models", "algorithms", "experiments", "cluster"}
    assert not [one for one in server.shipped if one.endswith(".pyc")]


def test_a_mistake_in_the_recipe_is_found_here(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sweep", "smoke", "--rewards.alvie", "1") == 2
    assert "alive" in capsys.readouterr().err and not server.submitted


@pytest.mark.parametrize("flag", [[], ["--run.tracking-uri", "http://me:secret@mlflow"]])
def test_a_password_never_travels(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: list[str],
) -> None:
    if not flag:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow")
    assert run("sweep", "smoke", *flag) == 2
    told = capsys.readouterr().err
    assert "password" in told and "secret" not in told and not server.submitted


def test_a_store_of_this_machine_is_not_the_clusters(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert run("sweep", "smoke", "--detach") == 0
    assert "MLFLOW_TRACKING_URI" not in server.submitted[0]["runtime_env"]["env_vars"]


def test_a_study_that_runs_is_not_sent_again(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("smoke-1", "smoke", "RUNNING")
    assert run("sweep", "smoke") == 2
    assert "job smoke-1 runs the study 'smoke'" in capsys.readouterr().err
    server.add("smoke-1", "smoke", "FAILED")
    assert run("sweep", "smoke", "--detach") == 0


def test_ctrl_c_lets_go_and_says_how_to_come_back(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "follow", interrupted)
    assert run("sweep", "smoke") == 130
    out = capsys.readouterr().out
    job = server.submitted[0]["submission_id"]
    assert f"let go of {job}, which goes on" in out
    assert f"clowder submit attach {job} --address {ADDRESS}" in out


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", 130)])
def test_the_exit_status_is_the_jobs(
    server: Server, status: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("one", "study", "RUNNING")
    server.ends = status
    assert run("attach", "study") == code
    err = capsys.readouterr().err
    assert err == (
        "clowder: Job entrypoint command failed with exit code 1.\n" if status == "FAILED" else ""
    )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("WebSocket connection closed unexpectedly"),
        aiohttp.ServerDisconnectedError(),  # a tunnel whose other end is gone
        aiohttp.WSServerHandshakeError(None, (), status=500),  # type: ignore[arg-type]
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_connection_is_made_again_and_nothing_is_shown_twice(
    server: Server, error: Exception
) -> None:
    server.add("one", "study", "RUNNING")
    server.breaks, server.error = 2, error
    shown: list[str] = []
    assert jobs.follow(server, "one", shown.append) == "SUCCEEDED"
    assert "".join(shown) == "".join(server.says)


def test_who_was_cut_off_without_a_word_asks_and_connects_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "QUIET_S", 0.05)
    server.add("one", "study", "RUNNING")
    server.falls_silent = True
    real = jobs._within

    def comes_back(seconds: float, call: Any) -> Any:
        try:
            return real(seconds, call)
        finally:
            server.falls_silent = False

    monkeypatch.setattr(jobs, "_within", comes_back)
    shown: list[str] = []
    assert jobs.follow(server, "one", shown.append) == "SUCCEEDED"
    assert "".join(shown) == "".join(server.says)


def test_a_call_without_an_answer_is_given_up() -> None:
    with pytest.raises(TimeoutError, match="no answer in 0 s"):
        jobs._within(0.05, lambda: threading.Event().wait(5))
    with pytest.raises(ValueError, match="mine"):
        jobs._within(5, lambda: int("mine"))


def test_a_head_that_was_started_anew_knows_the_job_no_more(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("one", "study", "RUNNING")
    server.breaks = 10**6
    found = server.jobs["one"]
    server.list_jobs = lambda: [found]  # type: ignore[method-assign]
    del server.jobs["one"]
    assert run("attach", "one") == 2
    assert "knows no job one any more" in capsys.readouterr().err


def test_a_cluster_that_is_gone_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("one", "study", "RUNNING")
    server.breaks = 10**6
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    assert run("attach", "one") == 2
    assert "submit the same again to another one" in capsys.readouterr().err


def test_stop_waits_for_the_end(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.add("one", "study", "RUNNING")
    assert run("stop", "one") == 0
    assert "one has ended: stopped" in capsys.readouterr().out
    assert run("stop", "one") == 0
    assert "has ended before" in capsys.readouterr().out


def test_the_list_is_of_our_jobs_the_newest_first(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("old", "study", "FAILED", start=1000)
    server.add("new", "study", "RUNNING", start=2000)
    assert run("list") == 0
    out = capsys.readouterr().out
    assert out.index("new") < out.index("old") and "foreign" not in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lits"], "did you mean 'list'"),
        (["attach"], "not what submit attach takes"),
        (["list", "more"], "not what submit list takes"),
        (["attach", "nope"], "no job 'nope' on this cluster; there are: none"),
        (["sweep", "smoke", "--driver-cpus", "many"], "--driver-cpus"),
    ],
)
def test_mistakes_are_one_sentence(
    server: Server, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("", "name its job server with --address"),
        ("127.0.0.1:8265", "is no job server's address"),
        ("http://127.0.0.1:1", "no Ray job server answers at http://127.0.0.1:1"),
    ],
)
def test_addresses_that_lead_nowhere(
    address: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert clowder.main(["submit", "list", "--address", address]) == 2
    assert told in capsys.readouterr().err


def test_the_help_imports_nothing_and_names_every_verb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert clowder.main(["submit", "--help"]) == 0
    assert capsys.readouterr().out == submit.USAGE + "\n"
    assert clowder.main(["--help"]) == 0
    assert "submit VERB" in capsys.readouterr().out
