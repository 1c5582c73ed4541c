"""The batched frame carries a second game: a toy, compiled here beside native/batch.c."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import cffi
import numpy as np
import pytest

from env.batch import BatchedGame, ObservationPart, Rewards
from env.conformance import CHECKS, Make, check_rewards
from env.errors import BadInputError
from native import build


@dataclass(frozen=True, kw_only=True)
class ToyRewards(Rewards):
    up: float = 0.25
    won: float = 1.0
    team_share: float = 0.5


class Toy(BatchedGame):
    name = "toy"
    parts = (ObservationPart(name="counts", shape=(2,), dtype=np.float32, low=0, high=2),)
    module: ClassVar[ModuleType]

    def __init__(self, num_envs: int, seed: int | Sequence[int], time_limit: int = 7) -> None:
        super().__init__(
            self.module.lib.toy_create(num_envs, 3, time_limit),
            module=self.module,
            rewards=ToyRewards(),
            difficulty_names=("only",),
            seed=seed,
        )


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("toy")
    builder = cffi.FFI()
    builder.cdef(
        build.declarations(("batch.h",))
        + "batch *toy_create(int32_t num_envs, int32_t num_agents, int32_t time_limit);"
    )
    builder.set_source(
        "clowder_toy",
        '#include "batch.h"\nbatch *toy_create(int32_t, int32_t, int32_t);',
        sources=[str(Path(__file__).with_name("toy_game.c")), str(build.FOLDER / "batch.c")],
        include_dirs=[str(build.FOLDER)],
        extra_compile_args=[*build.FLAGS],
    )
    path = builder.compile(tmpdir=str(folder))
    spec = importlib.util.spec_from_file_location("clowder_toy", path)
    assert spec is not None and spec.loader is not None
    Toy.module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(Toy.module)
    return Toy


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_toy_passes_the_conformance_kit(make: Make, check: type) -> None:
    check(make)


def test_truncation_is_told_from_termination(make: Make) -> None:
    sim = make(2, 0)
    sim.reset(maps=["9", "1"])
    for _ in range(7):
        sim.step(np.array([[1, 0, 0], [0, 0, 1]]))
    assert sim.truncated.tolist() == [True, False] and sim.terminated.tolist() == [False, True]
    np.testing.assert_allclose(sim.final_observations["counts"][0, 0], [0.7, 0.9])
    assert sim.observations["counts"][0, 0, 0] == 0


def test_a_toy_map_is_refused_in_the_toys_words(make: Make) -> None:
    sim = make(1, 0)
    with pytest.raises(BadInputError, match="one digit"):
        sim.reset(maps=["x"])


def test_the_kit_can_fail(make: Make) -> None:
    class Cheat(Toy):
        def step(self, actions: np.ndarray) -> None:
            super().step(actions)
            self.rewards += 1

    with pytest.raises(AssertionError):
        check_rewards(lambda num_envs, seed: Cheat(num_envs, seed))
