"""`make ui`: MLflow's pages, opened on the newest sweep's charts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking import Unavailable
from experiments.tracking.charts import share_key
from experiments.tracking.ui import newest_view, serve, server_command

from .conftest import MakeTracker, start


def test_the_server_stays_on_this_machine() -> None:
    command = server_command("sqlite:////repo/mlflow.db", "/repo/my artifacts", 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--artifacts-destination") + 1] == "/repo/my artifacts"


def test_the_link_is_the_newest_sweeps_view(
    root: Path, make_tracker: MakeTracker, client: Any
) -> None:
    store = f"sqlite:///{root}/mlflow.db"
    base = "http://127.0.0.1:5000"
    assert newest_view(store, base) == base, "an empty store has no charts"
    tracker = make_tracker()
    start(tracker)
    assert tracker.drain(60)
    assert "viewStateShareKey" not in newest_view(store, base), "no sweep arranged a view"
    tracker.share_view(["rewards.alive"], [])
    assert tracker.drain(60)
    parent = str(tracker.run_id())
    link = newest_view(store, base)
    assert link.endswith(f"&viewStateShareKey={share_key(parent)}")
    # Somebody's run beside it, later, in an experiment that no sweep made.
    other = client.create_experiment("by hand")
    client.create_run(other, start_time=2**42)
    assert newest_view(store, base) == link


def test_without_runs_it_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="make sweep"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", "mlartifacts")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_taken_port_is_named(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} .* PORT=5001"):
            serve(f"sqlite:///{root}/mlflow.db", "mlartifacts", port=port)
