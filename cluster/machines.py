"""Several machines on this one: network namespaces where we are root, loopback addresses elsewhere.

A machine of its own namespace has a cable that can be pulled and sees no other's processes; one on
the loopback has only an address of its own. Either can be powered off: all its processes are gone
at once, without a word to anybody.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from env.errors import BadInputError

MARK = "CLOWDER_LAB"
"""Environment variable that says whose machine a process runs on: OWNER/NETWORK/MACHINE, the owner
being the id of the process that made it."""
PREFIX = "clw"
"""Of the names of bridges, namespaces and cables."""
MAX_NETWORKS = 200
_PR_SET_PDEATHSIG = 1


class Machine:
    """A place for processes.

    Attributes:
        name: within its network.
        address: IPv4.
        can_be_unplugged: whether it has a cable.
    """

    def __init__(
        self, network: str, name: str, address: str, prefix: Sequence[str] = (), cable: str = ""
    ) -> None:
        """
        Args:
            network: that it belongs to.
            name: within it.
            address: IPv4.
            prefix: words before a command that have it run there.
            cable: this machine's end of it; empty if there is none.
        """
        self.name, self.address = name, address
        self._mark = f"{os.getpid()}/{network}/{name}"
        self._prefix = tuple(prefix)
        self._cable = cable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def can_be_unplugged(self) -> bool:
        return bool(self._cable)

    @property
    def is_on(self) -> bool:
        """Whether what was started here still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_ended(self) -> bool:
        """Whether what was started here ended by itself; not if it was powered off."""
        return self._process is not None and self._process.poll() is not None

    def start(self, command: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        """Runs a command for as long as the machine, or this process, lives.

        Args:
            command: its words.
            environment: its whole environment; nothing secret is put among the words.
            output: file that what it says is added to.
        """
        with output.open("ab") as said:
            self._process = subprocess.Popen(
                [*self._prefix, *command],
                env={**environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def power_off(self) -> None:
        """Kills everything on it; returns once it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        while left := [one for one in self.processes() if one[1]]:  # a zombie has no words
            for pid, _ in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def unplug(self) -> None:
        """Nothing arrives or leaves any more; what runs here goes on."""
        _ip("link", "set", self._cable, "down")

    def plug(self) -> None:
        """The cable is back."""
        _ip("link", "set", self._cable, "up")

    def processes(self) -> Iterator[tuple[int, str]]:
        """Ids and command lines of what runs on it."""
        return marked_processes(self._mark)


class Namespaces:
    """Machines with network, processes and host name of their own, on a bridge; needs root.

    This machine is on the bridge, too, at the address that ends with 1. Nothing leads elsewhere.
    """

    def __init__(self, names: Sequence[str]) -> None:
        for number in range(1, MAX_NETWORKS):
            self.name = f"{PREFIX}{number}"
            if _succeeds("ip", "link", "add", self.name, "type", "bridge"):
                break
        else:
            raise BadInputError(
                "no network can be made here; remove old ones with `python -m cluster.lab --clean`."
            )
        self._number = number
        self.host_address = f"10.77.{number}.1"
        self._namespaces: list[str] = []
        self._cables: list[str] = []
        try:
            _ip("addr", "add", f"{self.host_address}/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
            self.machines = [self._add(name, 10 + i) for i, name in enumerate(names)]
        except BaseException:
            self.remove()
            raise

    def _add(self, name: str, last: int) -> Machine:
        namespace, cable = f"{self.name}-{name}", f"{self.name}p{last}"
        address = f"10.77.{self._number}.{last}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip(
            "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace
        )  # fmt: skip
        self._cables.append(cable)
        _ip("link", "set", cable, "master", self.name, "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        return Machine(self.name, name, address, _on(namespace, name), cable)

    def add_private(self, name: str, other: Machine) -> Machine:
        """A machine that only one other can reach, by a cable between the two."""
        namespace, peer = f"{self.name}-{name}", f"{self.name}-{other.name}"
        base = f"10.78.{self._number}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip(
            "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", "eth1",
            "netns", peer,
        )  # fmt: skip
        for where, device, last in ((namespace, "eth0", 1), (peer, "eth1", 2)):
            _ip("-n", where, "addr", "add", f"{base}.{last}/30", "dev", device)
            _ip("-n", where, "link", "set", device, "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        return Machine(self.name, name, f"{base}.1", _on(namespace, name))

    def remove(self) -> None:
        """Of what is off: namespaces, cables and the bridge."""
        for cable in self._cables:  # the kernel takes its time over those of a namespace that goes
            _succeeds("ip", "link", "del", cable)
        for namespace in self._namespaces:
            _succeeds("ip", "netns", "del", namespace)
        _succeeds("ip", "link", "del", self.name)


class Loopback:
    """Machines that differ by their address, 127.0.0.2 and on; needs no rights."""

    host_address = "127.0.0.1"

    def __init__(self, names: Sequence[str]) -> None:
        self.name = f"loopback-{secrets.token_hex(4)}"
        self.machines = [
            Machine(self.name, name, f"127.0.0.{2 + i}") for i, name in enumerate(names)
        ]

    def remove(self) -> None:
        """There is nothing to remove."""


def why_no_namespaces() -> str:
    """What is missing for machines with cables; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "unshare"):
        if shutil.which(tool) is None:
            return f"needs {tool} (Debian: apt-get install iproute2 util-linux)"
    probe = f"{PREFIX}0-probe{os.getpid()}"  # of its own: others may ask at the same time
    if not _succeeds("ip", "netns", "add", probe):
        return "this system lets nobody make network namespaces"
    _succeeds("ip", "netns", "del", probe)
    return ""


def marked_processes(mark: str) -> Iterator[tuple[int, str]]:
    """Processes of the machine with that mark, or of all whose mark begins so if it ends with `*`:
    their ids and command lines."""
    wanted = f"{MARK}={mark.rstrip('*')}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone, or not ours
        if any(
            one == wanted or (mark.endswith("*") and one.startswith(wanted)) for one in variables
        ):
            yield int(entry.name), line.strip()


def clean() -> list[str]:
    """Removes what labs and trackers whose process is gone have left; returns what that was."""
    found, kept = [], set()
    for pid, line in list(marked_processes("*")):
        owner, network = _owner_of(pid)
        if _lives(owner):
            kept.add(network)
            continue
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            found.append(f"process {pid} {line[:60]}")
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*")):
        named = folder.name.split("-")[1]
        if named.isdigit() and not _lives(int(named)):
            for mount in folder.iterdir():
                if mount.is_mount():
                    subprocess.run(["umount", "--lazy", str(mount)], check=False)
            shutil.rmtree(folder, ignore_errors=True)
            found.append(f"folder {folder}")
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return found
    for what, pattern, listed, remove in (
        ("cable", rf"^({PREFIX}\d+)p\d+", ("-brief", "link", "show", "type", "veth"), "link"),
        ("namespace", rf"^({PREFIX}\d+)-\w+", ("netns", "list"), "netns"),
        ("bridge", rf"^({PREFIX}\d+)\b", ("-brief", "link", "show", "type", "bridge"), "link"),
    ):
        for match in re.finditer(pattern, _ip(*listed), re.MULTILINE):
            if match[1] not in kept:
                _ip(remove, "del", match[0])
                found.append(f"{what} {match[0]}")
    return found


def folder_of(kind: str) -> Path:
    """A new folder whose name says whose it is, so that `clean` can remove it; the path is short,
    since sockets lie in it."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-{kind}"))


def _owner_of(pid: int) -> tuple[int, str]:
    """Id of the process that made a process's machine, and the machine's network."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return 0, ""
    mark = next((one for one in variables if one.startswith(f"{MARK}=".encode())), b"=0/")
    owner, _, rest = mark.decode(errors="replace").partition("=")[2].partition("/")
    return int(owner) if owner.isdigit() else 0, rest.partition("/")[0]


def _lives(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def _on(namespace: str, host_name: str) -> tuple[str, ...]:
    """Words that run a command there; whoever kills the first of its processes kills all."""
    return (
        "ip", "netns", "exec", namespace,
        "unshare", "--pid", "--fork", "--kill-child", "--uts", "--mount-proc",
        "sh", "-c", f'hostname {host_name}; exec "$@"', "sh",
    )  # fmt: skip


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ip(*words: str) -> str:
    done = subprocess.run(("ip", *words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInputError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}.")
    return done.stdout


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
