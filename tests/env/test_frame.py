"""Frames for drawing: they say what the text says, and the end of a game that the text can't."""

from __future__ import annotations

import numpy as np
import pytest

from env.batch import Level
from env.errors import BadInputError
from env.pico_park import Frame, PicoPark, PicoParkConfig


def as_text(frame: Frame) -> str:
    """A frame as the game prints itself."""
    letters = {0: ".", 9: "#"} | {c + 1: "abcdefgh"[c] for c in range(8)}
    rows = [[letters[int(tile)] for tile in row] for row in frame.tiles]
    if frame.key is not None:
        rows[frame.key[0]][frame.key[1]] = "K"
    rows[frame.door[0]][frame.door[1]] = "O" if frame.door_is_open else "D"
    for row, column, _ in frame.bullets:
        rows[row][column] = "-"
    for seat, cat in enumerate(frame.cats):
        if cat.status == "playing":
            rows[cat.row][cat.column] = str(seat)
    return "\n".join("".join(row) for row in rows) + "\n"


@pytest.mark.parametrize(
    ("preset", "num_agents"), [("meadow", 2), ("gauntlet", 4), ("classic", 4), ("curtains", 8)]
)
def test_it_shows_what_the_text_says(preset: str, num_agents: int) -> None:
    config = PicoParkConfig(preset=preset, num_agents=num_agents, on_death="continue")  # type: ignore[arg-type]
    sim = PicoPark(6, config, seed=1)
    sim.reset()
    rng = np.random.default_rng(0)
    for tick in range(60):
        for i in range(6):
            frame = sim.frame(i)
            assert as_text(frame) == sim.text(i), tick
        sim.step(rng.choice([0, 1, 3, 3, 4, 5], (6, num_agents)))


def test_the_screen_moves_on_and_passed_tiles_stay_drawn() -> None:
    sim = PicoPark(1, PicoParkConfig(preset="gauntlet", on_death="continue"), seed=0)
    sim.reset()
    before = sim.frame(0)
    for _ in range(12):
        sim.step(np.full((1, 4), 5))
    frame = sim.frame(0)
    assert (before.tick, before.left) == (0, 0) and (frame.tick, frame.left) == (12, 3)
    assert (before.tiles == frame.tiles).all()


def test_who_holds_the_key_and_who_shot_are_told() -> None:
    sim = PicoPark(1, PicoParkConfig(num_agents=2, shot_cooldown=5), seed=0)
    sim.reset(maps=["0K.a....\n1.....bD"])
    sim.step(np.array([[3, 4]]))
    frame = sim.frame(0)
    assert frame.key is None and [cat.holds_key for cat in frame.cats] == [True, False]
    assert frame.bullets == ((1, 3, 1),) and frame.cats[1].cooldown == 4


def test_the_end_is_kept_until_the_next_step() -> None:
    sim = PicoPark(2, PicoParkConfig(num_agents=2), seed=0)
    sim.keep_ended()
    sim.reset(levels=[Level(map="01O"), Level(map="0...O\n1....")])
    with pytest.raises(BadInputError, match="can't be shown"):
        sim.frame(0, ended=True)
    sim.step(np.array([[5, 3], [5, 5]]))
    sim.step(np.array([[3, 5], [5, 5]]))
    assert not sim.terminated.any()
    sim.step(np.array([[3, 5], [5, 5]]))
    assert sim.terminated.tolist() == [True, False]
    end = sim.frame(0, ended=True)
    assert [cat.status for cat in end.cats] == ["out", "out"] and end.tick == 3
    assert sim.frame(0).tick == 0  # the next level
    with pytest.raises(BadInputError, match="can't be shown"):
        sim.frame(1, ended=True)
    sim.step(np.array([[5, 5], [5, 5]]))
    with pytest.raises(BadInputError, match="can't be shown"):
        sim.frame(0, ended=True)


def test_a_longer_map_may_come_after_it_was_asked_to_keep_the_end() -> None:
    sim = PicoPark(1, PicoParkConfig(num_agents=2), seed=0)
    sim.keep_ended()
    sim.reset(maps=["01" + "." * 900 + "O"])
    sim.step(np.array([[5, 3]]))
    sim.reset(maps=["01O"])
    for actions in ([5, 3], [3, 5], [3, 5]):
        sim.step(np.array([actions]))
    assert sim.frame(0, ended=True).tiles.shape == (1, 3)
