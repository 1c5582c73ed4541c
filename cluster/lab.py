"""A Ray cluster of several machines on this one, to try things on: with a token, closed to others.

    python -m cluster.lab [--workers 3] [--cpus 1] [--redis true] [--help]
    python -m cluster.lab --clean

As root the machines have networks and processes of their own, so that a cable can be pulled and a
machine powered off; else they are addresses of the loopback. The lab lives as long as this command.
Meanwhile it takes lines: `off NAME`, `on NAME`, `unplug NAME`, `plug NAME`.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import jobs
from cluster.machines import (
    Loopback,
    Machine,
    Namespaces,
    clean,
    folder_of,
    why_no_namespaces,
)
from cluster.ports import free_ports
from env.errors import BadInputError, unknown_name
from experiments.cli import EXIT_INTERRUPTED, EXIT_USAGE
from experiments.overrides import override

READY_S = 120.0
"""How long a cluster may take to be complete, seconds."""
OBJECT_STORE_BYTES = 100_000_000
"""Of each node; weights and batches are small."""
REDIS_PORT = 6379


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the lab consists of."""

    workers: int = 3
    """Machines beside the head, which itself takes no trials."""
    cpus: int = 1
    """Processors that each says it has; together they may be more than this machine's."""
    redis: bool = False
    """Keep what the head knows in Redis, so that it can be restarted; as root only."""


