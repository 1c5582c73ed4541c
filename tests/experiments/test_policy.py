"""Portable policies: two plain files that come back as they were, or are refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from env.errors import BadInputError
from env.pico_park import PicoPark, PicoParkConfig
from experiments import recipe as recipes
from experiments.policy import (
    CONFIG_FILE,
    LEVELS_FILE,
    WEIGHTS_FILE,
    build_module,
    layout_hash,
    load_levels,
    load_policy,
    save_levels,
    save_policy,
)
from experiments.recipes import find_recipe

RECIPE = recipes.replace(find_recipe("smoke"), {"env.scroll_period": 9, "model.lstm_size": 64})


@pytest.fixture(scope="module")
def module() -> Any:
    torch.manual_seed(3)
    return build_module(RECIPE)


@pytest.fixture
def folder(module: Any, tmp_path: Path) -> Path:
    save_policy(tmp_path / "policy", module.state_dict(), RECIPE, 1234)
    return tmp_path / "policy"


def change(folder: Path, **values: Any) -> None:
    """Rewrites entries of the JSON; None removes one."""
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: one for key, one in config.items() if one is not None}))


def refusal(folder: Path) -> str:
    """The one sentence with which a folder is refused."""
    with pytest.raises(BadInputError) as caught:
        load_policy(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(folder) in sentence
    return sentence


def test_a_policy_comes_back_as_it_was(module: Any, folder: Path) -> None:
    policy = load_policy(folder)
    assert policy.recipe == RECIPE and policy.env_steps == 1234
    sim = PicoPark(16, PicoParkConfig(preset="gates"), seed=0)
    sim.reset()
    observations = {key: torch.from_numpy(one[:, 0]) for key, one in sim.observations.items()}
    logits, values, _ = module.act(observations, module.initial_states(16))
    again, values_again, _ = policy.module.act(observations, policy.module.initial_states(16))
    assert torch.equal(logits, again) and torch.equal(values, values_again)
    assert not policy.module.training


def test_there_are_two_plain_files(folder: Path) -> None:
    assert {one.name for one in folder.iterdir()} == {WEIGHTS_FILE, CONFIG_FILE}
    assert recipes.from_dict(json.loads((folder / CONFIG_FILE).read_text())["recipe"]) == RECIPE


def test_a_folder_without_a_policy_is_refused(tmp_path: Path) -> None:
    assert "there is no policy" in refusal(tmp_path)
    assert "there is no policy" in refusal(tmp_path / "nowhere")


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    assert "No such file" in refusal(folder)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_truncated_weights_are_refused(folder: Path, size: int) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:size])
    assert WEIGHTS_FILE in refusal(folder)


@pytest.mark.parametrize("position", [0, 20, -5])
def test_garbled_weights_are_refused(folder: Path, position: int) -> None:
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[position] ^= 0x41
    path.write_bytes(data)
    assert "damaged" in refusal(folder)


def test_weights_of_another_network_are_refused(module: Any, folder: Path, tmp_path: Path) -> None:
    other = recipes.replace(RECIPE, {"model.lstm_size": 32})
    save_policy(tmp_path / "other", build_module(other).state_dict(), RECIPE, 1)
    assert "can't be used" in refusal(tmp_path / "other")


class _Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_not_executed(folder: Path, tmp_path: Path, writer: str) -> None:
    import hashlib

    bomb, path = tmp_path / "exploded", folder / WEIGHTS_FILE
    if writer == "pickle":
        path.write_bytes(pickle.dumps(_Bomb(bomb)))
    else:
        torch.save(_Bomb(bomb), path)
    change(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert "can't be used" in refusal(folder)
    assert not bomb.exists()


def test_another_layout_of_observations_is_refused(folder: Path) -> None:
    change(folder, layout="0123456789abcdef")
    sentence = refusal(folder)
    assert "0123456789abcdef" in sentence and layout_hash(PicoPark) in sentence


def test_the_layout_hash_changes_with_the_meaning_of_an_observation() -> None:
    class Other(PicoPark):
        action_names = ("down", "up", "left", "right", "shoot", "idle")

    class Channels(PicoPark):
        parts = (*PicoPark.parts[:1], PicoPark.parts[0])

    hashes = {layout_hash(one) for one in (PicoPark, Other, Channels)}
    assert len(hashes) == 3 and all(len(one) == 16 for one in hashes)


@pytest.mark.parametrize("value", [2, "1", None])
def test_another_format_is_refused(folder: Path, value: Any) -> None:
    change(folder, format=value)
    assert "format" in refusal(folder)


@pytest.mark.parametrize("name", ["layout", "weights_sha256", "env_steps", "recipe"])
@pytest.mark.parametrize("value", [None, [1]])
def test_a_damaged_description_is_refused(folder: Path, name: str, value: Any) -> None:
    change(folder, **{name: value})
    assert repr(name) in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\0"])
def test_a_description_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / CONFIG_FILE).write_text(text)
    assert CONFIG_FILE in refusal(folder)


def test_a_description_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / CONFIG_FILE).write_bytes(b"\xff\xfe\x00")
    assert "JSON" in refusal(folder)


@pytest.mark.parametrize("field", ["rewards", "name", "env"])
def test_a_recipe_that_makes_no_sense_is_refused(folder: Path, field: str) -> None:
    recipe = json.loads((folder / CONFIG_FILE).read_text())["recipe"]
    recipe[field] = {"fame": 1} if field != "name" else 7
    change(folder, recipe=recipe)
    with pytest.raises(BadInputError, match=r"fame|name"):
        load_policy(folder)


# -- levels that it was trained on


def test_levels_come_back_as_they_were(folder: Path) -> None:
    levels = np.array([[(1 << 63) - 1, 4], [17, 0]], np.uint64)
    save_levels(folder, levels)
    assert (load_levels(folder) == levels).all()


def test_a_policy_without_levels_says_so(folder: Path) -> None:
    with pytest.raises(BadInputError, match="doesn't say which levels"):
        load_levels(folder)


@pytest.mark.parametrize("damage", [b"", b"garbage" * 9, "half", "floats", "another name"])
def test_damaged_levels_are_refused(folder: Path, damage: Any) -> None:
    import safetensors.numpy

    save_levels(folder, np.zeros((3, 2), np.uint64))
    path = folder / LEVELS_FILE
    data = {
        "half": path.read_bytes()[:-8],
        "floats": safetensors.numpy.save({"levels": np.zeros((3, 2))}),
        "another name": safetensors.numpy.save({"seeds": np.zeros((3, 2), np.uint64)}),
    }.get(damage, damage)
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="damaged"):
        load_levels(folder)
