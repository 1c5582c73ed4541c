"""Levels keep their promises.

CLOWDER_NUM_LEVELS says how many of each preset (`make levels`: 2,000).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from env import PicoPark, PicoParkConfig
from env.pico_park import presets

NUM_LEVELS = int(os.environ.get("CLOWDER_NUM_LEVELS", "300"))


NEED_ALL = ("tunnels", "gauntlet", "classic", "lanes")
"""Presets whose levels can't be won without every colour."""


def held_out(preset: str, count: int = NUM_LEVELS, **settings: Any) -> PicoPark:
    sim = PicoPark(count, PicoParkConfig(preset=preset, **settings), seed=0)  # type: ignore[arg-type]
    sim.reset(level_seeds=range(count), held_out=True)
    return sim


@pytest.mark.parametrize("preset", presets())
def test_every_held_out_level_can_be_won_and_needs_its_colours(preset: str) -> None:
    sim = held_out(preset)
    needs_all = preset in NEED_ALL
    for i in range(sim.num_envs):
        key, door, colours = sim.search(i)
        assert key and door, sim.text(i)
        assert len(colours) == 4 or not needs_all, sim.text(i)


@pytest.mark.parametrize("num_agents", [2, 3, 8])
def test_other_team_sizes(num_agents: int) -> None:
    for preset in presets():
        sim = held_out(preset, 40, num_agents=num_agents)
        for i in range(sim.num_envs):
            key, door, colours = sim.search(i)
            assert key and door
            if preset in NEED_ALL:
                assert len(colours) >= min(num_agents, 4)


LADDER = {
    # preset: length, spacing, gap rows, thickness of an obstacle
    "meadow": (32, (7, 9)),
    "gates": (36, (6, 8)),
    "curtains": (44, (5, 7)),
    "tunnels": (52, (5, 6)),
    "gauntlet": (64, (4, 5)),
    "lanes": (52, (4, 5)),
}


@pytest.mark.parametrize("preset", LADDER)
def test_the_ladders_plan_is_kept(preset: str) -> None:
    length, (least, most) = LADDER[preset]
    sim = held_out(preset, 200)
    for i in range(sim.num_envs):
        rows = sim.text(i).split("\n")[:-1]
        tiles = np.array([list(row) for row in rows])
        assert tiles.shape == (14, length)
        is_obstacle = np.isin(tiles, list("#abcd")).any(axis=0)
        columns = np.flatnonzero(is_obstacle)
        assert 6 <= columns[0] <= 8 and columns[-1] < length - 7
        gaps = np.diff(columns)
        inside = gaps[gaps > 1] - 1
        assert inside.size == 0 or (inside.min() >= least and inside.max() <= most)
        agents = np.argwhere(np.isin(tiles, list("0123")))
        assert len(agents) == 4 and agents[:, 1].min() >= 1 and agents[:, 1].max() <= 4
        key, door = np.argwhere(tiles == "K")[0], np.argwhere(tiles == "D")[0]
        assert door[1] == length - 3
        assert 0.4 * length <= key[1] <= 0.75 * length and not is_obstacle[key[1]]


def test_classic_is_laid_out_as_the_original() -> None:
    sim = held_out("classic", 200)
    lengths = set()
    for i in range(sim.num_envs):
        rows = sim.text(i).split("\n")[:-1]
        tiles = np.array([list(row) for row in rows])
        lengths.add(tiles.shape[1])
        assert not np.isin(tiles[:, :25], list("#abcd")).any() and "#" not in sim.text(i)
        columns = 25
        while (tiles[:, columns] == tiles[0, columns]).all() and tiles[0, columns] != ".":
            columns += 1
        colours = tiles[0, 25:columns]
        assert 4 <= columns - 25 <= 6 and len(set(colours[:4])) == 4
        assert np.isin(tiles[:, columns : columns + 3], list("#abcdK")).sum() == 0
        assert np.argwhere(tiles == "D")[0][1] == tiles.shape[1] - 3
    assert min(lengths) >= 47 and max(lengths) <= 63 and len(lengths) > 8


def test_a_level_depends_on_seed_difficulty_and_team_size_alone() -> None:
    first = held_out("tunnels", 20)
    other = PicoPark(20, PicoParkConfig(preset="tunnels", shot_cooldown=9, on_death="continue"))
    other.reset(level_seeds=range(20), held_out=True)
    assert [first.text(i) for i in range(20)] == [other.text(i) for i in range(20)]


def test_training_and_held_out_levels_differ_for_the_same_seed() -> None:
    train, test = PicoPark(20), held_out("tunnels", 20)
    train.reset(level_seeds=range(20))
    assert all(train.text(i) != test.text(i) for i in range(20))


def test_fresh_training_levels_are_never_held_out_and_never_repeat() -> None:
    sim = PicoPark(256, seed=0)
    seeds = set()
    for _ in range(20):
        sim.reset()
        for i in range(sim.num_envs):
            level = sim.level(i)
            assert not level.held_out
            seeds.add(level.seed)
    assert len(seeds) == 20 * 256


def test_start_seats_and_key_rows_are_spread() -> None:
    sim = held_out("gates", 300)
    key_rows = [next(r for r, row in enumerate(sim.text(i).split("\n")) if "K" in row)
                for i in range(sim.num_envs)]  # fmt: skip
    assert np.bincount(key_rows, minlength=14).min() >= 5
