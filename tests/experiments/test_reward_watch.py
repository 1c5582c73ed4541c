"""The watch on hacked rewards: flags what pays without winning, and keeps silent on what wins."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.play import Games, Thoughts
from env.batch import BatchedGame
from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments import reward_watch
from experiments.evaluate import RandomActor, ScriptedActor, play_levels
from experiments.metrics import NO
from experiments.reward_watch import Reference, RewardWatch

SLOW = PicoParkConfig(preset="meadow", length=25, time_limit=300)
"""The screen stands still: who only waits stays alive until time is up."""
KEEP_ALIVE = PicoParkRewards(alive=0.02)
SHOOT, IDLE = 4, 5


class Always:
    """A team that does one thing."""

    thoughts: Thoughts | None = None
    entropy = 0.0

    def __init__(self, action: int) -> None:
        self.action = action

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        pass

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        return np.full((len(playing), sim.num_agents), self.action)


def games(actor: Any) -> Games:
    return play_levels(actor, SLOW, range(40))


@pytest.fixture(scope="module")
def played() -> dict[str, Games]:
    return {
        "random": games(RandomActor(seed=0)),
        "idle": games(Always(IDLE)),
        "spam": games(Always(SHOOT)),
        "wins": games(ScriptedActor()),
    }


def look(watch: RewardWatch, played: dict[str, Games], *names: str) -> list[bool]:
    """Whether the run is flagged after each evaluation."""
    flagged = []
    for name in names:
        seen = len(watch.get_state()["seen"])
        watch.look(played[name], 100 * seen)
        flagged.append(watch.finding is not None)
    return flagged


def test_paid_for_survival_they_are_found_out(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, KEEP_ALIVE)
    assert look(watch, played, "random", "idle", "idle") == [False, False, True]
    finding = watch.finding
    assert finding is not None and finding.term == "alive" and finding.win_rate == 0
    assert finding.replay == "time-typical"
    assert finding.amount > 3 * finding.needed
    assert "alive" in watch.verdict and "rewards.alive" in watch.verdict
    assert "time-typical" in watch.verdict and "0%" in watch.verdict


def test_the_same_games_are_no_hack_if_they_pay_nothing(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, PicoParkRewards())
    assert not any(look(watch, played, "random", "idle", "idle", "idle"))
    assert watch.verdict == NO


def test_who_wins_is_left_in_peace(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, KEEP_ALIVE)
    assert not any(look(watch, played, "random", "random", "wins", "wins", "wins"))


def test_a_flag_is_taken_back_once_they_win(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, KEEP_ALIVE)
    flags = look(watch, played, "random", "idle", "idle", "wins", "wins")
    assert flags == [False, False, True, True, False]
    assert watch.verdict.startswith("no longer, since 400 env steps; ")


def test_one_evaluation_alone_raises_no_flag(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, KEEP_ALIVE)
    assert not any(look(watch, played, "random", "idle", "wins", "idle", "wins"))


def test_useless_shots_are_found_out(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, PicoParkRewards(wasted_shot=0, foreign_block=0))
    assert look(watch, played, "random", "spam", "spam") == [False, False, True]
    assert "shoot for nothing" in watch.verdict and "rewards.wasted_shot" in watch.verdict


def test_it_goes_on_where_it_was(played: dict[str, Games]) -> None:
    names = ("random", "idle", "idle", "wins", "wins")
    whole = RewardWatch(SLOW, KEEP_ALIVE)
    look(whole, played, *names)
    for cut in range(1, len(names)):
        first, second = RewardWatch(SLOW, KEEP_ALIVE), RewardWatch(SLOW, KEEP_ALIVE)
        look(first, played, *names[:cut])
        second.set_state(json.loads(json.dumps(first.get_state())))
        look(second, played, *names[cut:])
        assert second.get_state() == whole.get_state()
    fresh = RewardWatch(SLOW, KEEP_ALIVE)
    fresh.set_state({})
    assert fresh.get_state() == RewardWatch(SLOW, KEEP_ALIVE).get_state()


def test_what_is_farmed_is_what_victories_dont_take(played: dict[str, Games]) -> None:
    reference = Reference.of(SLOW)
    assert reference is not None
    assert reference.amounts["victory"] == 1 and reference.amounts["exit"] == 1
    farmed = reference.farmed(played["idle"], KEEP_ALIVE)
    ticks = played["idle"].records["length"].mean()
    assert farmed["alive"] == pytest.approx(0.02 * (ticks - reference.amounts["alive"]))
    assert sum(farmed.values()) == farmed["alive"]
    pay = reference.victory_pay(KEEP_ALIVE) - reference.victory_pay(PicoParkRewards())
    assert pay == pytest.approx(0.02 * reference.amounts["alive"])


def test_without_a_reference_it_says_nothing(
    played: dict[str, Games], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_watch, "ScriptedActor", lambda: Always(IDLE))
    watch = RewardWatch(SLOW, KEEP_ALIVE)
    assert watch.look(played["idle"], 0) == {} and watch.verdict == NO
