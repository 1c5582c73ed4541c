"""One thread and one seed; a game that truncates; algorithms that are stopped in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from algorithms.env_runner import BatchedEnvRunner
from algorithms.rollout import Rollouts
from env import rllib
from env.games import GAMES, Game
from env.pico_park import PicoParkConfig, PicoParkRewards
from tests.algorithms.small import CutPark, make_runner, sample


@pytest.fixture(autouse=True)
def _always(one_thread_one_seed: None) -> None:
    """Every test here."""


@pytest.fixture(scope="module")
def runner() -> BatchedEnvRunner:
    return make_runner()


@pytest.fixture(scope="module")
def rollouts(runner: BatchedEnvRunner) -> Rollouts:
    """The second rollout: memories are carried into it, and episodes end inside."""
    sample(runner)
    return sample(runner)


@pytest.fixture
def cut_park(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a game in which every other ending is a cut."""
    game = Game(simulator=CutPark, config=PicoParkConfig, rewards=PicoParkRewards)
    monkeypatch.setitem(GAMES, "cut_park", game)
    rllib.register()
    return "cut_park"


@pytest.fixture
def build(ray: Any) -> Iterator[Callable[[Any], Any]]:
    """Builds algorithms from configs and stops them when the test is over."""
    built = []

    def make(config: Any) -> Any:
        built.append(config.copy(copy_frozen=False).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()
