"""Machines on this machine, and a cluster of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import jobs, lab
from cluster.lab import Lab, Options, obey
from cluster.machines import (
    Loopback,
    Machine,
    Namespaces,
    clean,
    marked_processes,
    why_no_namespaces,
)
from env.errors import BadInputError

FAMILY = "import os, time\nos.fork()\nos.fork() or os.setsid()\ntime.sleep(600)\n"
"""Four processes, two of which leave their group."""
ECHO = (
    "import socket\nserver = socket.create_server(('', 7000))\n"
    "while True:\n    peer, _ = server.accept()\n    peer.sendall(socket.gethostname().encode())\n"
    "    peer.close()\n"
)


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it is so within twenty seconds."""
    end = time.monotonic() + 20.0
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


def python(machine: Machine, program: str, folder: Path) -> None:
    machine.start([sys.executable, "-c", program], dict(os.environ), folder / "said.txt")


@pytest.fixture(params=["loopback", "namespaces"])
def network(request: pytest.FixtureRequest) -> Iterator[Loopback | Namespaces]:
    if request.param == "namespaces" and (why := why_no_namespaces()):
        pytest.skip(f"namespaces: {why}")
    made = Loopback if request.param == "loopback" else Namespaces
    found = made(["head", "node1"])
    yield found
    for machine in found.machines:
        machine.power_off()
    found.remove()


def test_power_off_leaves_nothing_of_that_machine_and_all_of_others(
    network: Loopback | Namespaces, tmp_path: Path
) -> None:
    head, node = network.machines
    for machine in (head, node):
        python(machine, FAMILY, tmp_path)
        assert eventually(lambda one=machine: len(list(one.processes())) >= 4)  # type: ignore[misc]
    assert node.is_on and not node.has_ended
    node.power_off()
    assert not list(node.processes())
    assert not node.is_on and not node.has_ended  # it was us
    assert head.is_on and len(list(head.processes())) >= 4


def test_what_ends_by_itself_is_told_apart(network: Loopback | Namespaces, tmp_path: Path) -> None:
    (node, *_) = network.machines
    python(node, "print('bye')", tmp_path)
    assert eventually(lambda: node.has_ended)
    assert not node.is_on and (tmp_path / "said.txt").read_text() == "bye\n"


def test_a_pulled_cable_parts_machines_until_it_is_back(tmp_path: Path) -> None:
    if why := why_no_namespaces():
        pytest.skip(f"namespaces: {why}")
    network = Namespaces(["head", "node1"])
    try:
        (_, node) = network.machines

        def answers() -> bool:
            try:
                with socket.create_connection((node.address, 7000), timeout=1) as peer:
                    return peer.recv(64) == b"node1"  # its own host name
            except OSError:
                return False

        python(node, ECHO, tmp_path)
        assert eventually(answers)
        node.unplug()
        assert not answers() and node.is_on
        node.plug()
        assert eventually(answers)
    finally:
        for machine in network.machines:
            machine.power_off()
        network.remove()


def test_a_private_machine_is_reached_by_one_only(tmp_path: Path) -> None:
    if why := why_no_namespaces():
        pytest.skip(f"namespaces: {why}")
    network = Namespaces(["head", "node1"])
    private = network.add_private("redis", network.machines[0])
    ask = (
        "import socket, sys\ntry:\n    socket.create_connection((sys.argv[1], 7000), 3)\n"
        "except OSError:\n    print('no way', flush=True)\nelse:\n    print('there', flush=True)\n"
    )
    try:
        python(private, ECHO, tmp_path)
        found = {}
        for machine in network.machines:
            said = tmp_path / f"{machine.name}.txt"
            time.sleep(1.0)
            command = [sys.executable, "-c", ask, private.address]
            machine.start(command, dict(os.environ), said)
            assert eventually(lambda one=machine: one.has_ended)  # type: ignore[misc]
            found[machine.name] = said.read_text()
        assert found == {"head": "there\n", "node1": "no way\n"}
    finally:
        for machine in (*network.machines, private):
            machine.power_off()
        network.remove()


def test_what_a_killed_lab_has_left_is_removed_and_nothing_of_one_that_lives(
    tmp_path: Path,
) -> None:
    mine = Machine("mine", "node1", "127.0.0.2")
    python(mine, "import time; time.sleep(600)", tmp_path)
    owner = (
        "import os, time; from pathlib import Path\n"
        "from cluster.machines import Machine, folder_of\n"
        "folder = folder_of('test-')\n"
        "machine = Machine('theirs', 'node1', '127.0.0.3')\n"
        "machine.start(['sh', '-c', 'setsid sleep 600 & wait'], dict(os.environ), folder / 'x')\n"
        "time.sleep(1)\nprint(folder, flush=True)\ntime.sleep(600)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    folder = Path(killed.stdout.readline().strip())
    mark = f"{killed.pid}/theirs/*"
    assert folder.is_dir() and any("sleep 600" in one[1] for one in marked_processes(mark))
    assert not any("sleep" in line for line in clean()), "its owner lives"
    killed.kill()
    killed.wait()
    assert any("sleep 600" in one[1] for one in marked_processes(mark)), "it went by itself"
    removed = clean()
    assert any("sleep 600" in line for line in removed) and f"folder {folder}" in removed
    assert not list(marked_processes(mark)) and not folder.exists()
    assert mine.is_on
    mine.power_off()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(workers=0), "a lab of 0 workers"),
        (Options(cpus=0), "with 0 processors runs nothing"),
        (Options(redis=True), "--redis needs root; leave it out"),
    ],
)
def test_labs_that_cannot_be(options: Options, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "why_no_namespaces", lambda: "needs root")
    with pytest.raises(BadInputError, match=told):
        Lab(options)


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    """A head and a worker as one has them without root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab, "why_no_namespaces", lambda: "needs root")
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        with Lab(Options(workers=1)) as found:
            yield found


def test_a_lab_is_a_cluster_behind_a_token(running: Lab) -> None:
    assert running.why_loopback == "needs root"
    found = jobs.nodes(running.address, running.token_path)
    assert {one["nodeManagerAddress"] for one in found} == {"127.0.0.2", "127.0.0.3"}
    assert running.token_path.stat().st_mode & 0o777 == 0o600
    stranger = running.folder / "other"
    stranger.write_text("a token that opens nothing, 0123456789")
    assert jobs.nodes(running.address, stranger) == []


def test_a_node_that_is_off_is_missing_and_comes_back(running: Lab) -> None:
    assert obey(running, "off node1") == "off node1: done"
    running.wait(1)
    assert obey(running, "on node1") == "on node1: done"
    running.wait()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("off", "'off' is no order; say off, on, unplug or plug, and whom"),
        ("off nodel1", "did you mean 'node1'"),
        ("on head", "head is on; switch it off first"),
        ("unplug node1", "node1 has no cable: that needs root"),
        ("kick node1", "unknown order 'kick'; there are: off, on, plug, unplug"),
    ],
)
def test_orders_that_mean_nothing(running: Lab, line: str, told: str) -> None:
    with pytest.raises(BadInputError) as caught:
        obey(running, line)
    assert told in str(caught.value)


def test_nothing_to_clean_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "clean", lambda: [])
    assert lab.main(["--clean"]) == 0
    assert capsys.readouterr().out == "there was nothing to remove\n"
