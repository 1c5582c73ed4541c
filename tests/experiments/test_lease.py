"""Leases: one holder, also among processes that share nothing but a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from env.errors import BadInputError
from experiments.lease import LEASE_FILE, Lease, is_held

QUICK: dict[str, Any] = {"renew_s": 0.05, "expire_s": 1.0}


def foreign(count: int = 0, token: str = "theirs") -> str:
    """A lease of a process on a machine that can't be asked."""
    return json.dumps(
        {"token": token, "count": count, "host": "far", "pid": 7, "where": "there", "born": "1"}
    )


def test_a_second_holder_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    with Lease(tmp_path, what="the study x", **QUICK):
        assert is_held(tmp_path)
        with (
            pytest.raises(BadInputError, match="the study x is being run by process"),
            Lease(tmp_path, what="the study x", **QUICK),
        ):
            pass
    assert not is_held(tmp_path)
    with Lease(tmp_path, what="the study x", **QUICK):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_of_this_machine_is_replaced_at_once(tmp_path: Path, reaped: bool) -> None:
    code = (
        "import os, sys; from pathlib import Path; from experiments.lease import Lease\n"
        "with Lease(Path(sys.argv[1]), what='x'):\n    os.kill(os.getpid(), 9)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if reaped:  # else it stays a zombie, as in containers whose first process reaps nobody
        process.wait()
    assert (tmp_path / LEASE_FILE).exists() and not is_held(tmp_path)
    with Lease(tmp_path, what="x", renew_s=0.05, expire_s=3600.0):
        assert is_held(tmp_path)
    process.wait()


def test_a_silent_holder_elsewhere_is_replaced_after_a_while(tmp_path: Path) -> None:
    (tmp_path / LEASE_FILE).write_text(foreign())
    started = time.monotonic()
    with Lease(tmp_path, what="x", **QUICK):
        assert time.monotonic() - started >= QUICK["expire_s"]
        assert json.loads((tmp_path / LEASE_FILE).read_text())["host"] != "far"


def test_a_living_holder_elsewhere_is_not(tmp_path: Path) -> None:
    ended = threading.Event()

    def renew() -> None:
        count = 0
        while not ended.wait(0.05):
            count += 1
            temporary = tmp_path / "temporary"
            temporary.write_text(foreign(count))
            temporary.replace(tmp_path / LEASE_FILE)

    (tmp_path / LEASE_FILE).write_text(foreign())
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with (
            pytest.raises(BadInputError, match="process 7 on far; wait for it"),
            Lease(tmp_path, what="x", renew_s=0.05, expire_s=60.0),
        ):
            pass
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": "x"}'])
def test_a_damaged_lease_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / LEASE_FILE).write_text(text)
    with Lease(tmp_path, what="x", **QUICK):
        assert is_held(tmp_path)


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    (tmp_path / LEASE_FILE).write_text(foreign())
    holders, refused = [], []
    together = threading.Barrier(8)
    checked = threading.Event()

    def take() -> None:
        together.wait()
        try:
            with Lease(tmp_path, what="x", on_loss=refused.append, **QUICK):
                holders.append(1)
                checked.wait(5)
        except BadInputError as error:
            refused.append(str(error))
        if len(refused) == 7:
            checked.set()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(holders) == 1 and len(refused) == 7


def test_whoever_has_lost_it_is_told_why(tmp_path: Path) -> None:
    told: list[str] = []
    with Lease(tmp_path, what="the study x", on_loss=told.append, **QUICK) as lease:
        (tmp_path / LEASE_FILE).write_text(foreign())
        lease._thread.join(5)
        assert told == [lease.loss]
        assert "no longer run from here: process 7 on far took over" in lease.loss
    assert json.loads((tmp_path / LEASE_FILE).read_text())["host"] == "far"


def test_a_storage_that_is_gone_ends_it(tmp_path: Path) -> None:
    folder, told = tmp_path / "study", []
    folder.mkdir()
    with Lease(folder, what="x", on_loss=told.append, renew_s=0.05, expire_s=0.3) as lease:
        folder.rename(tmp_path / "elsewhere")
        lease._thread.join(5)
    assert len(told) == 1 and "can't be written (No such file or directory)" in told[0]


def test_tune_keeps_its_hands_off_the_file(ray: Any, tmp_path: Path) -> None:
    from ray.train._internal.storage import StorageContext
    from ray.tune.execution.experiment_state import _ExperimentCheckpointManager

    storage = StorageContext(str(tmp_path), "study")
    folder = Path(storage.experiment_fs_path)
    staged = Path(storage.experiment_driver_staging_path)
    for name in (LEASE_FILE, "experiment_state-1.json"):
        (folder / name).write_text("here")
    manager = _ExperimentCheckpointManager(storage=storage, checkpoint_period="auto")
    manager.sync_down_experiment_state()
    assert (staged / "experiment_state-1.json").exists(), "Tune copies no more; is this in vain?"
    assert not (staged / LEASE_FILE).exists()
