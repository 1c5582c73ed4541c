"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def in_one_piece(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to: it takes its place once all is written, and goes if not.

    >>> with in_one_piece(Path("state.json")) as temporary:
    ...     temporary.write_text("{}")
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
