"""Addresses: nonsense is named in one sentence, and links lead to the charts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.tracking import (
    TrackerConfig,
    chart_url,
    check_tracking_uri,
    resolve_tracking_uri,
)
from experiments.tracking.address import redact


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("", "'sqlite:///mlflow.db'"),
        ("./mlruns", "'sqlite:///mlflow.db'"),
        ("mlruns", "'sqlite:///mlflow.db'"),
        ("file:///srv/mlruns", "'sqlite:///mlflow.db'"),
        ("ftp://host/runs", "'http://HOST:PORT'"),
        ("databricks", "'sqlite:///mlflow.db'"),
        ("localhost:5000", "'http://localhost:5000'"),
        ("127.0.0.1:5000", "'http://127.0.0.1:5000'"),
        ("http://", "'http://HOST:PORT'"),
        ("http://host:port", "'http://HOST:PORT'"),
        ("sqlite://mlflow.db", "'sqlite:///mlflow.db'"),
        ("sqlite:///", "'sqlite:///mlflow.db'"),
        ("sqlite:///:memory:", "'sqlite:///mlflow.db'"),
        ("sqlite:///no/such/folder/mlflow.db", "no/such/folder"),
        ("sqlite:////tmp", "'sqlite:////tmp/mlflow.db'"),
    ],
)
def test_nonsense_is_named_with_its_remedy(uri: str, remedy: str, tmp_path: Path) -> None:
    sentence = check_tracking_uri(uri, tmp_path)
    assert sentence is not None
    assert repr(uri) in sentence and remedy in sentence
    assert sentence.endswith(".") and "\n" not in sentence
    with pytest.raises(ValueError) as raised:
        TrackerConfig(
            study="s", spool_dir=tmp_path / "spool", tracking_uri=uri, root=tmp_path
        ).resolved()
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "sqlite:////tmp/mlflow.db",
        "http://127.0.0.1:5000",
        "https://mlflow.example.org/base",
        "http://127.0.0.1:1",  # nobody answers there, which is not the URI's fault
        "postgresql+psycopg2://user@host/db",
        "mysql+pymysql://host/db",
    ],
)
def test_sense_passes(uri: str, tmp_path: Path) -> None:
    assert check_tracking_uri(uri, tmp_path) is None


@pytest.mark.parametrize(
    "uri", ["http://me:hunter2@host:5000", "postgresql://host/db?user=me&password=hunter2"]
)
def test_a_password_is_refused_and_not_repeated(uri: str) -> None:
    sentence = check_tracking_uri(uri)
    assert sentence is not None and "password" in sentence
    assert "hunter2" not in sentence
    assert "hunter2" not in redact(f"call to {uri} failed")


def test_a_relative_sqlite_path_is_under_the_root() -> None:
    root = Path("/repo")
    assert resolve_tracking_uri("sqlite:///mlflow.db", root) == "sqlite:////repo/mlflow.db"
    assert resolve_tracking_uri("sqlite:////abs/m.db", root) == "sqlite:////abs/m.db"
    assert resolve_tracking_uri("http://host", root) == "http://host"


def test_the_link_opens_the_charts() -> None:
    assert chart_url("http://127.0.0.1:5000/", "3") == (
        "http://127.0.0.1:5000/#/experiments/3/runs"
        "?workflowType=machine_learning&compareRunsMode=CHART"
    )
    assert chart_url("http://h", "3", view="clowder-1").endswith("&viewStateShareKey=clowder-1")


def test_importing_the_package_imports_neither_mlflow_nor_ray() -> None:
    code = (
        "import sys, experiments.tracking\n"
        "print(*{'mlflow', 'ray', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
