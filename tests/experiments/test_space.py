"""Search spaces: every form, what they refuse, and what Tune makes of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ray import tune

from env.errors import BadInputError
from experiments import recipe as recipes
from experiments.recipe import Recipe
from experiments.recipes import find_recipe
from experiments.search import check_sweep, make_searcher
from experiments.space import (
    Dimension,
    count_trials,
    parse_dimension,
    parse_space,
    to_tune,
    variant_name,
    varied_fields,
)
from experiments.trial import build_recipe


def make(*space: str, **sweep: Any) -> Recipe:
    values = {"sweep.space": space, **{f"sweep.{name}": one for name, one in sweep.items()}}
    recipe: Recipe = recipes.replace(find_recipe("smoke"), values)
    return recipe


def variants(recipe: Recipe, draws: int = 0) -> list[dict[str, Any]]:
    """The configs that Tune makes of a sweep, without running it."""
    dimensions = parse_space(recipe)
    is_grid = recipe.sweep.search == "grid"
    searcher = make_searcher(recipe, dimensions)
    experiment = tune.Experiment(
        "any",
        tune.Trainable,
        config={"recipe": recipes.to_dict(recipe), **to_tune(dimensions, is_grid=is_grid)},
        num_samples=draws or (1 if is_grid else recipe.sweep.num_trials),
    )
    searcher.add_configurations([experiment])
    configs = []
    while (trial := searcher.next_trial()) is not None:
        configs.append(trial.config)
    return configs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rewards.own_block", Dimension(field="rewards.own_block", low=0.0, high=0.2)),
        ("rewards.own-block", Dimension(field="rewards.own_block", low=0.0, high=0.2)),
        ("rewards.team_share=0,0.2,1", Dimension(field="rewards.team_share", values=(0, 0.2, 1))),
        ("rewards.defeat=-1:0", Dimension(field="rewards.defeat", low=-1.0, high=0.0)),
        (
            "ppo.lr=1e-4:1e-2:log",
            Dimension(field="ppo.lr", low=1e-4, high=1e-2, is_log=True),
        ),
        (
            "env.scroll_period=4:8",
            Dimension(field="env.scroll_period", low=4.0, high=8.0, is_integer=True),
        ),
        (
            "ppo.num_envs=64:1024:log",
            Dimension(field="ppo.num_envs", low=64.0, high=1024.0, is_log=True, is_integer=True),
        ),
        ("env.preset=meadow, gates", Dimension(field="env.preset", values=("meadow", "gates"))),
        ("env.length=none,30", Dimension(field="env.length", values=(None, 30))),
        ("model.lstm=true,False", Dimension(field="model.lstm", values=(True, False))),
        ("run.seed=3,5", Dimension(field="run.seed", values=(3, 5))),
    ],
)
def test_every_form(text: str, expected: Dimension) -> None:
    found = parse_dimension(text, find_recipe("smoke"))
    assert found == expected
    assert [type(one) for one in found.values] == [
        type(one)
        for one in recipes_values(found.field, expected.values)  # floats stay floats
    ]


def recipes_values(field: str, values: tuple[Any, ...]) -> list[Any]:
    """The values as the recipe holds them."""
    smoke = find_recipe("smoke")
    return [recipes.flatten(recipes.replace(smoke, {field: one}))[field] for one in values]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rewards.own_blok", "did you mean 'rewards.own_block'"),
        ("nonsense", "unknown field to vary"),
        ("ppo.lr", "no usual range"),
        ("rewards.alive=", "is not a number"),
        ("rewards.alive=a,b", "is not a number"),
        ("rewards.alive=0,,1", "is not a number"),
        ("rewards.alive=0,nan", "must be finite"),
        ("rewards.alive=inf", "must be finite"),
        ("rewards.alive=1:0", "is empty"),
        ("rewards.alive=1:1", "is empty"),
        ("rewards.alive=nan:1", "is empty"),
        ("rewards.alive=0:inf", "must be finite"),
        ("rewards.alive=0:1:2", "is no range"),
        ("rewards.alive=0:1:log:log", "is no range"),
        ("rewards.alive=:1", "no number"),
        ("rewards.alive=a:b", "no number"),
        ("rewards.alive=0:1:log", "not above 0"),
        ("rewards.team_share=0,2", "between 0 and 1"),
        ("rewards.team_share=0:2", "between 0 and 1"),
        ("env.scroll_period=4.5:8", "whole number"),
        ("env.scroll_period=4,5.5", "whole number"),
        ("env.num_agents=2:9", "between 2 and 8"),
        ("env.preset=meadow,gatse", "did you mean 'gates'"),
        ("env.preset=1:2", "preset"),
        ("model.lstm=0:1", "true or false"),
        ("model.lstm=maybe", "true or false"),
        ("sweep.num_trials=1,2", "can't vary"),
        ("name=a,b", "can't vary"),
        ("run.study=a,b", "can't vary"),
        ("run.storage=a,b", "can't vary"),
        ("run.tracking_uri=a,b", "can't vary"),
        ("run.env_steps=100,200", "can't vary"),
        ("evaluation.presets=gates", "can't vary"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason) as caught:
        parse_dimension(text, find_recipe("smoke"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (make(), "varies nothing"),
        (make("rewards.alive=0,1", "rewards.alive=0,1"), "varies twice"),
        (make("run.seed=0,1", num_seeds=2), "varies twice"),
        (make("rewards.alive=0:1"), "a grid needs listed values"),
        (make("rewards.alive"), "a grid needs listed values"),
        (make("run.seed=0:9", search="random"), "list its values"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(recipe: Recipe, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        parse_space(recipe)


def test_a_grid_has_every_combination_once() -> None:
    recipe = make("rewards.alive=0,0.01", "env.preset=meadow,gates,tunnels")
    found = [(one["rewards.alive"], one["env.preset"]) for one in variants(recipe)]
    assert sorted(found) == [
        (alive, preset) for alive in (0, 0.01) for preset in ("gates", "meadow", "tunnels")
    ]
    assert count_trials(parse_space(recipe), recipe) == 6


def test_each_variant_of_a_grid_has_every_seed() -> None:
    recipe = recipes.replace(make("rewards.alive=0,0.01", num_seeds=3), {"run.seed": 5})
    found = [(one["rewards.alive"], one["run.seed"]) for one in variants(recipe)]
    assert sorted(found) == [(alive, seed) for alive in (0, 0.01) for seed in (5, 6, 7)]
    assert count_trials(parse_space(recipe), recipe) == 6


@pytest.mark.parametrize("seeds", [{"num_seeds": 3}, {}])
def test_each_variant_of_a_random_search_has_every_seed(seeds: dict[str, int]) -> None:
    space = ("rewards.alive", "rewards.key=0:1") + (() if seeds else ("run.seed=0,1,2",))
    recipe = make(*space, search="random", num_trials=4, **seeds)
    found = variants(recipe)
    by_variant: dict[tuple[float, float], list[int]] = {}
    for one in found:
        by_variant.setdefault((one["rewards.alive"], one["rewards.key"]), []).append(
            one["run.seed"]
        )
    assert len(by_variant) == 4
    assert all(sorted(one) == [0, 1, 2] for one in by_variant.values())
    assert count_trials(parse_space(recipe), recipe) == len(found) == 12


def test_a_random_search_repeats_with_its_seed() -> None:
    space = ("rewards.alive", "ppo.lr=1e-4:1e-2:log", "env.scroll_period=4:8")

    def draw(seed: int) -> list[dict[str, Any]]:
        recipe = make(*space, search="random", num_trials=5, seed=seed)
        return [{k: v for k, v in one.items() if k != "recipe"} for one in variants(recipe)]

    assert draw(1) == draw(1) != draw(2)


def test_drawn_values_stay_in_their_range_and_make_recipes() -> None:
    recipe = make(
        "rewards.defeat",
        "ppo.lr=1e-4:1e-2:log",
        "env.scroll_period=4:8",
        "ppo.num_envs=64:1024:log",
        "env.preset=meadow,gates",
        search="random",
        num_trials=200,
    )
    built = [build_recipe(one) for one in variants(recipe)]
    assert len(built) == count_trials(parse_space(recipe), recipe) == 200
    assert all(type(one.env.scroll_period) is int for one in built)
    assert {one.env.scroll_period for one in built} == {4, 5, 6, 7, 8}  # both ends included
    assert {one.env.preset for one in built} == {"meadow", "gates"}
    assert all(type(one.ppo.num_envs) is int and 64 <= one.ppo.num_envs <= 1024 for one in built)
    assert all(-2 <= one.rewards.defeat <= 0 for one in built)
    exponents = [math.log10(one.ppo.lr) for one in built]
    assert all(-4 <= one <= -2 for one in exponents)
    # Log-uniform: the lower decade has half of the draws, of which a uniform one would have 9 %.
    assert 60 < sum(one < -3 for one in exponents) < 140
    # Likewise below 256, of which a uniform draw would make 20 %.
    assert 60 < sum(one.ppo.num_envs < 256 for one in built) < 140


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("rewards.alive", tune.search.sample.Float),
        ("env.scroll_period=4:8", tune.search.sample.Integer),
        ("env.preset=meadow,gates", tune.search.sample.Categorical),
    ],
)
def test_tunes_domains(text: str, kind: type) -> None:
    dimension = parse_dimension(text, find_recipe("smoke"))
    assert isinstance(to_tune((dimension,), is_grid=False)[dimension.field], kind)


def test_a_variant_is_named_by_what_it_varies() -> None:
    config = {"recipe": {}, "rewards.team_share": 0.2, "rewards.alive": 1 / 3, "run.seed": 4}
    assert variant_name(config) == "team_share=0.2 alive=0.333"
    assert variant_name({"recipe": {}}) == "base"


# -- named variants

NAMED = ("base:", "no crumbs: rewards.progress_*=0", "blind: model.encoder=mlp ppo.lr=1e-3")


def test_named_variants_are_all_trained_with_every_seed() -> None:
    recipe = make(variants=NAMED, num_seeds=2, search="random", num_trials=7)
    assert count_trials(parse_space(recipe), recipe) == 6
    found = variants(recipe, draws=1)
    names = [(variant_name(one), build_recipe(one).run.seed) for one in found]
    assert sorted(names) == sorted(
        (name, seed) for name in ("base", "no crumbs", "blind") for seed in (0, 1)
    )
    by_name = {variant_name(one): build_recipe(one) for one in found if one["run.seed"] == 0}
    crumbs = {
        name: value
        for name, value in by_name["no crumbs"].rewards.by_term().items()
        if name.startswith("progress_")
    }
    assert len(crumbs) == 4 and set(crumbs.values()) == {0.0}
    assert by_name["blind"].model.encoder == "mlp" and by_name["blind"].ppo.lr == 1e-3
    assert by_name["base"].rewards == recipe.rewards


def test_named_variants_cross_with_a_space() -> None:
    recipe = make("rewards.alive=0,0.02", variants=NAMED, search="grid")
    assert count_trials(parse_space(recipe), recipe) == 6
    assert len({variant_name(one) for one in variants(recipe)}) == 6


def test_what_differs_is_named_for_charts() -> None:
    recipe = make("rewards.alive=0,0.02", variants=NAMED[2:], num_seeds=2, search="grid")
    assert varied_fields(parse_space(recipe), recipe) == [
        "rewards.alive",
        "model.encoder",
        "ppo.lr",
    ]


@pytest.mark.parametrize(
    ("space", "named", "words"),
    [
        ((), ("nameless",), "has no name"),
        ((), (": rewards.alive=1",), "has no name"),
        ((), ("a:", "a: rewards.alive=1"), "two variants are called 'a'"),
        ((), ("a: rewards.aliv=1",), "did you mean 'rewards.alive'"),
        ((), ("a: rewards.alive",), "gives rewards.alive no value"),
        ((), ("a: rewards.alive=much",), "'much' is not a number"),
        ((), ("a: run.seed=3",), "can't change run.seed"),
        ((), ("a: run.storage=x",), "can't change run.storage"),
        ((), ("a: sweep.num_trials=3",), "can't change sweep"),
        ((), ("a: ppo.minibatch=100",), "no whole number of segments"),
        (("rewards.alive=0,1",), ("a: rewards.alive=1",), "varies in sweep.space and"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(
    space: tuple[str, ...], named: tuple[str, ...], words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        parse_space(make(*space, variants=named, search="grid"))


@pytest.mark.parametrize("how", [{"search": "optuna"}, {"scheduler": "pbt"}])
def test_variants_are_named_not_proposed(how: dict[str, str]) -> None:
    recipe = make("rewards.alive=0:1", variants=NAMED, **{"search": "random"} | how)
    with pytest.raises(BadInputError, match="named variants"):
        check_sweep(recipe, parse_space(recipe))
