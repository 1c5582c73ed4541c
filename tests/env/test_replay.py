"""Replays: come back as they were, play again exactly or say where not, refuse all else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from env.batch import Level
from env.errors import BadInputError
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from env.replay import MAGIC, MAX_BYTES, Divergence, Replay, load, play, record, verify
from env.scripted import ScriptedTeam

ROOT = Path(__file__).parents[2]
CONFIG = PicoParkConfig(preset="gates", num_agents=3)
LEVEL = Level(seed=5, held_out=True)


def scripted_actions(config: PicoParkConfig, level: Level) -> np.ndarray[Any, Any]:
    """What the scripted team does, to the end."""
    sim = PicoPark(1, config, seed=0)
    sim.reset(levels=[level])
    team = ScriptedTeam(config.num_agents, config)
    taken = []
    while not taken or not sim.terminated[0]:
        taken.append(team.actions(sim)[0])
        sim.step(np.array(taken[-1])[None])
    return np.array(taken)


def make(level: Level = LEVEL, config: PicoParkConfig = CONFIG, **extra: Any) -> Replay:
    actions = scripted_actions(config, level)
    return record("pico_park", config, PicoParkRewards(), level, actions, **extra)


@pytest.fixture(scope="module")
def replay() -> Replay:
    return make(source={"run": "scripted"})


@pytest.fixture
def path(replay: Replay, tmp_path: Path) -> Path:
    return replay.save(tmp_path / "game.replay")


def packed(replay: Replay, path: Path, **header: Any) -> Path:
    """The replay's file with other entries in its header, and a checksum that agrees."""
    data = zlib.decompress(replay.save(path).read_bytes()[len(MAGIC) + 32 :])
    return written(path, _with_header(data, header))


def _with_header(data: bytes, changes: dict[str, Any]) -> bytes:
    length = int.from_bytes(data[:8], "little")
    head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["replay"])
    arrays = safetensors.numpy.load(data)
    return safetensors.numpy.save(arrays, {"replay": json.dumps(head | changes)})


