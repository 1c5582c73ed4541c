"""MLflow's server for a cluster: with credentials, on the loopback unless told who may ask.

    python -m cluster.tracking_server [--folder DIR] [--host 127.0.0.1] [--port 5000] [--help]

Secrets come from the environment or from files, never from the command line:

    MLFLOW_AUTH_ADMIN_PASSWORD   the first user's; without it one is made and kept in a file
    MLFLOW_BACKEND_STORE_URI     the database; without it SQLite in the folder
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.jobs import bracketed
from env.errors import BadInputError
from experiments.cli import EXIT_USAGE
from experiments.overrides import override

LOOPBACK = ("127.0.0.1", "::1", "localhost")
USER = "admin"
"""The first user, who makes the others (MLflow's pages, Users)."""
MIN_PASSWORD = 12
"""Characters; MLflow refuses fewer, but only once somebody asks."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the server keeps things, and where it listens."""

    folder: str = "~/clowder-mlflow"
    """What it keeps: users, the session key, the password it made, database and artifacts unless
    they are elsewhere."""
    artifacts: str = ""
    """Folder or URI (s3://BUCKET/FOLDER) of artifacts; they pass through the server, so only it
    needs the store's credentials."""
    host: str = "127.0.0.1"
    """Address to listen at; beyond the loopback only with allowed hosts."""
    port: int = 5000
    """TCP port."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients may call the server, with the port: mlflow.example.org:5000. Others
    are refused, so that no page in a browser can borrow the server under a name of its own."""
    workers: int = 4
    """Processes that answer."""


def prepare(options: Options, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Makes the folder and what is secret in it.

    Args:
        options: see there.
        environment: that of this process.

    Returns:
        The command that serves, without a secret in it, and its environment.

    Raises:
        BadInputError: it would be open to strangers, or can't be.
    """
    _check(options, environment)
    folder = Path(options.folder).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = dict(environment) | {
            "MLFLOW_AUTH_CONFIG_PATH": str(_write_settings(folder)),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": _kept_secret(folder / "session-key"),
            # Its helpers for background jobs, which nothing here has, would outlive it.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        if not found.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
            found["MLFLOW_AUTH_ADMIN_PASSWORD"] = _kept_secret(password_file(folder))
    except OSError as error:
        raise BadInputError(
            f"{folder} can't be written ({error.strerror}); name another with --folder."
        ) from error
    found.setdefault("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{folder / 'mlflow.db'}")
    hosts = options.allowed_hosts or tuple(f"{bracketed(name)}:{options.port}" for name in LOOPBACK)
    command = [
        sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth",
        "--artifacts-destination", options.artifacts or str(folder / "artifacts"),
        "--host", options.host, "--port", str(options.port),
        "--workers", str(options.workers), "--allowed-hosts", ",".join(hosts),
    ]  # fmt: skip
    return command, found


def password_file(folder: Path) -> Path:
    """Where the password is that was made for the first user."""
    return folder / "admin-password"


def _check(options: Options, environment: Mapping[str, str]) -> None:
    if importlib.util.find_spec("flask_wtf") is None:
        raise BadInputError(
            "MLflow's credentials need a library that is missing: pip install 'clowder[cluster]'."
        )
    if options.host not in LOOPBACK and not options.allowed_hosts:
        raise BadInputError(
            f"a server at {options.host!r} can be called from elsewhere; say by which names with "
            "--allowed-hosts mlflow.example.org:5000."
        )
    if any("*" in one for one in options.allowed_hosts):
        raise BadInputError(
            f"--allowed-hosts {' '.join(options.allowed_hosts)!r} allows names that anybody can "
            "make up; name each host."
        )
    if not 1 <= options.port <= 65535:
        raise BadInputError(f"port {options.port} is none; ports are 1 to 65535.")
    if options.workers < 1:
        raise BadInputError(f"{options.workers} workers answer nobody; give --workers at least 1.")
    if 0 < len(environment.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")) < MIN_PASSWORD:
        raise BadInputError(
            f"the password in MLFLOW_AUTH_ADMIN_PASSWORD is too short; take {MIN_PASSWORD} "
            "characters or more, or none and one is made."
        )


def _write_settings(folder: Path) -> Path:
    """MLflow's file of settings: who isn't the maker of a run and wasn't let in sees nothing."""
    path = folder / "auth.ini"
    database = str(folder / "users.db").replace("%", "%%")  # configparser's
    _write_private(
        path,
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{database}\n"
        f"admin_username = {USER}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
    )
    return path


def _kept_secret(path: Path) -> str:
    """A secret that stays the same from start to start; made the first time."""
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(32) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _write_private(path: Path, text: str) -> None:
    """For nobody else to read, from the first byte on."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def main(words: Sequence[str]) -> int:
    """Becomes the server; returns the exit status only if it can't."""
    assert __doc__ is not None
    options = override(
        Options(), words, prog="python -m cluster.tracking_server", description=__doc__
    )
    try:
        command, environment = prepare(options, os.environ)
    except BadInputError as error:
        print(f"clowder: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"MLflow    http://{options.host}:{options.port}")
    print(f"user      {USER}")
    if not os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        print(f"password  in {password_file(Path(options.folder).expanduser())}")
    sys.stdout.flush()
    return os.execve(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
