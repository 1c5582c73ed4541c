"""What verbs print: tables that fit the terminal, and lines as they are."""

from __future__ import annotations

import sys

from rich.console import Console

WIDTH = 110
"""Of tables that nobody looks at yet: in files and pipes; characters."""


def open_console() -> Console:
    """As wide as the terminal, or `WIDTH`."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def tell(console: Console, line: str) -> None:
    """Prints a text unbroken and uncoloured: names and paths in it are no markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
