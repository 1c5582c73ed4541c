"""Names and texts in the form that MLflow takes."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping

MAX_NAME = 24
"""Characters of a run's name that MLflow's UI shows."""

MIN_KEY = 3
"""Characters that are left of a parameter's name."""

_BAD_CHARACTERS = re.compile(r"[^/\w.\- :]")


def short_name(name: str, limit: int = MAX_NAME) -> str:
    """Returns `name` within `limit` characters.

    Of words like `team_share=0.2` the longest names lose their ends first: values are what tells
    runs apart. Where that is not enough the middle goes, since ends tell seeds apart.
    """
    words = [list(word.partition("=")) for word in name.split()]
    named = [word for word in words if word[1]]

    def joined() -> str:
        return " ".join("".join(word) for word in words)

    while len(joined()) > limit and any(len(word[0]) > MIN_KEY for word in named):
        longest = max(named, key=lambda word: len(word[0]))
        longest[0] = longest[0][:-1]
        if len(longest[0]) > MIN_KEY:
            longest[0] = longest[0][:MIN_KEY] + longest[0][MIN_KEY:].rstrip("_")
    name = joined()
    if len(name) <= limit:
        return name
    tail = limit // 2 - 1
    return f"{name[: limit - tail - 1]}…{name[-tail:]}"


def clean_name(name: str) -> str:
    """Returns a metric's, parameter's or tag's name in characters that MLflow takes.

    One bad name would make MLflow refuse the whole batch it is in.
    """
    name = posixpath.normpath(_BAD_CHARACTERS.sub("_", str(name)))[:250]
    return name.lstrip("/.") or "unnamed"


def clean_text(value: object, limit: int = 8000) -> str:
    """Returns a parameter's or tag's value as MLflow's UI reads it.

    Floats, numpy's included, are written so that they read as numbers ("0.03", "1e-05"); mappings
    and sequences as JSON.
    """
    if isinstance(value, (Mapping, list, tuple)):
        text = json.dumps(value, default=str)
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
