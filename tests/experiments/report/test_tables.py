"""A report's figures are what one gets who counts for oneself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from env.errors import BadInputError
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from experiments import recipe as recipes
from experiments.episodes import load_episodes, returns
from experiments.lease import Lease
from experiments.recipes import find_recipe
from experiments.report.overview import Overview, look_over
from experiments.report.tables import (
    effects,
    field_tables,
    interaction,
    pooled_interval,
    spread,
    why_no_interaction,
)
from experiments.report.training_tables import (
    curve_of,
    ledger_of,
    ledger_over_time,
    rescored,
    stored_games,
)
from experiments.report.variants import CAUSES
from experiments.response import pooled_error
from experiments.study import TrialResult, load_study
from tests.experiments.report.conftest import ALIVE, BLOCKS, SEEDS
from tests.experiments.report.synthetic import Outcome, Pool, make_study


@pytest.fixture(scope="module")
def overview(grid: Path) -> Overview:
    return look_over(load_study(str(grid)))


def games_of(trial: TrialResult) -> Any:
    path = trial.kept("episodes")
    assert path is not None
    return load_episodes(path).games


def trials_at(overview: Overview, **values: float) -> list[TrialResult]:
    return [
        trial
        for trial in overview.study.trials
        if all(trial.config[f"rewards.{name}"] == value for name, value in values.items())
    ]


# -- variants


def test_endings_are_the_games_own() -> None:
    assert tuple(CAUSES) == PicoPark(1, PicoParkConfig(), seed=0).cause_names


def test_variants_are_ranked_by_the_mean_of_their_seeds(overview: Overview) -> None:
    assert len(overview.variants) == len(BLOCKS) * len(ALIVE)
    assert [one.values["rewards.own_block"] for one in overview.variants] == [
        0.1, 0.1, 0.05, 0.05, 0.0, 0.0
    ]  # fmt: skip
    for one in overview.variants:
        rates = [games_of(trial).wins.mean() for trial in one.trials]
        assert [trial.seed for trial in one.trials] == list(SEEDS)
        assert one.win_rates == pytest.approx(rates)
        low, high = stats.t.interval(0.95, 2, np.mean(rates), stats.sem(rates))
        found = one.win_rate
        assert (found.value, found.low, found.high) == pytest.approx((np.mean(rates), low, high))


def test_values_are_told_apart_to_the_last_digit(pool: Pool, tmp_path: Path) -> None:
    values = (0.12341, 0.12342)
    configs = [{"rewards.own_block": value} for value in values]
    folder = make_study(tmp_path, pool, configs, lambda config, index: Outcome(win_rate=0.5))
    found = look_over(load_study(str(folder))).variants
    assert sorted(one.values["rewards.own_block"] for one in found) == list(values)
    assert sorted(one.name for one in found) == ["own_block=0.123", "own_block=0.123 (2)"]


def test_the_base_is_what_trains_the_studys_own_recipe(pool: Pool, tmp_path: Path) -> None:
    own = find_recipe("smoke").rewards.own_block
    configs = [{"rewards.own_block": value} for value in (0.0, own)]
    folder = make_study(tmp_path, pool, configs, lambda config, index: Outcome(win_rate=0.5))
    base = look_over(load_study(str(folder))).base
    assert base is not None and base.values == {"rewards.own_block": own}


def test_unfinished_trials_are_left_out_once_two_variants_are_done(
    pool: Pool, tmp_path: Path
) -> None:
    configs = [{"rewards.own_block": value} for value in (0.0, 0.05, 0.1)]

    def study(name: str, num_done: int) -> Overview:
        def come_to(config: Mapping[str, Any], index: int) -> Outcome:
            return Outcome(win_rate=0.1 * index, is_done=index < num_done)

        folder = make_study(
            tmp_path / name, pool, configs, come_to, is_finished=False, num_levels=20
        )
        return look_over(load_study(str(folder)))

    assert [len(study(str(n), n).trials) for n in range(4)] == [3, 3, 2, 3]
    early = study("early", 0)
    assert early.state == "unfinished"
    assert "0 of 3 trials are done. Compared are newest evaluations" in early.warnings[0]
    late = study("late", 2)
    assert "2 of 3 trials are done. Only those are compared." in late.warnings[0]
    assert "own_block=0.1 s0 at 512 env steps" in late.warnings[1]


def test_a_study_without_evaluations_is_refused(pool: Pool, tmp_path: Path) -> None:
    folder = make_study(tmp_path, pool, [], lambda config, index: Outcome(win_rate=0))
    with pytest.raises(BadInputError, match="no trials"):
        look_over(load_study(str(folder)))
    one = make_study(
        tmp_path, pool, [{}], lambda config, index: Outcome(win_rate=0, num_evaluations=0), name="b"
    )
    with pytest.raises(BadInputError, match="has been evaluated"):
        look_over(load_study(str(one)))


def test_a_running_study_says_so(pool: Pool, tmp_path: Path) -> None:
    folder = make_study(tmp_path, pool, [{}], lambda config, index: Outcome(win_rate=0.5))
    with Lease(folder, what="it"):
        assert "still running" in look_over(load_study(str(folder))).warnings[0]
    assert look_over(load_study(str(folder))).warnings == ()


@pytest.mark.parametrize(
    "changes", [{"sweep.search": "optuna"}, {"sweep.scheduler": "asha"}, {"sweep.scheduler": "pbt"}]
)
def test_adaptive_searches_bend_what_is_said(
    pool: Pool, tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = recipes.replace(find_recipe("smoke"), changes)
    configs = [{"rewards.own_block": 0.02 * i} for i in range(3)]
    folder = make_study(
        tmp_path, pool, configs, lambda config, index: Outcome(win_rate=0.5), recipe=recipe
    )
    (warning,) = look_over(load_study(str(folder))).warnings
    name = next(iter(changes.values()))
    assert warning.startswith(f"{name} gave more trials or longer ones to what did well")


# -- along fields


def test_what_decides_is_named_first_with_its_share(overview: Overview) -> None:
    """Two-way analysis of variance with replication: seeds are the error, not the other field."""
    first, second = field_tables(overview)
    assert (first.name, second.name) == ("rewards.own_block", "rewards.alive")
    rates = np.array(
        [
            [
                [one.final["eval/win_rate"] for one in trials_at(overview, own_block=b, alive=a)]
                for a in ALIVE
            ]
            for b in BLOCKS
        ]
    )
    rest = ((rates - rates.mean(axis=2, keepdims=True)) ** 2).sum()
    for field, axes in ((first, (1, 2)), (second, (0, 2))):
        means = rates.mean(axis=axes)
        between = len(means) - 1
        squares = ((means - rates.mean()) ** 2).sum() * rates.size / len(means)
        f = squares / between / (rest / 12)
        share = max(0.0, between * (f - 1) / (between * (f - 1) + rates.size - 1))
        assert field.importance is not None
        assert field.importance.share.value == pytest.approx(share)
        assert field.importance.p_value == pytest.approx(stats.f.sf(f, between, 12))
        half = stats.t.ppf(0.975, 12) * np.sqrt(rest / 12 / (rates.size / len(means)))
        for row, mean in zip(field.bins, means, strict=True):
            bounds = (max(0.0, mean - half), min(1.0, mean + half))
            assert (row.win_rate.low, row.win_rate.high) == pytest.approx(bounds)
    assert first.importance is not None and first.importance.p_corrected < 0.01
    assert first.worst.label == "0" and first.best.label == "0.1"


def test_bins_say_what_was_played_in_them(overview: Overview) -> None:
    field = field_tables(overview)[0]
    for row, value in zip(field.bins, BLOCKS, strict=True):
        trials = trials_at(overview, own_block=value)
        games = [games_of(one) for one in trials]
        assert len(row.trials) == len(trials) == 6
        assert row.win_rate.value == pytest.approx(np.mean([one.wins.mean() for one in games]))
        for i, name in enumerate(CAUSES):
            share = np.mean([(one.records["cause"] == i).mean() for one in games])
            assert row.causes[name] == pytest.approx(share)
        for key, column in (
            ("behaviour/own_blocks", "own_blocks"),
            ("behaviour/friendly_kills", "friendly_kills"),
            ("eval/episode_length", "length"),
        ):
            assert row.measures[key] == pytest.approx(
                np.mean([one.records[column].mean() for one in games])
            )
    assert field.worst.ending in ("time", "crushed")


def test_one_field_of_few_values_is_judged_by_its_runs(pool: Pool, tmp_path: Path) -> None:
    """Each value is one variant: without its seeds there would be nothing within a bin."""
    configs = [
        {"rewards.own_block": value, "run.seed": seed} for value in (0.0, 0.1) for seed in range(4)
    ]
    rates = [0.1, 0.2, 0.15, 0.2, 0.8, 0.7, 0.75, 0.9]
    folder = make_study(tmp_path, pool, configs, lambda config, i: Outcome(win_rate=rates[i]))
    (field,) = field_tables(look_over(load_study(str(folder))))
    _, p_value = stats.f_oneway(rates[:4], rates[4:])
    assert field.importance is not None
    assert field.importance.p_value == pytest.approx(p_value)
    assert [one.win_rate.method for one in field.bins] == ["t", "t"]


def test_an_interaction_is_found(pool: Pool, tmp_path: Path) -> None:
    configs = [
        {"rewards.own_block": a, "rewards.key": b, "rewards.alive": c}
        for a in (0.0, 0.1)
        for b in (0.0, 1.0)
        for c in (0.0, 0.005, 0.01, 0.02)
    ]

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        is_both = config["rewards.own_block"] > 0 and config["rewards.key"] > 0
        return Outcome(win_rate=0.8 * is_both + 0.05 * (index % 3))

    folder = make_study(tmp_path, pool, configs, come_to)
    found = interaction(look_over(load_study(str(folder))))
    assert found is not None
    assert set(found.fields) == {"rewards.own_block", "rewards.key"}
    assert found.p_corrected < 0.001


# -- beside the base

VARIANTS = ("base:", "no blocks: rewards.own_block=0", "selfish: rewards.team_share=0")
NAMES = [one.partition(":")[0] for one in VARIANTS]


def named(folder: Path, pool: Pool, rates: Mapping[str, list[float]]) -> Overview:
    """A study of named variants, with as many seeds as there are rates."""
    recipe = recipes.replace(find_recipe("smoke"), {"sweep.space": (), "sweep.variants": VARIANTS})
    configs = [
        {"variant": name, "run.seed": seed} for name in NAMES for seed in range(len(rates[name]))
    ]
    experiment = make_study(
        folder,
        pool,
        configs,
        lambda config, index: Outcome(win_rate=rates[config["variant"]][config["run.seed"]]),
        recipe=recipe,
    )
    return look_over(load_study(str(experiment)))


def test_named_variants_stand_beside_the_base(pool: Pool, tmp_path: Path) -> None:
    rates = {"base": [0.9, 0.8, 0.85], "no blocks": [0.1, 0.3, 0.2], "selfish": [0.8, 0.9, 0.8]}
    overview = named(tmp_path, pool, rates)
    assert overview.is_one_at_a_time and interaction(overview) is None
    assert overview.base is not None and overview.base.name == "base"
    found = effects(overview)
    assert [one.variant.name for one in found] == ["no blocks", "selfish"]
    for one in found:
        pairs = np.array(rates[one.variant.name]) - rates["base"]
        low, high = stats.t.interval(0.95, 2, pairs.mean(), stats.sem(pairs))
        difference = one.difference
        assert (difference.value, difference.low, difference.high) == pytest.approx(
            (pairs.mean(), low, high)
        )
    assert found[0].changes == {"rewards.own_block": 0.0}
    assert found[0].improvement.value == 0 and found[0].is_clear
    assert not found[1].is_clear
    (field,) = field_tables(overview)
    assert field.importance is None and not field.is_numeric
    assert [one.label for one in field.bins] == NAMES


def test_with_one_seed_each_levels_are_paired(pool: Pool, tmp_path: Path) -> None:
    overview = named(tmp_path, pool, {"base": [0.8], "no blocks": [0.3], "selfish": [0.75]})
    first = effects(overview)[0]
    by_name = {one.name: games_of(one.trials[0]) for one in overview.variants}
    mine, base = by_name["no blocks"], by_name["base"]
    assert (mine.records["level_seed"] == base.records["level_seed"]).all()
    assert first.difference.value == pytest.approx(mine.wins.mean() - base.wins.mean())
    assert first.difference.method == "Newcombe, paired" and first.is_clear
    assert not first.improvement.is_known


# -- money and training


def test_games_are_paid_under_each_others_weights(overview: Overview) -> None:
    found = rescored(stored_games(overview)[0])
    assert found is not None and len(found.variants) == 6
    for i, of in enumerate(found.variants):
        for j, by in enumerate(found.variants):
            assert by.recipe is not None
            paid = [returns(games_of(one), by.recipe.rewards).mean() for one in of.trials]
            assert found.returns[i, j] == pytest.approx(np.mean(paid))
    own = [one.metric("reward/return") for one in found.variants]
    assert np.diag(found.returns) == pytest.approx(own)


def test_a_ledger_adds_up_to_the_return(overview: Overview) -> None:
    for one in overview.variants:
        table = ledger_of(one)
        assert set(table) == set(PicoParkRewards.terms())
        assert sum(table.values()) == pytest.approx(one.metric("reward/return"))
    steps, rows = ledger_over_time(overview.variants[0].trials[0])
    assert steps == [1000, 2000, 3000, 4000]
    assert rows["victory"][-1] == pytest.approx(
        overview.variants[0].trials[0].final["reward/victory"]
    )
    assert "defeat" not in rows, "it pays nothing"


def test_curves_are_the_mean_of_seeds_as_far_as_all_have_come(overview: Overview) -> None:
    variant = overview.variants[0]
    curve = curve_of(variant, "env_steps")
    assert curve is not None and curve.x.tolist() == [1000, 2000, 3000, 4000]
    rates = np.array([[row["eval/win_rate"] for row in one.evaluations] for one in variant.trials])
    assert curve.mean == pytest.approx(rates.mean(0))
    assert curve.low == pytest.approx(rates.min(0)) and curve.high == pytest.approx(rates.max(0))
    by_time = curve_of(variant, "time_total_s")
    assert by_time is not None
    assert by_time.x[-1] == min(one.history[-1]["time_total_s"] for one in variant.trials)
    assert curve_of(variant, "nothing") is None


def test_a_spread_goes_from_best_to_worst(overview: Overview) -> None:
    assert spread(overview.variants, 10) == overview.variants
    few = spread(overview.variants, 3)
    assert len(few) == 3
    assert (few[0], few[-1]) == (overview.variants[0], overview.variants[-1])


def test_values_that_are_no_numbers_are_names(pool: Pool, tmp_path: Path) -> None:
    configs = [{"rewards.own_block": 0.01 * i} for i in range(3)]
    folder = make_study(tmp_path, pool, configs, lambda config, index: Outcome(win_rate=0.5))
    for index, path in enumerate(sorted(folder.glob("*/trial.json"))):
        data = json.loads(path.read_text())
        data["config"]["rewards.own_block"] = [float("nan"), None, [1, 2]][index]
        path.write_text(json.dumps(data))
    (field,) = field_tables(look_over(load_study(str(folder))))
    assert {one.label for one in field.bins} == {"nan", "None", "[1, 2]"}


def test_what_failed_halfway_is_compared_with_a_warning(pool: Pool, tmp_path: Path) -> None:
    configs = [{"rewards.own_block": 0.1 * i} for i in range(2)]

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        return Outcome(win_rate=0.5, is_done=index > 0, error="" if index else "out of memory")

    folder = make_study(tmp_path, pool, configs, come_to)
    found = look_over(load_study(str(folder)))
    assert len(found.variants) == 2
    assert (
        "Compared though they failed before the end: own_block=0 s0 at 512 of 1,024 env steps."
        in found.warnings
    )


def test_a_win_rate_that_is_no_number_is_said_to_be_none(pool: Pool, tmp_path: Path) -> None:
    configs = [{"rewards.own_block": 0.05 * i} for i in range(3)]

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        blank = {} if index else {"eval/win_rate": float("nan")}
        return Outcome(win_rate=0.5, changes=blank)

    folder = make_study(tmp_path, pool, configs, come_to)
    (warning,) = look_over(load_study(str(folder))).warnings
    assert warning == "Left out, as their last win rate is no number: own_block=0 s0 says nan."


def test_the_order_is_that_of_the_win_rates_shown(pool: Pool, tmp_path: Path) -> None:
    """From ten seeds on by the interquartile mean, which two failed seeds don't move."""
    rates = {"base": [0.0, 0.0, *[0.9] * 8], "no blocks": [0.8] * 10, "selfish": [0.1] * 10}
    found = named(tmp_path, pool, rates).variants
    assert [one.name for one in found] == ["base", "no blocks", "selfish"]
    assert [one.win_rate.value for one in found] == pytest.approx([0.9, 0.8, 0.1])