class Lab:
    """The cluster. A context: leaving it powers everything off.

    Attributes:
        head: the machine with the job server.
        workers: the others, in the order of their names.
        address: the job server's.
        host_address: this machine's, as the others see it.
        folder: where nodes keep their files and what they said (`NAME.txt`).
    """

    def __init__(self, options: Options, environment: Mapping[str, str] | None = None) -> None:
        """
        Args:
            options: see there.
            environment: what the nodes get beside this process's environment.

        Raises:
            BadInputError: that can't be made here.
        """
        _check(options)
        self._options = options
        self._why_loopback = why_no_namespaces()
        names = ["head", *(f"node{i + 1}" for i in range(options.workers))]
        self._network: Namespaces | Loopback = (
            Loopback(names) if self._why_loopback else Namespaces(names)
        )
        self.folder = folder_of("")
        self._is_closed = False
        self.head, *self.workers = self._network.machines
        self.host_address = self._network.host_address
        self._gcs, self._dashboard, self._client = (
            free_ports(3) if self._why_loopback else (6379, 8265, 10001)
        )
        self.address = f"http://{self.head.address}:{self._dashboard}"
        self.token_path = self.folder / "token"
        with open(os.open(self.token_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        self._environment = self._settings() | dict(environment or {})
        self._redis: Machine | None = None
        if isinstance(self._network, Namespaces) and options.redis:
            self._redis = self._network.add_private("redis", self.head)

    def _settings(self) -> dict[str, str]:
        """Environment of the nodes."""
        found = without_ray(os.environ)
        found.pop("PYTHONPATH", None)
        return found | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    @property
    def client_environment(self) -> dict[str, str]:
        """What a command needs in its environment to reach this cluster."""
        return {
            "RAY_API_SERVER_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
        }

    @property
    def machines(self) -> list[Machine]:
        """The head and the workers."""
        return [self.head, *self.workers]

    @property
    def head_is_tended(self) -> bool:
        """Whether a head that ends by itself is started again: only if Redis has what it knew."""
        return self._redis is not None

    @property
    def why_loopback(self) -> str:
        """Why the machines have no cables; empty if they have."""
        return self._why_loopback

    def __enter__(self) -> Lab:
        try:
            if self._redis is not None:
                self._start_redis(self._redis)
            for machine in self.machines:
                self.on(machine)
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def on(self, machine: Machine) -> None:
        """Powers a machine on; `wait` tells when it belongs to the cluster."""
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
            "--node-ip-address", machine.address, "--temp-dir", str(self.folder / machine.name),
            "--object-store-memory", str(OBJECT_STORE_BYTES), "--disable-usage-stats",
        ]  # fmt: skip
        if self._why_loopback:  # all share the ports of one machine
            agent, metrics = free_ports(2)
            command += [
                "--min-worker-port", "0", "--max-worker-port", "0",
                "--dashboard-agent-listen-port", str(agent), "--metrics-export-port", str(metrics),
            ]  # fmt: skip
        environment = dict(self._environment)
        if machine is self.head:
            command += [
                "--head", "--port", str(self._gcs), "--num-cpus", "0",
                "--dashboard-host", machine.address, "--dashboard-port", str(self._dashboard),
                "--ray-client-server-port", str(self._client),
            ]  # fmt: skip
            if self._redis is not None:
                environment["RAY_REDIS_ADDRESS"] = f"{self._redis.address}:{REDIS_PORT}"
        else:
            command += [
                "--address", f"{self.head.address}:{self._gcs}",
                "--num-cpus", str(self._options.cpus),
            ]  # fmt: skip
        machine.start(command, environment, self.folder / f"{machine.name}.txt")

    def _start_redis(self, machine: Machine) -> None:
        folder = self.folder / machine.name
        folder.mkdir()
        command = [
            "redis-server", "--bind", machine.address, "--port", str(REDIS_PORT),
            "--dir", str(folder), "--save", "", "--appendonly", "yes",
            "--protected-mode", "no",  # the cable leads to the head and nowhere else
        ]  # fmt: skip
        machine.start(command, self._environment, self.folder / "redis.txt")

    def tend(self) -> None:
        """Starts nodes again that ended by themselves, as a service manager would: a worker does
        when the cluster has given it up for dead."""
        for machine in self.machines if self.head_is_tended else self.workers:
            if machine.has_ended:
                machine.power_off()
                self.on(machine)

    def wait(self, count: int | None = None) -> None:
        """Until so many machines, all if not told, belong to the cluster and it takes jobs.

        Raises:
            BadInputError: they don't.
        """
        wanted = 1 + len(self.workers) if count is None else count
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            self.tend()
            found = jobs.nodes(self.address, self.token_path)
            if len(found) == wanted and all(_takes_jobs(one) for one in found):
                return
            if self.head.has_ended:
                break
            time.sleep(0.5)
        said = (self.folder / "head.txt").read_text(errors="replace").strip().splitlines()
        raise BadInputError(
            f"the lab's {wanted} nodes were not up in {READY_S:.0f} s; the head's last words: "
            f"{said[-1] if said else 'none'}."
        )

    def machine(self, name: str) -> Machine:
        """By its name.

        Raises:
            BadInputError: there is none.
        """
        known = {one.name: one for one in self.machines}
        if name not in known:
            raise unknown_name("machine", name, known)
        return known[name]

    def close(self) -> None:
        """Powers everything off and removes what it was made of; once, since somebody else may
        have its name from then on."""
        if self._is_closed:
            return
        self._is_closed = True
        for machine in [*self.machines, *([self._redis] if self._redis else [])]:
            machine.power_off()
        self._network.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def without_ray(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment less what is said in it to Ray, such as a token that the lab's cluster would
    refuse, and less proxies, which don't lead to the lab."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("RAY_") and not name.lower().endswith("_proxy")
    }


def _check(options: Options) -> None:
    if options.workers < 1 or options.cpus < 1:
        raise BadInputError(
            f"a lab of {options.workers} workers with {options.cpus} processors runs nothing; give "
            "at least 1 of each."
        )
    if options.redis:
        if why := why_no_namespaces():
            raise BadInputError(f"--redis {why}; leave it out.")
        if shutil.which("redis-server") is None:
            raise BadInputError(
                "--redis needs redis-server (Debian: apt-get install redis-server)."
            )


def _takes_jobs(node: dict[str, object]) -> bool:
    """Whether a node's agent answers."""
    import requests

    host = jobs.bracketed(str(node["nodeManagerAddress"]))
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.get(f"http://{host}:{node['dashboardAgentListenPort']}/", timeout=2)
    except requests.RequestException:
        return False
    return True


def obey(lab: Lab, line: str) -> str:
    """Does what a line says; returns what there is to say.

    Raises:
        BadInputError: it says nothing that can be done.
    """
    words = line.split()
    if len(words) != 2:
        raise BadInputError(f"{line.strip()!r} is no order; say off, on, unplug or plug, and whom.")
    verb, machine = words[0], lab.machine(words[1])
    if verb in ("plug", "unplug") and not machine.can_be_unplugged:
        raise BadInputError(f"{machine.name} has no cable: that {lab.why_loopback}.")
    if verb == "off":
        machine.power_off()
    elif verb == "on":
        if machine.is_on:
            raise BadInputError(f"{machine.name} is on; switch it off first.")
        lab.on(machine)
    elif verb == "unplug":
        machine.unplug()
    elif verb == "plug":
        machine.plug()
    else:
        raise unknown_name("order", verb, ("off", "on", "unplug", "plug"))
    return f"{verb} {machine.name}: done"


def main(words: Sequence[str]) -> int:
    """Command line, see the top of this file; returns the exit status."""
    try:
        if list(words) == ["--clean"]:
            removed = clean()
            print("\n".join(f"removed {one}" for one in removed) or "there was nothing to remove")
            return 0
        assert __doc__ is not None
        options = override(Options(), words, prog="python -m cluster.lab", description=__doc__)
        print(f"starting a head and {options.workers} workers: half a minute", flush=True)
        with Lab(options) as lab:
            _introduce(lab)
            for line in _lines(lab):
                try:
                    print(obey(lab, line), flush=True)
                except BadInputError as error:
                    print(error, flush=True)
            print("clowder: the lab's head has ended.", file=sys.stderr)
            return 1
    except BadInputError as error:
        print(f"clowder: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("\nthe lab is off")
        return EXIT_INTERRUPTED


def _lines(lab: Lab) -> Iterator[str]:
    """What is typed, for as long as the head lives; meanwhile nodes are tended."""
    is_open = True
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as typed:
        while not lab.head.has_ended or lab.head_is_tended:
            lab.tend()
            if not is_open:  # nobody talks to it; it lives until it is told to end
                time.sleep(1.0)
            elif select.select([typed], [], [], 1.0)[0]:
                line = typed.readline().decode(errors="replace")
                is_open = bool(line)
                if line.strip():
                    yield line


def _introduce(lab: Lab) -> None:
    for machine in lab.machines:
        print(f"{machine.name:8}{machine.address}")
    if lab.why_loopback:
        print(f"no cables and no networks of their own: that {lab.why_loopback}")
    shown = ("RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH")
    print("export " + " ".join(f"{one}={lab.client_environment[one]}" for one in shown))
    print("clowder submit sweep smoke", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
