"""What `benchmarks.losses` reads of a level's start."""

from __future__ import annotations

from benchmarks.losses import Opening, opening_of
from env.pico_park import PicoPark, PicoParkConfig

WALLED = "......###..."


def test_the_easiest_row_through_the_first_obstacle_is_found() -> None:
    rows = [WALLED] * 14
    rows[0] = "0.....###K.."
    rows[3] = "......aab..."  # one change of colour
    rows[5] = "......ab...."  # as many
    rows[13] = "1.....###D.."
    sim = PicoPark(1, PicoParkConfig(num_agents=2), seed=0)
    sim.reset(maps=["\n".join(rows)])
    found = opening_of(sim.frame(0))
    # From row 13 a cat sees rows 6 to 13.
    assert found == Opening(column=6, depth=3, switches=1, blind=1)


def test_a_level_without_obstacles_asks_for_nothing() -> None:
    rows = ["." * 12] * 14
    rows[0] = "0.....#..K.."
    rows[13] = "1........D.."
    sim = PicoPark(1, PicoParkConfig(num_agents=2), seed=0)
    sim.reset(maps=["\n".join(rows)])
    assert opening_of(sim.frame(0)) == Opening(column=0, depth=0, switches=0, blind=0)
