"""`python -m experiments VERB`: the same as `clowder VERB`, for `ray job submit`."""

import sys

from experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())
