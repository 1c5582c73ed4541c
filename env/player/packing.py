"""Arrays as text in a page."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


def in_base64(array: NDArray[Any], kind: type[np.generic]) -> str:
    """An array as base64, little-endian; what doesn't fit `kind` is cut to its limits."""
    limits = np.iinfo(kind)  # type: ignore[type-var]
    whole = np.clip(array, limits.min, limits.max).astype(kind)
    return base64.b64encode(whole.astype(whole.dtype.newbyteorder("<")).tobytes()).decode()
