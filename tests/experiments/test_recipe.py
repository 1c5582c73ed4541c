"""Recipes survive JSON, refuse nonsense in one sentence, and explain their fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from algorithms.curriculum import CurriculumConfig
from algorithms.league import LeagueConfig
from env.errors import BadInputError
from env.pico_park import PicoParkConfig, PicoParkRewards
from env.pong import PongConfig, PongRewards
from experiments import recipe as recipes
from experiments.recipe import EvaluationConfig, PPOConfig, Recipe, RunConfig, SweepConfig
from experiments.recipes import RECIPES, find_recipe
from models import ModelConfig

CONFIGS = (
    Recipe,
    PPOConfig,
    EvaluationConfig,
    CurriculumConfig,
    SweepConfig,
    RunConfig,
    PicoParkConfig,
    PicoParkRewards,
    ModelConfig,
)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = find_recipe(name)
    again = recipes.from_dict(json.loads(json.dumps(recipes.to_dict(recipe))))
    assert again == recipe
    for field, value in recipes.flatten(recipe).items():
        assert type(recipes.flatten(again)[field]) is type(value), field


@pytest.mark.parametrize("name", RECIPES)
def test_a_changed_recipe_survives_json(name: str) -> None:
    values = {"model.lstm": False, "ppo.lambda_": 0.5, "run.seed": 2**40}
    of_game = {
        "pico_park": {
            "env.scroll_period": 7,
            "env.all_colours": True,
            "env.layout": "classic",
            "rewards.own_block": 1 / 3,
            "evaluation.presets": ("gates", "tunnels"),
            "sweep.space": ("rewards.alive=0,0.02",),
        },
        "pong": {
            "env.left_paddle_length": 40,
            "env.aim": False,
            "env.serve_to": "left",
            "rewards.hit": 1 / 3,
            "league.hardness": 1,
            "opponents": ("tracker",),
        },
    }
    recipe = find_recipe(name)
    recipe = recipes.replace(recipe, values | of_game[recipe.game])
    again = recipes.from_dict(json.loads(json.dumps(recipes.to_dict(recipe))))
    assert again == recipe
    flat = recipes.flatten(again)
    assert {name: flat[name] for name in values} == values


def test_flatten_names_every_field_of_every_part() -> None:
    recipe = find_recipe("smoke")
    plain = {"name", "algorithm"}
    parts = {one.name for one in dataclasses.fields(Recipe)} - plain
    expected = plain | {
        f"{part}.{one.name}" for part in parts for one in dataclasses.fields(getattr(recipe, part))
    }
    assert set(recipes.flatten(recipe)) == expected


def test_replace_changes_the_named_fields_and_no_other() -> None:
    recipe = find_recipe("meadow")
    changed = recipes.replace(recipe, {"rewards.alive": 0.01, "ppo.num_epochs": 5})
    before, after = recipes.flatten(recipe), recipes.flatten(changed)
    assert {name for name in before if before[name] != after[name]} == {
        "rewards.alive",
        "ppo.num_epochs",
    }
    assert recipes.flatten(recipe) == recipes.flatten(find_recipe("meadow"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("env.length", 40.0, 40),
        ("env.length", None, None),
        ("env.num_agents", 3.0, 3),
        ("rewards.alive", 1, 1.0),
        ("ppo.lr", 1, 1.0),
        ("sweep.space", ["rewards.alive=0,1"], ("rewards.alive=0,1",)),
    ],
)
def test_values_take_the_kind_of_their_field(name: str, value: Any, expected: Any) -> None:
    found = recipes.flatten(recipes.replace(find_recipe("smoke"), {name: value}))[name]
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("rewards.own_blok", "rewards.own_block"), ("ppo.lamda", "ppo.lambda_"), ("env.", "env.")],
)
def test_a_wrong_name_suggests_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(BadInputError, match=nearest) as caught:
        recipes.replace(find_recipe("smoke"), {name: 1})
    assert repr(name) in str(caught.value)


def test_a_wrong_recipe_suggests_the_nearest() -> None:
    with pytest.raises(BadInputError, match="did you mean 'meadow'"):
        find_recipe("meadows")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env.num_agents", 2.5),
        ("env.num_agents", True),
        ("env.num_agents", None),
        ("env.num_agents", 9),
        ("env.num_agents", 1),
        ("env.scroll_period", 5.37),
        ("env.scroll_period", math.nan),
        ("env.preset", "medow"),
        ("env.preset", 3),
        ("env.all_colours", "yes"),
        ("rewards.alive", "much"),
        ("rewards.alive", math.nan),
        ("rewards.alive", math.inf),
        ("rewards.alive", True),
        ("rewards.team_share", 1.5),
        ("model.encoder", "resnet"),
        ("model.lstm", 1),
        ("model.lstm", "true"),
        ("model.hidden_size", 0),
        ("ppo.lr", "fast"),
        ("ppo.lr", math.nan),
        ("ppo.lr", math.inf),
        ("ppo.lr", -1.0),
        ("ppo.gamma", math.nan),
        ("ppo.gamma", 1.01),
        ("ppo.lambda_", -0.1),
        ("ppo.num_epochs", 0),
        ("evaluation.num_levels", 0),
        ("evaluation.presets", "gates"),
        ("evaluation.presets", [1]),
        ("evaluation.presets", ("gatse",)),
        ("sweep.search", "bayes"),
        ("sweep.scheduler", "pbtt"),
        ("algorithm", "segment_pqo"),
        ("ppo.advantage", "gea"),
        ("ppo.rho_clip", 0.5),
        ("ppo.value_clip", 0),
        ("ppo.priority_beta", 1.5),
        ("sweep.space", 3),
        ("run.seed", -1),
        ("run.seed", "lucky"),
        ("run.study", 5),
        ("run.env_steps", 0),
    ],
)
def test_nonsense_is_refused_in_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(BadInputError) as caught:
        recipes.replace(find_recipe("smoke"), {name: value})
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(value).strip("[](),'") in sentence
    assert name.rpartition(".")[2].removesuffix("s") in sentence


def _fields_with_docs(config: type) -> Iterator[tuple[str, str]]:
    """Names of a dataclass's own fields, and the docstring under each ("" if there is none)."""
    tree = ast.parse(inspect.getsource(config))
    body = tree.body[0].body  # type: ignore[attr-defined]
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = str(following.value.value)
            yield statement.target.id, text


