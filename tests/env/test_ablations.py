"""What can be hidden from cats: just that, and nothing else of what they see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from env.pico_park import PicoPark, PicoParkConfig

MAP = """
....#....
.1K.b....
0...a...D
2...c..3.
....d....
"""


@pytest.fixture
def seen() -> dict[str, NDArray[Any]]:
    """All four cats' observations, cat 1 holding the key, a bullet of cat 0 in the air."""
    sim = PicoPark(1, PicoParkConfig(preset="gauntlet", screen_width=25))
    sim.reset(maps=[MAP])
    sim.step(np.array([[4, 3, 5, 5]]))
    observed = {name: array[0].copy() for name, array in sim.observations.items()}
    assert (observed["grid"][:, 4] == 1).any(), "there is no bullet to hide"
    assert (observed["grid"][:, 3] > 8).any(), "nobody holds the key"
    return observed


def hidden(seen: dict[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    copy = {key: array.copy() for key, array in seen.items()}
    PicoPark.ablations[name](copy)
    assert (copy["global"] == seen["global"]).all()
    return copy


@pytest.mark.parametrize(
    ("name", "channel", "left"),
    [
        ("teammates", 3, {0}),
        ("teammate_colours", 3, {0, 1, 9}),
        ("block_colours", 2, {0, 1}),
        ("other_blocks", 2, {0}),
        ("bullets", 4, {0, 2, 3, 4}),
    ],
)
def test_one_thing_is_hidden(
    seen: dict[str, NDArray[Any]], name: str, channel: int, left: set[int]
) -> None:
    before, after = seen["grid"], hidden(seen, name)["grid"]
    assert set(np.unique(after[:, channel])) <= left
    assert (before[:, channel] != after[:, channel]).any()
    others = [one for one in range(5) if one != channel]
    assert (before[:, others] == after[:, others]).all()


def test_who_is_where_stays_when_only_colours_are_hidden(seen: dict[str, NDArray[Any]]) -> None:
    for name, channel in (("teammate_colours", 3), ("block_colours", 2)):
        after = hidden(seen, name)["grid"][:, channel]
        assert ((after > 0) == (seen["grid"][:, channel] > 0)).all()
    agents = hidden(seen, "teammate_colours")["grid"][:, 3]
    assert ((agents > 8) == (seen["grid"][:, 3] > 8)).all()
