"""`clowder doctor --address`: a cluster as a stranger sees it. What stands open?

Everything is asked without a token and without MLflow's password, and nothing asked can do harm: an
open door answers that the question makes no sense. Only the list of nodes and their ports is had
with the token, if it is here.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from cluster import jobs
from env.errors import BadInputError
from experiments.cli import EXIT_FAILED, EXIT_USAGE
from experiments.overrides import take_flags
from experiments.terminal import open_console
from experiments.tracking.address import is_server, redact

GCS_PORT, AGENT_PORT, CLIENT_PORT = 6379, 52365, 10001
"""Ray's own choice of ports: its directory of everything, each node's agent, Ray Client."""
MAX_ASKED = 32
"""Nodes that are asked at the same time."""
METRICS_PORTS = (44217, 44227)
"""Where the head's autoscaler and dashboard tell figures."""
USAGE = """usage: clowder doctor [--address http://HEAD:8265 [--tracking-uri http://MLFLOW:5000]]

Says what is here, what is missing, what to install. With an address it asks a cluster what it would
tell a stranger, and ends with 1 if anything stands open. MLflow is the one that MLFLOW_TRACKING_URI
names unless it is told."""

State = Literal["refused", "open", "figures", "no answer"]
"""What a stranger gets: nothing, everything, or figures to read (Ray's metrics know no token)."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One door, and what became of it."""

    door: str
    """What was asked of whom."""
    state: State
    """Whether a stranger is let in."""
    said: str
    """The answer, in a word or two."""
    remedy: str
    """How to close it."""


FIREWALL = "let only the cluster reach it, by a firewall, security group or network policy"
TOKEN = "start every node with RAY_AUTH_MODE=token and the cluster's token"
PASSWORD = "serve it with `python -m cluster.tracking_server`, which asks for a password"


def run_doctor(words: list[str]) -> int:
    """`clowder doctor --address`; exit status 1 if something stands open."""
    found, rest = take_flags(
        words, {"--address": "the job server's", "--tracking-uri": "MLflow's address"}
    )
    if rest:
        print(USAGE)
        return 0 if rest[0] in ("-h", "--help") else EXIT_USAGE
    address = jobs.address_of(found.get("--address", ""))
    tracking = found.get("--tracking-uri", os.environ.get("MLFLOW_TRACKING_URI", ""))
    nodes = jobs.nodes(address)
    probes = list(probe_cluster(address, nodes))
    if not any(one.state != "no answer" for one in probes):
        raise BadInputError(
            f"nobody answers at {address} or at Ray's ports beside it; is the cluster up, and the "
            "tunnel to it?"
        )
    if is_server(tracking):
        probes += probe_mlflow(tracking)
    probes += probe_token_file()
    _show(probes)
    if not nodes:
        print("only the head was asked: without the cluster's token nobody says which nodes it has")
    if not is_server(tracking):
        print("MLflow was not asked: name its address with --tracking-uri")
    return _judge(probes)


def probe_cluster(address: str, nodes: Sequence[dict[str, Any]] = ()) -> Iterator[Probe]:
    """Ray's doors.

    Args:
        address: the job server's, `http://HEAD:8265`; the head's other ports are looked for on its
            host.
        nodes: what Ray knows of each that is up, its address and ports.
    """
    base = address.rstrip("/")
    host = urlsplit(address).hostname or ""
    for door, method, path in (
        ("job server: list jobs", "GET", "/api/jobs/"),
        ("job server: submit a job", "POST", "/api/jobs/"),
        ("job server: read the cluster's state", "GET", "/nodes?view=summary"),
    ):
        yield _http(f"{door}  {base}", method, base + path, TOKEN)
    if not nodes:
        yield _agent(host, AGENT_PORT)
    for door, port, method in (
        ("GCS: list all jobs", GCS_PORT, "/ray.rpc.JobInfoGcsService/GetAllJobInfo"),
        ("Ray Client: open a session", CLIENT_PORT, "/ray.rpc.RayletDriver/ClusterInfo"),
    ):
        yield _grpc(door, host, port, method)
    for port in METRICS_PORTS:
        yield _metrics(host, port)
    # A firewall that swallows questions makes each wait its time out: nodes are asked side by side.
    with ThreadPoolExecutor(MAX_ASKED) as pool:
        for found in pool.map(lambda node: list(_probe_node(node)), nodes):
            yield from found


def _probe_node(node: dict[str, Any]) -> Iterator[Probe]:
    host = str(node["nodeManagerAddress"])
    yield _agent(host, node["dashboardAgentListenPort"])
    runtime = f"http://{jobs.bracketed(host)}:{node['runtimeEnvAgentPort']}"
    yield _http(
        f"node: make an environment  {runtime}", "POST", f"{runtime}/get_or_create_runtime_env",
        TOKEN,
    )  # fmt: skip
    for door, port, method in (
        ("node: read its load", "nodeManagerPort", "NodeManagerService/GetResourceLoad"),
        ("node: pull an object", "objectManagerPort", "ObjectManagerService/Pull"),
        ("node: report figures", "metricsAgentPort", "ReporterService/ReportOCMetrics"),
    ):
        yield _grpc(door, host, node[port], f"/ray.rpc.{method}")
    yield _metrics(host, node["metricsExportPort"])