def test_episodes_that_cannot_be_read_are_named(pool: Pool, tmp_path: Path) -> None:
    configs = [{"rewards.own_block": 0.05 * i, "run.seed": s} for i in range(2) for s in range(2)]
    folder = make_study(tmp_path, pool, configs, lambda config, index: Outcome(win_rate=0.5))
    damaged = sorted(folder.rglob("*.npz"))[0]
    damaged.write_bytes(b"PK and no more")
    games, unreadable = stored_games(look_over(load_study(str(folder))))
    assert unreadable == (damaged,)
    assert sorted(len(one) for one in games.values()) == [1, 2]
    assert rescored(games) is not None


@pytest.mark.parametrize(("num_seeds", "freedom"), [(1, 2), (2, 6), (3, 12)])
def test_pooled_intervals_cover(num_seeds: int, freedom: int) -> None:
    """Of a grid of three by two values; the bin of the first value."""
    rng = np.random.default_rng(0)
    places = np.array(list(itertools.product(range(3), range(2), range(num_seeds)))).T
    table = {"a": places[0].tolist(), "b": places[1].tolist()}
    cells = (places[0] * 2 + places[1]).tolist() if num_seeds > 1 else None
    covered = 0
    for _ in range(2000):
        rates = places[0] + 2.0 * places[1] + rng.normal(size=places.shape[1])
        pooled = pooled_error(table, rates, cells)
        assert pooled[1] == freedom
        found = pooled_interval(rates[places[0] == 0].mean(), 2 * num_seeds, *pooled)
        covered += found.low <= 1 <= found.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_without_a_measure_of_chance_there_are_no_whiskers(pool: Pool, tmp_path: Path) -> None:
    assert not pooled_interval(0.5, 2, float("nan"), 0).is_known
    configs = [{"rewards.own_block": a, "rewards.alive": a / 10} for a in (0.0, 0.1)]
    configs += [{"rewards.own_block": 0.0, "rewards.alive": 0.01}]
    folder = make_study(tmp_path, pool, configs, lambda c, i: Outcome(win_rate=0.3 * i))
    overview = look_over(load_study(str(folder)))
    bins = [row for field in field_tables(overview) for row in field.bins]
    assert not any(row.win_rate.is_known for row in bins if len(row.variants) == 2)
    assert interaction(overview) is None and "--sweep.num-seeds" in why_no_interaction(overview)


def test_each_row_says_how_it_was_compared(pool: Pool, tmp_path: Path) -> None:
    """One seed in common is paired by level, though the base has more."""
    rates = {"base": [0.9, 0.8, 0.85], "no blocks": [0.2], "selfish": [0.8, 0.9]}
    overview = named(tmp_path, pool, rates)
    found = {one.variant.name: one for one in effects(overview)}
    assert found["no blocks"].compared == "levels of seed 0"
    assert found["no blocks"].difference.method == "Newcombe, paired"
    assert found["no blocks"].difference.value == pytest.approx(-0.7)
    assert found["selfish"].compared == "2 seeds"
