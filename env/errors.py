"""The one exception for what a person got wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInputError(ValueError):
    """A config, map, action, file or address that makes no sense.

    The message is one sentence with the value and the remedy; the command line prints it as it is
    and exits with status 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BadInputError:
    """The error for a name that nobody knows, with the nearest that somebody does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}."
    return BadInputError(f"unknown {kind} {name!r}; {hint}")