def probe_mlflow(uri: str) -> Iterator[Probe]:
    """MLflow's doors; what an open one lets be written is deleted at once."""
    parts = urlsplit(uri)
    base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    artifact = f"{base}/api/2.0/mlflow-artifacts/artifacts/clowder-doctor-{uuid.uuid4().hex}"
    for door, method, url in (
        ("read runs", "GET", f"{base}/api/2.0/mlflow/experiments/search?max_results=1"),
        ("make a run", "POST", f"{base}/api/2.0/mlflow/runs/create"),
        ("delete a run", "POST", f"{base}/api/2.0/mlflow/runs/delete"),
        ("PUT an artifact", "PUT", artifact),
        ("DELETE an artifact", "DELETE", artifact),
    ):
        yield _http(f"MLflow: {door}  {base}", method, url, PASSWORD)


def probe_token_file() -> Iterator[Probe]:
    """The token here: can others on this machine read it?"""
    path = jobs.token_file()
    if path.is_file():
        mode = stat.S_IMODE(path.stat().st_mode)
        yield Probe(
            door=f"token file: read it as another user  {path}",
            state="open" if mode & 0o077 else "refused",
            said=f"mode {mode:04o}",
            remedy=f"chmod 600 {path}",
        )


def _http(door: str, method: str, url: str, remedy: str) -> Probe:
    """Asks a web server. Only 401 and 403 are a closed door: any other answer comes from behind."""
    import requests

    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy, and no password from ~/.netrc
            answer = session.request(
                method, url, data=b"{}" if method in ("POST", "PUT") else None,
                headers={"Content-Type": "application/json"}, timeout=jobs.TIMEOUT_S,
                allow_redirects=False,
            )  # fmt: skip
    except (requests.RequestException, OSError) as error:
        said = "timed out" if isinstance(error, requests.Timeout) else "unreachable"
        return Probe(door=door, state="no answer", said=said, remedy=remedy)
    state: State = "refused" if answer.status_code in (401, 403) else "open"
    return Probe(door=door, state=state, said=f"HTTP {answer.status_code}", remedy=remedy)


def _agent(host: str, port: int) -> Probe:
    where = f"http://{jobs.bracketed(host)}:{port}"
    return _http(f"agent: submit a job  {where}", "POST", f"{where}/api/job_agent/jobs/", TOKEN)


def _metrics(host: str, port: int) -> Probe:
    where = f"http://{jobs.bracketed(host)}:{port}"
    found = _http(f"metrics: read figures  {where}", "GET", f"{where}/metrics", FIREWALL)
    return replace(found, state="figures") if found.state == "open" else found


def _grpc(door: str, host: str, port: int, method: str) -> Probe:
    """Calls a remote procedure with an empty message."""
    import grpc

    where = f"{jobs.bracketed(host)}:{port}"
    with grpc.insecure_channel(where, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(method, lambda message: message, lambda message: message)
        try:
            call(b"", timeout=jobs.TIMEOUT_S)
            code: Any = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
    states: dict[Any, State] = {
        grpc.StatusCode.UNAUTHENTICATED: "refused",
        grpc.StatusCode.PERMISSION_DENIED: "refused",
        grpc.StatusCode.UNAVAILABLE: "no answer",
        grpc.StatusCode.DEADLINE_EXCEEDED: "no answer",
        grpc.StatusCode.UNIMPLEMENTED: "no answer",  # another version of Ray, or no Ray at all
    }
    state, said = states.get(code, "open"), code.name.lower().replace("_", " ")
    return Probe(door=f"{door}  {where}", state=state, said=said, remedy=TOKEN)


def _show(probes: Sequence[Probe]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = open_console()
    table = Table("a stranger asks", "of", "and is", "")
    colours = {"refused": "green", "open": "bold red", "figures": "yellow", "no answer": "dim"}
    for one in probes:
        what, _, where = redact(one.door).partition("  ")
        colour = colours[one.state]
        table.add_row(escape(what), escape(where), f"[{colour}]{one.state}[/]", escape(one.said))
    console.print(table)


def _judge(probes: Sequence[Probe]) -> int:
    """Says what to do; returns the exit status."""
    if any(one.state == "no answer" for one in probes):
        print("what gives no answer may be closed to this machine only: ask from others too")
    if any(one.state == "figures" for one in probes):
        print(f"figures: Ray tells them to all who ask; {FIREWALL}")
    still = [one for one in probes if one.state == "open"]
    for remedy in dict.fromkeys(one.remedy for one in still):
        print(f"open: {remedy}")
    answered = sum(one.state != "no answer" for one in probes)
    print(f"{len(still) or 'none'} of {answered} that answered stand{'s' * (len(still) < 2)} open")
    return EXIT_FAILED if still else 0
