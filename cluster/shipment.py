"""What a job takes along: the platform's rooms as they stand, and the simulators compiled here."""

from __future__ import annotations

import shutil
from pathlib import Path

from native.build import load

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("native", "env", "models", "algorithms", "experiments", "cluster")
"""In the order in which they may import: each from those before it."""
FILES = ("clowder.py", "constraints.txt", "pyproject.toml")
_NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", ".*")


def pack(folder: Path) -> Path:
    """Copies the platform into an empty folder, with a compiled simulator beside the rooms.

    A node uses that library if it fits its system, and builds its own if it has a compiler; either
    must have the hash of these sources. Nothing else of the working folder travels: no results, no
    credentials that lie about.

    Raises:
        native.build.BuildError: the simulators can't be built here.
    """
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=_NOT_SHIPPED)
    for name in FILES:
        if (ROOT / name).is_file():  # an installed platform has no pyproject.toml
            shutil.copy2(ROOT / name, folder / name)
    library = load().__file__
    assert library is not None
    shutil.copy2(library, folder / Path(library).name)
    return folder
