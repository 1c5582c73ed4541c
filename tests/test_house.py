"""The house: a room imports only from rooms to its left."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.shipment import ROOMS

ROOT = Path(__file__).parents[1]
RIGHT_OF_ALL = "clowder"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and first name of every import, wherever it stands; relative ones stay in the room."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield node.lineno, one.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def breaches(room: str, source: str) -> list[str]:
    """Imports that a file of this room must not have."""
    allowed = ROOMS[: ROOMS.index(room) + 1]
    forbidden = (set(ROOMS) | {RIGHT_OF_ALL, "tests", "benchmarks"}) - set(allowed)
    return [f"line {line} imports {name}" for line, name in imports(source) if name in forbidden]


def files() -> list[tuple[str, Path]]:
    return [(room, path) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize(
    ("room", "path"), files(), ids=[str(path.relative_to(ROOT)) for _, path in files()]
)
def test_a_room_imports_only_from_its_left(room: str, path: Path) -> None:
    assert breaches(room, path.read_text()) == []


def test_the_rooms_are_there() -> None:
    assert {"native", "env", "models", "experiments"} <= {room for room, _ in files()}


@pytest.mark.parametrize(
    ("room", "source", "is_breach"),
    [
        ("env", "from models import ModelConfig", True),
        ("env", "def f():\n    import experiments.recipe as r", True),
        ("native", "from env.batch import Level", True),
        ("models", "if TYPE_CHECKING:\n    from experiments import recipe", True),
        ("experiments", "import clowder", True),
        ("experiments", "from tests import conftest", True),
        ("models", "from env.errors import BadInputError", False),
        ("experiments", "from experiments import recipe\nimport ray", False),
        ("env", "from .batch import Level", False),
    ],
)
def test_the_rule_sees_what_it_should(room: str, source: str, is_breach: bool) -> None:
    assert bool(breaches(room, source)) == is_breach
