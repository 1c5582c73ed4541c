"""The command line: `clowder VERB`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Hands the words to the room that owns the verb."""
    from cluster.verbs import LINES, verbs
    from experiments import cli

    return cli.main(arguments, verbs(), LINES)


if __name__ == "__main__":
    sys.exit(main())
