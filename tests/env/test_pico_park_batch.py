"""What the batched simulator promises beside the rules: see also tests/native/test_toy_game.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from env import BadInputError, Level, PicoPark, PicoParkConfig
from env.conformance import CHECKS, random_actions
from env.pico_park import presets

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("settings", [("gates", 4), ("tunnels", 2), ("classic", 8)])
def test_conformance(check: type, settings: tuple[str, int]) -> None:
    config = PicoParkConfig(preset=settings[0], num_agents=settings[1])  # type: ignore[arg-type]
    check(lambda num_envs, seed: PicoPark(num_envs, config, seed=seed))


def test_the_wide_and_the_portable_path_write_the_same() -> None:
    sims = [PicoPark(8, PicoParkConfig(num_agents=n), seed=4) for n in (5, 5)]
    sims[1].use_wide(False)
    rng = np.random.default_rng(4)
    for sim in sims:
        sim.reset()
    for _ in range(200):
        actions = random_actions(sims[0], rng)
        for sim in sims:
            sim.step(actions)
        np.testing.assert_array_equal(sims[0].grid, sims[1].grid)
        np.testing.assert_array_equal(sims[0].final_grid, sims[1].final_grid)


def test_difficulty_is_per_game_by_name_or_index() -> None:
    sim = PicoPark(2, PicoParkConfig(preset="meadow"), seed=0)
    sim.reset()
    sim.queue_levels(0, [Level(difficulty="gauntlet")])
    sim.queue_levels(1, [Level(difficulty=1, seed=3)])
    lengths: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(1000):
        sim.step(np.full((2, 4), 4))
        for i in np.flatnonzero(sim.terminated):
            lengths[int(i)].append(len(sim.text(int(i)).split("\n")[0]))
    assert lengths[0][:2] == [64, 32] and lengths[1][:2] == [36, 32]
    records = sim.episodes()
    assert records[records["game"] == 1]["difficulty"][:3].tolist() == [0, 1, 0]
    assert records[records["game"] == 1]["level_seed"][1] == 3
    with pytest.raises(BadInputError, match="did you mean 'gauntlet'"):
        sim.queue_levels(0, [Level(difficulty="gauntlett")])
    with pytest.raises(BadInputError, match="no difficulty 17"):
        sim.queue_levels(0, [Level(difficulty=17)])


def test_explicit_fields_override_every_preset() -> None:
    sim = PicoPark(1, PicoParkConfig(preset="meadow", length=80), seed=0)
    sim.reset()
    sim.queue_levels(0, [Level(difficulty="tunnels")])
    assert len(sim.text(0).split("\n")[0]) == 80
    while not sim.terminated[0]:
        sim.step(np.full((1, 4), 3))
    assert len(sim.text(0).split("\n")[0]) == 80


def test_records_are_kept_until_collected() -> None:
    sim, rng = PicoPark(64, seed=2), np.random.default_rng(2)
    sim.reset()
    ends = 0
    for _ in range(300):
        sim.step(random_actions(sim, rng))
        ends += int(sim.terminated.sum())
    records = sim.episodes()
    assert len(records) == ends and len(sim.episodes()) == 0
    assert {sim.outcome_names[o] for o in records["outcome"]} <= {"victory", "defeat"}


def test_snapshot_of_another_config_is_refused() -> None:
    one, other = PicoPark(1, seed=0), PicoPark(1, PicoParkConfig(shot_cooldown=4), seed=0)
    one.reset()
    other.reset()
    with pytest.raises(BadInputError, match="another game, simulator version or config"):
        other.restore(0, one.snapshot(0))


def test_a_thousand_corruptions_are_refused_or_harmless() -> None:
    sim, rng = PicoPark(2, seed=0), np.random.default_rng(0)
    sim.reset(maps=["01.a.K\n23.b.D", "01...K\n23...D"])
    sim.queue_levels(0, [Level(map="0123.KD"), Level(seed=1)])
    data = sim.snapshot(0)
    for _ in range(1000):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            broken[at] ^= int(rng.integers(1, 256))
        with pytest.raises(BadInputError):
            sim.restore(1, bytes(broken[: rng.integers(1, len(data) + 1)]))


def test_snapshot_carries_maps_queue_and_running_record_to_another_process() -> None:
    sim, rng = PicoPark(1, PicoParkConfig(num_agents=2), seed=3), np.random.default_rng(3)
    sim.reset()
    sim.queue_levels(0, [Level(map="0.K\n1.D"), Level(seed=9, held_out=True)])
    for _ in range(2):
        sim.step(random_actions(sim, rng))
    script = [random_actions(sim, rng) for _ in range(120)]
    data = sim.snapshot(0)
    code = (
        "import sys, json, numpy as np\n"
        "from env import PicoPark, PicoParkConfig\n"
        "data, script = json.load(sys.stdin)\n"
        "sim = PicoPark(1, PicoParkConfig(num_agents=2), seed=77)\n"
        "sim.reset(); sim.restore(0, bytes.fromhex(data))\n"
        "hashes = []\n"
        "for row in script: sim.step(np.array(row)); hashes.append(sim.state_hash(0))\n"
        "print(json.dumps([hashes, sim.episodes()['terms'].tolist()]))\n"
    )
    text = json.dumps([data.hex(), [row.tolist() for row in script]])
    out = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, cwd=ROOT,
        check=True,
    )  # fmt: skip
    hashes = []
    for row in script:
        sim.step(row)
        hashes.append(sim.state_hash(0))
    assert json.loads(out.stdout) == [hashes, sim.episodes()["terms"].tolist()]


def test_the_same_state_hashes_the_same_whatever_index_or_object() -> None:
    first, second = PicoPark(1, seed=0), PicoPark(5, seed=9)
    first.reset(level_seeds=[7])
    second.reset(level_seeds=[1, 2, 3, 7, 4])
    assert first.state_hash(0) == second.state_hash(3) != second.state_hash(0)


def test_step_before_reset_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="reset the games"):
        PicoPark(1, seed=0).step(np.zeros((1, 4), np.int32))


def test_preset_names_are_the_ladder() -> None:
    ladder = ("meadow", "gates", "curtains", "tunnels", "gauntlet")
    assert presets() == (*ladder, "classic", "lanes")


def test_importing_env_costs_neither_ray_nor_torch() -> None:
    code = "import sys, env; print({'ray', 'torch', 'mlflow', 'gymnasium'} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert out.stdout.strip() == "set()"
