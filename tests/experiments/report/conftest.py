"""Played games that all made-up studies share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments import recipe as recipes
from experiments.recipes import find_recipe
from tests.experiments.report.synthetic import Outcome, Pool, make_pool, make_study

BLOCKS, ALIVE, SEEDS = (0.0, 0.05, 0.1), (0.0, 0.02), (0, 1, 2)
RATES = {0.0: 0.1, 0.05: 0.5, 0.1: 0.9}
"""Win rate by `own_block`, which alone decides."""


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Victories, and games lost in several ways."""
    return make_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="session")
def grid(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three values of `own_block` by two of `alive`, three seeds each; only the first matters."""
    configs = [
        {"rewards.own_block": block, "rewards.alive": alive, "run.seed": seed}
        for block in BLOCKS
        for alive in ALIVE
        for seed in SEEDS
    ]

    def come_to(config: Any, index: int) -> Outcome:
        rate = RATES[config["rewards.own_block"]] + 0.025 * ((index * 7) % 5 - 2)
        return Outcome(win_rate=rate, failing={"time": 0.7, "crushed": 0.3})

    recipe = recipes.replace(
        find_recipe("smoke"),
        {
            "sweep.space": ("rewards.own_block=0,0.05,0.1", "rewards.alive=0,0.02"),
            "sweep.num_seeds": 3,
            "run.env_steps": 4000,
        },
    )
    folder = tmp_path_factory.mktemp("grid")
    return make_study(folder / "grid", pool, configs, come_to, recipe=recipe)
