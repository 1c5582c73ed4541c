"""Levels chosen by measured success: rungs open, what teaches is drawn, held-out is left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from algorithms.curriculum import Curriculum, CurriculumConfig
from env.batch import HELD_OUT_BIT
from env.errors import BadInputError
from env.pico_park import presets
from tests.algorithms.small import make_runner, plain, sample, small_config

RUNGS = ("meadow", "gates", "tunnels")
RECORD = np.dtype([("difficulty", "<i8"), ("level_seed", "<u8"), ("outcome", "<i8")])


def make(mode: str, **more: Any) -> Curriculum:
    config = CurriculumConfig(mode=mode, rungs=RUNGS, window=10, **more)  # type: ignore[arg-type]
    return Curriculum(config, presets(), victory=0, seed=1)


def records(rung: str, wins: int, losses: int, seed: int = 1, bit: int = 0) -> Any:
    found = np.zeros(wins + losses, RECORD)
    found["difficulty"] = presets().index(rung)
    found["level_seed"] = seed | bit
    found["outcome"] = [0] * wins + [1] * losses
    return found


def drawn(curriculum: Curriculum, count: int = 2000) -> Counter[str]:
    return Counter(str(curriculum.draw().difficulty) for _ in range(count))


def test_a_rung_opens_when_the_newest_is_won_often_enough() -> None:
    one = make("ladder", promote_at=0.8)
    assert set(drawn(one)) == {"meadow"}
    one.learn(records("meadow", 9, 0))
    assert one.num_open == 1, "nine games are no window of ten"
    one.learn(records("meadow", 0, 3))
    assert one.num_open == 1, "7 of the last 10"
    one.learn(records("meadow", 8, 0))
    assert one.num_open == 2
    one.learn(records("meadow", 10, 0))
    assert one.num_open == 2, "only the newest rung counts"
    one.learn(records("gates", 10, 0))
    one.learn(records("tunnels", 10, 0))
    assert one.num_open == 3, "there is no fourth"


def test_most_games_are_on_the_newest_rung_and_nothing_is_forgotten() -> None:
    one = make("ladder", newest_share=0.7)
    for rung in RUNGS[:2]:
        one.learn(records(rung, 10, 0))
    counts = drawn(one)
    assert counts["tunnels"] / 2000 == pytest.approx(0.7, abs=0.04)
    assert counts["meadow"] / 2000 == pytest.approx(0.15, abs=0.04)


def test_rungs_are_drawn_by_what_they_teach() -> None:
    one = make("learnability", replay_share=0.0)
    one.learn(records("meadow", 10, 0))
    one.learn(records("gates", 5, 5))
    one.learn(records("tunnels", 0, 10))
    counts = drawn(one)
    edge, middle = 11 / 12 * 1 / 12, 0.25
    share = 0.02 + 0.94 * middle / (middle + 2 * edge)
    assert counts["gates"] / 2000 == pytest.approx(share, abs=0.04)
    assert min(counts["meadow"], counts["tunnels"]) > 0.02 * 2000


def test_levels_are_drawn_by_p_times_1_minus_p() -> None:
    one = make("learnability", replay_share=1.0)
    one.learn(records("gates", 18, 0, seed=1))
    one.learn(records("gates", 9, 9, seed=2))
    one.learn(records("gates", 0, 18, seed=3))
    seeds = Counter(
        level.seed for level in (one.draw() for _ in range(4000)) if level.difficulty == "gates"
    )
    total = sum(seeds.values())
    weights = {1: 0.05 * 0.95, 2: 0.25, 3: 0.05 * 0.95}
    for seed, weight in weights.items():
        assert seeds[seed] / total == pytest.approx(weight / sum(weights.values()), abs=0.05)


def test_only_the_levels_met_last_are_remembered() -> None:
    one = make("learnability", replay_levels=3)
    for seed in (1, 2, 3, 1, 4):
        one.learn(records("gates", 1, 0, seed=seed))
    assert [seed for seed, *_ in one.get_state()["levels"][1]] == [3, 1, 4]


def test_held_out_levels_and_other_difficulties_teach_nothing() -> None:
    one = make("learnability")
    before = one.get_state()
    one.learn(records("meadow", 5, 0, bit=HELD_OUT_BIT))
    one.learn(records("classic", 5, 0))
    assert one.get_state() == before


@pytest.mark.parametrize("mode", ["ladder", "learnability"])
def test_a_curriculum_goes_on_from_its_state(mode: str) -> None:
    one, other = make(mode), make(mode)
    one.learn(records("meadow", 9, 3))
    drawn(one, 50)
    other.set_state(one.get_state())
    assert [other.draw() for _ in range(50)] == [one.draw() for _ in range(50)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rungs": ("meadow", "hills")}, "'hills'.*no difficulty of this game"),
        ({"rungs": ()}, "needs rungs"),
        ({"rungs": ("gates", "gates")}, "twice"),
        ({"promote_at": 1.5}, "promote_at is 1.5"),
        ({"window": 0}, "window is 0"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Curriculum(CurriculumConfig(mode="ladder", **settings), presets(), victory=0, seed=0)


# -- in a runner


def curriculum_config(mode: str = "learnability", **more: Any) -> Any:
    config = CurriculumConfig(mode=mode, rungs=("meadow", "gates"), **more)  # type: ignore[arg-type]
    return small_config().curriculum(config)


def difficulties(rollouts: list[Any]) -> set[str]:
    return {presets()[index] for one in rollouts for index in one.episodes["difficulty"]}


def test_a_runner_plays_what_its_curriculum_draws() -> None:
    runner = make_runner(curriculum_config())
    rollouts = [sample(runner) for _ in range(6)]
    assert difficulties(rollouts) == {"meadow", "gates"}
    logged = plain(runner.get_metrics())
    assert logged["curriculum/rungs"] == 2
    assert 0 <= logged["curriculum/meadow"] <= 1
    ladder = make_runner(curriculum_config("ladder"))
    assert difficulties([sample(ladder) for _ in range(6)]) == {"meadow"}


def test_a_level_is_played_again_only_if_it_was_drawn_again() -> None:
    runner = make_runner(curriculum_config(replay_share=0.0))
    seeds = [int(s) for _ in range(8) for s in sample(runner).episodes["level_seed"]]
    assert len(seeds) > 20 and len(set(seeds)) == len(seeds)


def test_a_runner_goes_on_with_its_curriculum() -> None:
    runner = make_runner(curriculum_config())
    for _ in range(4):
        sample(runner)
    state = runner.get_state()
    expected = [sample(runner).episodes for _ in range(4)]
    other = make_runner(curriculum_config())
    other.set_state(state)
    for one in expected:
        np.testing.assert_array_equal(sample(other).episodes, one)


def test_evaluation_never_hears_of_it() -> None:
    config = curriculum_config().copy(copy_frozen=False)
    config.evaluation(evaluation_interval=1, evaluation_duration=6)
    evaluation = config.get_evaluation_config_object()
    runner = make_runner(evaluation)
    records = sample(runner, num_episodes=6).episodes
    assert (records["level_seed"] & np.uint64(HELD_OUT_BIT)).all()
    assert runner._curriculum is None


def test_a_runner_that_is_started_again_knows_how_far_it_was() -> None:
    """RLlib gives it the local runner's state, which the algorithm keeps up to date."""
    runner = make_runner(curriculum_config("ladder"), worker_index=1)
    sample(runner)
    assert runner._curriculum is not None
    runner._curriculum.num_open = 2
    local = make_runner(curriculum_config("ladder"))
    local.know_curriculum(sample(runner).curriculum)
    again = make_runner(curriculum_config("ladder"), worker_index=1)
    again.set_state(local.get_state())
    sample(again)
    assert again._curriculum is not None and again._curriculum.num_open == 2


def test_another_modes_state_is_left_alone() -> None:
    one, other = make("ladder"), make("learnability")
    other.set_state(one.get_state())
    assert other.num_open == len(RUNGS)
    other.draw()


@pytest.mark.parametrize("mode", ["ladder", "learnability"])
def test_training_can_be_held_to_a_few_levels(mode: str) -> None:
    one = make(mode, num_levels=3)
    found = [one.draw() for _ in range(300)]
    assert {level.seed for level in found} == {0, 1, 2}
    assert not any(level.held_out for level in found)
    assert all(level.seed is None for level in [make(mode).draw() for _ in range(20)])


def test_a_negative_number_of_levels_is_refused() -> None:
    with pytest.raises(BadInputError, match="num_levels is -1"):
        CurriculumConfig(num_levels=-1)
