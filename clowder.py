"""The command line: `clowder VERB`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Hands the words to the room that owns the verb."""
    from cluster.verbs import SUBMIT_LINE, verbs
    from experiments import cli

    before, after = cli.USAGE.split("  doctor ", 1)
    return cli.main(arguments, verbs(), f"{before}{SUBMIT_LINE}\n  doctor {after}")


if __name__ == "__main__":
    sys.exit(main())
