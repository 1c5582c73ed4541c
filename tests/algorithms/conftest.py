"""One thread and one seed; a game that truncates; algorithms that are stopped in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from env import rllib
from env.games import GAMES, Game
from env.pico_park import PicoParkConfig, PicoParkRewards
from tests.algorithms.small import CutPark


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


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
