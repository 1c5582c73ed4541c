"""`clowder submit`: a recipe sent to a Ray cluster, which needs its sender no longer."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster import jobs
from env.errors import BadInputError, unknown_name
from experiments.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, parse_recipe, split_resume
from experiments.overrides import override, take_flags
from experiments.tracking.address import is_server

USAGE = """usage: clowder submit VERB RECIPE --address http://HEAD:8265 [--FIELD VALUE ...]
       clowder submit list|attach|stop [JOB] --address http://HEAD:8265

  sweep RECIPE   run a sweep on the cluster, as `clowder sweep` would here
  train RECIPE   train one team there
  list           the jobs that were submitted, and what became of them
  attach JOB     see what a job says, from its beginning
  stop JOB       end a job gracefully; the same submission continues it

A JOB is its id, or its study's name. Ctrl-C only lets go: the job goes on. `clowder submit sweep
RECIPE --help` explains the fields; beside them there are

  --address URL       of the cluster's job server; or set RAY_API_SERVER_ADDRESS
  --detach            don't wait, nor show what the job says
  --driver-cpus N     run the driver on a node that has so many processors to spare; 0, the default:
                      on the head

The token is read from the file that RAY_AUTH_TOKEN_PATH names. MLFLOW_TRACKING_URI travels along;
MLflow's user and password don't, they belong on the nodes."""
STOP_WAIT_S = 120
"""How long a job that is told to stop may take to note where it is, seconds."""
GRACEFUL_STOP = {
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
}
"""Environment of a job whose trials are told to stop."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where to, and how."""

    address: str = ""
    detach: bool = False
    driver_cpus: float = 0.0


def run_submit(words: list[str]) -> int:
    """The verb; returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else EXIT_USAGE
    verb, rest = words[0], words[1:]
    options, rest = _split(rest)
    if verb in ("sweep", "train"):
        return _submit(verb, rest, options)
    if verb not in ("list", "attach", "stop"):
        raise unknown_name("verb of submit", verb, ("sweep", "train", "list", "attach", "stop"))
    names = rest if verb != "list" else []
    if len(names) != (verb != "list") or (verb == "list" and rest):
        raise BadInputError(f"{shlex.join(rest)!r} is not what submit {verb} takes; see --help.")
    client = jobs.connect(options.address)
    if verb == "list":
        return _list(client)
    job = jobs.find(client, names[0])
    if verb == "stop":
        if jobs.is_over(job.status.value):
            print(f"{job.submission_id} has ended before: {job.status.value.lower()}")
            return 0
        client.stop_job(job.submission_id)
        print(f"stopping {job.submission_id}: trials end, their checkpoints stay")
    return _follow(client, job.submission_id, options.address, is_stopping=verb == "stop")


def _split(words: list[str]) -> tuple[Options, list[str]]:
    """Submit's own flags, and the words that are the verb's."""
    found, rest = take_flags(
        [one for one in words if one != "--detach"],
        {"--address": "the job server's", "--driver-cpus": "a number"},
    )
    own = [f"{flag}={value}" for flag, value in found.items()]
    own += ["--detach=true"] * ("--detach" in words)
    return override(Options(), own, prog="clowder submit"), rest


def _submit(verb: str, words: list[str], options: Options) -> int:
    recipe, resume = parse_recipe(verb, words)
    environment = _environment(recipe.run.tracking_uri)
    client = jobs.connect(options.address)
    _check_not_running(client, recipe.study)
    job = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', recipe.study)}-{time.strftime('%Y%m%d-%H%M%S')}"
    command = ["python", "clowder.py", verb, *split_resume(words)[1], "--resume", resume]
    with tempfile.TemporaryDirectory() as scratch:
        from cluster.shipment import pack

        client.submit_job(
            entrypoint=shlex.join(command),
            submission_id=job,
            runtime_env={"working_dir": str(pack(Path(scratch))), "env_vars": environment},
            metadata={jobs.STUDY: recipe.study},
            entrypoint_num_cpus=options.driver_cpus or None,
        )
    print(f"submitted {job}; it needs this machine no longer")
    if options.detach:
        _tell_how(job, options.address)
        return 0
    return _follow(client, job, options.address)


def _environment(tracking_uri: str) -> dict[str, str]:
    """What the job's processes find in their environment; anybody with the token can read it.

    Raises:
        BadInputError: a secret would be in it.
    """
    from experiments.runner import git_state

    found = {
        **GRACEFUL_STOP,
        **{f"CLOWDER_{name.upper()}": value for name, value in git_state().items()},
    }
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    for one in (uri, tracking_uri):
        if urlsplit(one).password:
            raise BadInputError(
                "the tracking address contains a password, which everybody on the cluster could "
                "read; put MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on the nodes."
            )
    if is_server(uri):
        found["MLFLOW_TRACKING_URI"] = uri
    return found


def _check_not_running(client: Any, study: str) -> None:
    """Refuses a study that a job runs at this time; its lease would, but only once it is there."""
    for one in jobs.of_clowder(client):
        if one.metadata[jobs.STUDY] == study and not jobs.is_over(one.status.value):
            raise BadInputError(
                f"job {one.submission_id} runs the study {study!r} at this time; attach to it, "
                "stop it, or name another study with --run.study."
            )


def _follow(client: Any, job: str, address: str, *, is_stopping: bool = False) -> int:
    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        status = jobs.follow(client, job, show)
    except KeyboardInterrupt:
        print(f"\nlet go of {job}, which goes on")
        _tell_how(job, address)
        return EXIT_INTERRUPTED
    print(f"{job} has ended: {status.lower()}")
    if status == "SUCCEEDED" or (is_stopping and status == "STOPPED"):
        return 0
    if status == "STOPPED":
        return EXIT_INTERRUPTED
    message = (client.get_job_info(job).message or "it failed").splitlines()[0]
    print(f"clowder: {message.partition(', last available logs')[0]}.", file=sys.stderr)
    return EXIT_FAILED


def _tell_how(job: str, address: str) -> None:
    where = f" --address {address}" if address else ""
    print(f"see it   clowder submit attach {job}{where}")
    print(f"stop it  clowder submit stop {job}{where}")


def _list(client: Any) -> int:
    from rich.table import Table

    from experiments.terminal import open_console

    table = Table()
    for column in ("job", "study", "status", "began", "took"):
        table.add_column(column, overflow="fold")
    for one in jobs.of_clowder(client):
        began = (one.start_time or 0) / 1000
        ended = (one.end_time / 1000) if one.end_time else time.time()
        table.add_row(
            one.submission_id,
            one.metadata[jobs.STUDY],
            one.status.value.lower(),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(began)),
            f"{(ended - began) / 60:.1f} min",
        )
    open_console().print(table)
    return 0