def written(path: Path, data: bytes) -> Path:
    squeezed = zlib.compress(data)
    path.write_bytes(MAGIC + hashlib.sha256(squeezed).digest() + squeezed)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        load(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(path) in sentence
    return sentence


# -- there and back


def test_it_comes_back_as_it_was(replay: Replay, path: Path) -> None:
    again = load(path)
    for one in dataclasses.fields(Replay):
        before, after = getattr(replay, one.name), getattr(again, one.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype and np.array_equal(before, after)
        else:
            assert before == after
    assert verify(again) is None


def test_it_is_small(path: Path) -> None:
    assert path.stat().st_size < 4096


def test_the_policys_thoughts_lie_beside(tmp_path: Path) -> None:
    ticks = len(scripted_actions(CONFIG, LEVEL))
    rng = np.random.default_rng(0)
    thoughts = {"probabilities": rng.random((ticks, 3, 6)), "values": rng.random((ticks, 3))}
    again = load(make(**thoughts).save(tmp_path / "a.replay"))
    for name, given in thoughts.items():
        assert np.array_equal(getattr(again, name), given.astype(np.float16))


def test_a_map_by_hand_can_be_replayed(tmp_path: Path) -> None:
    level = Level(map="0..a..K\n1..b..D")
    config = PicoParkConfig(num_agents=2)
    again = load(make(level, config).save(tmp_path / "a.replay"))
    assert again.level == level and again.record["outcome"] == "victory"
    assert verify(again) is None


def test_a_difficulty_is_kept_by_its_name() -> None:
    replay = make(Level(seed=3, difficulty=0))
    assert replay.level.difficulty == "meadow" and verify(replay) is None


def test_the_record_is_the_simulators(replay: Replay) -> None:
    assert replay.record["outcome"] == replay.record["cause"] == "victory"
    assert replay.record["length"] == replay.num_ticks == len(replay.hashes)
    assert replay.record["exits"] == 3 and replay.record["terms"]["victory"] == [1, 1, 1]


def test_actions_must_reach_the_end() -> None:
    actions = scripted_actions(CONFIG, LEVEL)
    with pytest.raises(BadInputError, match="goes on after"):
        record("pico_park", CONFIG, PicoParkRewards(), LEVEL, actions[:-1])


def test_what_comes_after_the_end_is_left_out() -> None:
    actions = scripted_actions(CONFIG, LEVEL)
    longer = np.concatenate([actions, actions])
    replay = record("pico_park", CONFIG, PicoParkRewards(), LEVEL, longer)
    assert np.array_equal(replay.actions, actions)


# -- played again


def test_playing_shows_every_tick(replay: Replay) -> None:
    hashes, paid = [], np.zeros(3)
    for tick, sim in enumerate(play(replay)):
        hashes.append(sim.state_hash(0))
        if tick:
            paid += sim.terms[0].sum(1)
    assert len(hashes) == replay.num_ticks + 1
    assert hashes[:-1] == replay.hashes.tolist()
    assert paid.tolist() == np.array(list(replay.record["terms"].values())).sum(0).tolist()


def test_it_goes_on_from_a_snapshot(replay: Replay) -> None:
    middle = replay.num_ticks // 2
    first, second = replay.simulator(), replay.simulator()
    for row in replay.actions[:middle]:
        first.step(row[None].astype(np.int32))
    second.restore(0, first.snapshot(0))
    for tick, row in enumerate(replay.actions[middle:], middle):
        assert second.state_hash(0) == int(replay.hashes[tick])
        second.step(row[None].astype(np.int32))
    assert second.terminated[0]


@pytest.mark.parametrize("tick", [0, 7, -1])
def test_another_action_is_found_out(replay: Replay, tick: int) -> None:
    actions = replay.actions.copy()
    # Into the wall of the level's start, or another shot: one of these changes the state.
    found = []
    for action in range(6):
        actions[tick] = action
        found.append(verify(dataclasses.replace(replay, actions=actions)))
    parted = [one for one in found if one is not None]
    assert parted
    index = tick % replay.num_ticks
    assert all(one.tick >= index + 1 for one in parted)


@pytest.mark.parametrize("tick", [0, 9])
def test_the_first_tick_that_differs_is_named(replay: Replay, tick: int) -> None:
    hashes = replay.hashes.copy()
    hashes[tick:] ^= np.uint64(1)
    found = verify(dataclasses.replace(replay, hashes=hashes))
    assert found is not None and found.tick == tick
    assert ("level" in found.reason) == (tick == 0)


def test_another_end_is_found_out(replay: Replay) -> None:
    last = replay.num_ticks
    short = dataclasses.replace(replay, actions=replay.actions[:-1], hashes=replay.hashes[:-1])
    assert verify(short) == Divergence(
        tick=last - 1, reason=f"the game goes on after tick {last - 1}, its last."
    )
    longer = dataclasses.replace(
        replay,
        actions=np.concatenate([replay.actions, replay.actions[:1]]),
        hashes=np.concatenate([replay.hashes, replay.hashes[:1]]),
    )
    found = verify(longer)
    assert found is not None and f"ends with tick {last}, not {last + 1}" in found.reason
    other = dataclasses.replace(replay, record={**replay.record, "shots": -1})
    found = verify(other)
    assert found is not None and found.tick == last and "shots comes out as" in found.reason


def test_other_rules_are_found_out(replay: Replay) -> None:
    config = {**replay.config, "scroll_period": 3}
    found = verify(dataclasses.replace(replay, config=config))
    assert found is not None


def test_another_build_plays_the_same(path: Path, tmp_path: Path) -> None:
    """Without optimisation, and with signed overflow trapped."""
    flags = {**os.environ, "CFLAGS": "-fno-strict-aliasing -ftrapv", "PYTHONPATH": str(ROOT)}
    build = [sys.executable, "-m", "native.build", "--optimize", "0", "--out", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env=flags, check=True, capture_output=True, timeout=120)
    (library,) = tmp_path.glob("*.so")
    script = (
        "import sys; from pathlib import Path\n"
        "from env.replay import load, verify\n"
        "print(verify(load(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        env={**os.environ, "CLOWDER_NATIVE": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "None", done.stderr


# -- what is refused


def test_another_version_is_refused(replay: Replay) -> None:
    with pytest.raises(BadInputError, match="played by version 99"):
        verify(dataclasses.replace(replay, version=99))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no replay"),
        (b"PK\x03\x04" + bytes(100), "no replay"),
        (MAGIC[:-1] + b"\x07" + bytes(64), "format is 07"),
        (MAGIC[:-1], "format is missing"),
        (MAGIC + bytes(10), "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.replay"
    path.write_bytes(data)
    assert reason in refusal(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "can't be read (No such file" in refusal(tmp_path / "x.replay")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    assert "unpacks to more than 64 MiB" in refusal(
        written(tmp_path / "x.replay", bytes(MAX_BYTES + 1))
    )


@pytest.mark.parametrize(
    "header",
    [
        {"game": "chess"},
        {"game": 3},
        {"config": {"num_agents": 99}},
        {"config": {"colour": "blue"}},
        {"config": []},
        {"config": {"num_agents": 4}},
        {"rewards": {"victory": "much"}},
        {"level": {"seed": -1}},
        {"level": {"map": "nonsense"}},
        {"level": {"planet": 1}},
        {"level": {"difficulty": "hopeless"}},
        {"version": "1"},
        {"version": 2},
        {"record": None},
    ],
)
def test_a_header_that_makes_no_sense_is_one_sentence(
    replay: Replay, tmp_path: Path, header: dict[str, Any]
) -> None:
    path = packed(replay, tmp_path / "x.replay", **header)
    with pytest.raises(BadInputError) as caught:
        verify(load(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"actions": np.zeros((3, 3), np.int64)},
        {"actions": np.zeros(3, np.uint8)},
        {"hashes": np.zeros(2, np.uint64)},
        {"hashes": None},
        {"values": np.zeros((1, 3), np.float16)},
        {"values": "agents"},
        {"secrets": np.zeros(3)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    replay: Replay, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "x.replay"
    data = zlib.decompress(replay.save(path).read_bytes()[len(MAGIC) + 32 :])
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])["__metadata__"]
    arrays = safetensors.numpy.load(data)
    for name, value in change.items():
        if value is None:
            del arrays[name]
        elif isinstance(value, str):
            arrays[name] = np.zeros((replay.num_ticks, 5), np.float16)
        else:
            arrays[name] = value
    written(path, safetensors.numpy.save(arrays, header))
    assert "no replay that Clowder wrote" in refusal(path)


def test_an_action_that_is_none_is_refused_when_played(replay: Replay) -> None:
    actions = replay.actions.copy()
    actions[3, 1] = 77
    with pytest.raises(BadInputError, match="action 77 is not one"):
        verify(dataclasses.replace(replay, actions=actions))


def test_a_thousand_corruptions_are_refused_or_play_exactly(path: Path) -> None:
    """With the checksum as it was, and made to agree: then deeper layers must hold."""
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    for number in range(1000):
        body = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            body[int(rng.integers(len(body)))] = int(rng.integers(256))
        if rng.random() < 0.2:
            body = body[: int(rng.integers(len(body)))]
        if number % 2:
            data = bytearray(zlib.decompress(whole[len(MAGIC) + 32 :]))
            for _ in range(int(rng.integers(1, 4))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
            written(path, bytes(data))
        else:
            path.write_bytes(body)
        try:
            verify(load(path))
        except BadInputError as error:
            assert str(error) and "\n" not in str(error)
