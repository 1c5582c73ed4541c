"""Names and texts in the form that MLflow takes."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping

MAX_NAME = 24
"""Characters of a run's name that MLflow's UI shows."""

_BAD_CHARACTERS = re.compile(r"[^/\w.\- :]")


def short_name(name: str, limit: int = MAX_NAME) -> str:
    """Returns `name` within `limit` characters, cut in the middle: ends tell seeds apart."""
    name = " ".join(name.split())
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
