"""Where MLflow lives: checking a tracking URI, and the links that open its UI.

Nothing here touches the network or imports MLflow.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
"""The store of a single machine: one SQLite file in the repository root."""

DEFAULT_ARTIFACTS = "mlartifacts"
"""The folder of artifacts that belongs to the default store."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}(/.*)?")
_CREDENTIALS = re.compile(r"(?<=://)([^/@\s]*)@")
_SECRET_FIELD = re.compile(r"([?&](?:password|passwd|pwd|token|secret)=)[^&#\s]*", re.IGNORECASE)


def redact(text: str) -> str:
    """Returns `text` with the credentials of every address in it replaced by `***`."""
    return _SECRET_FIELD.sub(r"\1***", _CREDENTIALS.sub("***@", text))


def resolve_tracking_uri(uri: str, root: Path) -> str:
    """Returns `uri` with a relative SQLite path made absolute under `root`.

    MLflow resolves such a path against the working directory of the moment, so that two programs
    of one repository would otherwise write to two files.
    """
    prefix = "sqlite:///"
    if not uri.startswith(prefix):
        return uri
    path, mark, query = uri[len(prefix) :].partition("?")
    return f"{prefix}{root.absolute() / path}{mark}{query}"


def check_tracking_uri(uri: str, root: Path | None = None) -> str | None:
    """Says what is wrong with a tracking URI; whether a server answers there is not asked.

    Args:
        uri: What the user gave.
        root: Folder that a relative SQLite path is under; default: the working directory.

    Returns:
        One sentence with the value and the remedy, or None for a URI that makes sense.
    """
    shown = f"tracking URI {redact(str(uri))!r}"
    example = f"use {DEFAULT_TRACKING_URI!r} or the address of a server, 'http://HOST:PORT'"
    if not isinstance(uri, str) or not uri.strip():
        return f"{shown} is empty: {example}."
    if _HOST_AND_PORT.fullmatch(uri):
        return f"{shown} lacks its scheme: write 'http://{uri}'."
    try:
        parts = urlsplit(uri)
        password, _ = parts.password, parts.port
    except ValueError as error:
        return f"{shown} can't be read ({error}): {example}."
    if password is not None or redact(uri).count("=***"):
        return (
            f"{shown} carries a password, which would end up in files and logs: leave it out and "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server, or PGPASSWORD "
            "or an option file for a database."
        )
    scheme = parts.scheme.split("+")[0]
    if scheme in ("", "file"):
        return (
            f"{shown} is a folder of files, which MLflow 3.17 refuses: use "
            f"{DEFAULT_TRACKING_URI!r} (`mlflow migrate-filestore` carries old runs over)."
        )
    if scheme in ("http", "https"):
        return None if parts.hostname else f"{shown} names no host: {example}."
    if scheme not in _DATABASES:
        return f"{shown} has the unsupported scheme {parts.scheme!r}: {example}."
    return _check_sqlite(uri, shown, root or Path.cwd()) if scheme == "sqlite" else None


def _check_sqlite(uri: str, shown: str, root: Path) -> str | None:
    """Says what is wrong with the file a SQLite URI names."""
    if not uri.startswith("sqlite:///"):
        return f"{shown} needs three slashes before its path: {DEFAULT_TRACKING_URI!r}."
    name = uri.removeprefix("sqlite:///").partition("?")[0]
    if name in ("", ":memory:"):
        return f"{shown} keeps nothing on disk: use {DEFAULT_TRACKING_URI!r}."
    path = root / name
    if path.is_dir():
        return f"{shown} names a folder: name a file in it, '{uri.rstrip('/')}/mlflow.db'."
    if not path.parent.is_dir():
        return f"{shown} is in a folder that does not exist: make {str(path.parent)!r} first."
    return None


def is_server(uri: str) -> bool:
    """Whether a tracking URI names an MLflow server, as opposed to a database."""
    return uri.startswith(("http://", "https://"))


def chart_url(ui_base: str, experiment_id: str, *, view: str = "") -> str:
    """Returns the link straight to the charts of an experiment.

    The first visit to MLflow's UI otherwise opens its GenAI mode, which shows no chart.

    Args:
        ui_base: Address of the UI, such as `http://127.0.0.1:5000`.
        experiment_id: MLflow's id of the experiment.
        view: Name of a shared view, see `experiments.tracking.charts.share_key`.
    """
    query = "workflowType=machine_learning&compareRunsMode=CHART"
    if view:
        query += f"&viewStateShareKey={quote(view)}"
    return f"{ui_base.rstrip('/')}/#/experiments/{quote(experiment_id)}/runs?{query}"
