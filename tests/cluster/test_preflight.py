"""Every node is looked at before work starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cluster.preflight import Finding, _judge, check_nodes, look
from env.errors import BadInputError
from experiments import session

GOOD = Finding(
    source_hash="abc",
    problem="",
    versions=(("Python", "3.11"), ("torch", "2.13.0")),
    sees_storage=True,
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source_hash": "xyz"}, "node n has simulators xyz, the driver abc"),
        ({"source_hash": "", "problem": "no compiler"}, "no simulators that fit (no compiler)"),
        ({"versions": (("Python", "3.12"), ("torch", "2.13.0"))}, "node n has Python 3.12"),
        ({"versions": (("Python", "3.11"), ("torch", "2.12.0"))}, "node n has torch 2.12.0"),
        ({"sees_storage": False}, "node n doesn't see what the driver writes"),
    ],
)
def test_what_doesnt_fit_is_named(change: dict[str, Any], told: str) -> None:
    assert told in _judge("n", dataclasses.replace(GOOD, **change), GOOD)


def test_what_fits_is_not() -> None:
    assert _judge("n", GOOD, GOOD) == ""
    assert _judge("n", "has not answered for 120 s", GOOD) == "node n has not answered for 120 s"


def test_a_look_finds_what_is_here(tmp_path: Path) -> None:
    from native.build import source_hash

    found = look(str(tmp_path / "mark"))
    assert found.source_hash == source_hash() and not found.problem and not found.sees_storage
    (tmp_path / "mark").touch()
    assert look(str(tmp_path / "mark")).sees_storage


def test_nodes_of_a_real_cluster_are_asked(tmp_path: Path) -> None:
    session.start_ray()
    assert check_nodes(tmp_path / "results") == 1
    assert list((tmp_path / "results").iterdir()) == []


def test_storage_that_cant_be_written_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(BadInputError, match="name a folder that all nodes share"):
        check_nodes(tmp_path / "results")


def test_a_store_that_isnt_mounted_is_a_mistake() -> None:
    with pytest.raises(BadInputError, match="'s3://bucket/x' is no folder; mount"):
        session.storage_folder("s3://bucket/x")
