"""The simulator in C and the plain-Python reference play the same random games, tick by tick.

CLOWDER_REFERENCE_TICKS says how many ticks (`make reference` plays 200,000).
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from env import PicoPark, PicoParkConfig

NUM_TICKS = int(os.environ.get("CLOWDER_REFERENCE_TICKS", "12000"))
NUM_SHARDS = 4


def load_reference() -> ModuleType:
    path = Path(__file__).with_name("pico_park_reference.py")
    spec = importlib.util.spec_from_file_location("pico_park_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pico_park_reference"] = module
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def random_config(rng: random.Random) -> PicoParkConfig:
    return PicoParkConfig(
        num_agents=rng.randint(2, 8),
        screen_width=rng.choice([6, 9, 12, 25, 40]),
        scroll_period=rng.choice([1, 2, 3, 5, 8, 20]),
        shot_cooldown=rng.choice([0, 1, 2, 3, 3, 7]),
        bullet_speed=rng.choice([1, 1, 2, 2, 3, 5]),
        bullets_per_agent=rng.choice([0, 0, 1, 2]),
        time_limit=rng.choice([0, 0, 5, 30, 200]),
        on_death=rng.choice(["defeat", "continue", "continue"]),
    )


def random_map(rng: random.Random, config: PicoParkConfig) -> str:
    """Mostly free, so that keys are taken and doors are used; few columns, so that cats meet."""
    height = rng.choice([2, 3, 5, 8, 14, 20])
    length = max(6, rng.choice([6, 10, 16, 25, 30, 45]))
    blocks = "".join(chr(ord("a") + i) for i in range(config.num_agents))
    density = rng.choice([0.0, 0.1, 0.25])
    cells = [
        rng.choice("#" + 3 * blocks) if rng.random() < density else "."
        for _ in range(height * length)
    ]
    starts = [r * length + c for r in range(height) for c in range(min(length, 6))]
    rng.shuffle(starts)
    for agent in range(config.num_agents):
        cells[starts[agent]] = str(agent)
    free = [i for i in range(height * length) if i not in starts[: config.num_agents]]
    rng.shuffle(free)
    if rng.random() < 0.25:
        cells[free[0]] = "O"
    else:
        cells[free[0]], cells[free[1]] = "D", "K"
    return "\n".join("".join(cells[r * length : (r + 1) * length]) for r in range(height))


def steer(rng: random.Random, game: object, agent: int) -> int:
    """Random actions that now and then walk towards key or door, so that all phases are played."""
    if rng.random() < 0.35:
        return rng.randint(0, 5)
    if rng.random() < 0.25:
        return 4
    row, column = game.agents[agent].position
    target = game.key if game.key is not None else game.door
    down, right = target[0] - row, target[1] - column
    if abs(right) > abs(down) or (down == 0 and right != 0):
        return 3 if right > 0 else 2
    return 1 if down > 0 else 0


def compare(sim: PicoPark, game: object, tick: object, grid: np.ndarray, state: np.ndarray) -> None:
    expected = [[tick.terms[i][name] for name in sim.term_names] for i in range(sim.num_agents)]
    np.testing.assert_array_equal(sim.terms[0], np.array(expected, np.float32))
    assert bool(sim.terminated[0]) == tick.ended
    for i in range(sim.num_agents):
        np.testing.assert_array_equal(grid[i], np.array(game.grid(i), np.uint8))
        np.testing.assert_array_equal(state[i], np.array(game.global_state(i), np.float32))


def play(rng: random.Random, budget: int) -> int:
    config = random_config(rng)
    text = random_map(rng, config)
    sim = PicoPark(1, config, seed=0)
    sim.reset(maps=[text])
    rules = reference.Rules(
        num_agents=config.num_agents,
        screen_width=config.screen_width,
        scroll_period=config.scroll_period,
        shot_cooldown=config.shot_cooldown,
        bullet_speed=config.bullet_speed,
        bullets_per_agent=config.bullets_per_agent,
        time_limit=config.time_limit,
        on_death=config.on_death,
    )
    game = reference.Reference(text, rules)
    assert sim.text(0).rstrip("\n") == game.text() == text
    for played in range(1, budget + 1):
        actions = [steer(rng, game, i) for i in range(config.num_agents)]
        sim.step(np.array([actions], np.int32))
        tick = game.step(actions)
        if tick.ended:
            compare(sim, game, tick, sim.final_grid[0], sim.final_global[0])
            record = sim.episodes()[0]
            assert sim.outcome_names[record["outcome"]] == tick.outcome
            assert sim.cause_names[record["cause"]] == tick.cause
            assert record["length"] == game.tick == played
            return played
        compare(sim, game, tick, sim.grid[0], sim.global_state[0])
        assert sim.text(0).rstrip("\n") == game.text()
        assert [bool(alive) for alive in sim.alive[0]] == [
            agent.status == "in play" for agent in game.agents
        ]
    return budget


@pytest.mark.parametrize("shard", range(NUM_SHARDS))
def test_c_and_reference_agree(shard: int) -> None:
    rng = random.Random(f"reference {shard}")
    left = NUM_TICKS // NUM_SHARDS
    while left > 0:
        left -= play(rng, left)