@pytest.mark.parametrize(
    "config",
    (*CONFIGS, PongConfig, PongRewards, LeagueConfig),
    ids=lambda config: config.__name__,
)
def test_every_field_has_a_docstring(config: type) -> None:
    found = dict(_fields_with_docs(config))
    assert set(found) == {one.name for one in dataclasses.fields(config)}
    for name, text in found.items():
        assert text.strip().endswith(".") and len(text) > 8, f"{name} isn't explained: {text!r}"


def test_every_part_of_a_recipe_is_checked_here() -> None:
    parts = [getattr(find_recipe("smoke"), one.name) for one in dataclasses.fields(Recipe)]
    assert {type(one) for one in parts if dataclasses.is_dataclass(one)} == set(CONFIGS) - {Recipe}


def test_a_recipe_is_named_like_its_function() -> None:
    for name in RECIPES:
        assert find_recipe(name).name == name


@pytest.mark.parametrize(
    "values",
    [
        {"ppo.minibatch": 1_000_000},
        {"ppo.minibatch": 33},
        {"ppo.num_learners": 3},
        {"algorithm": "ppo", "ppo.minibatch": 1024},
        {"algorithm": "ppo", "ppo.num_envs": 1, "ppo.fragment": 1, "ppo.minibatch": 1},
        {"sweep.seed": -1},
        {"sweep.seed": 1 << 32},
        {"run.seed": 1 << 63},
        {"run.study": "../elsewhere"},
        {"run.study": "a/b"},
    ],
)
def test_values_that_would_fail_later_are_refused_at_once(values: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        recipes.replace(find_recipe("smoke"), values)
