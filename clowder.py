"""The command line: `clowder VERB`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Hands the words to the room that owns the verb."""
    from experiments.cli import main as experiments_main

    return experiments_main(arguments)


if __name__ == "__main__":
    sys.exit(main())
