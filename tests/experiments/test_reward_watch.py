"""The watch on hacked rewards: flags what pays without winning, and keeps silent on what wins."""

from __future__ import annotations

import dataclasses
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
from experiments.reward_watch import Reference, RewardWatch, shown_in

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
    assert watch.verdict.endswith("; see time-typical at 200 env steps")
    assert shown_in(watch.verdict) == ("time-typical", 200) and "0%" in watch.verdict


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


def mixed(played: dict[str, Games], win_rate: float, num: int, rng: np.random.Generator) -> Games:
    """Games of which so many are won, as chance has it; in the others all wait till the end."""
    is_won = rng.random(num) < win_rate
    picked = rng.integers(40, size=num)
    won, lost = played["wins"].records[picked], played["idle"].records[picked]
    return dataclasses.replace(played["idle"], records=np.where(is_won, won, lost))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted team plays its levels once for all watches."""
    reference = Reference.of(SLOW)
    monkeypatch.setattr(Reference, "of", classmethod(lambda cls, config: reference))


@pytest.mark.parametrize("num_levels", [32, 100, 200])
def test_steady_learning_is_no_hack_though_lost_games_pay(
    played: dict[str, Games], quick: None, num_levels: int
) -> None:
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(40):
        watch = RewardWatch(SLOW, KEEP_ALIVE)
        for k in range(12):
            watch.look(mixed(played, 0.3 + 0.05 * k, num_levels, rng), 1000 * (k + 1))
            flagged += watch.finding is not None
    assert flagged == 0


@pytest.mark.parametrize(("num_levels", "last"), [(32, 24), (100, 12), (200, 8)])
def test_a_team_that_stays_where_it_is_is_found_out(
    played: dict[str, Games], quick: None, num_levels: int, last: int
) -> None:
    """Three games in ten won all the time: few levels take longer to tell it from learning."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(40):
        watch = RewardWatch(SLOW, KEEP_ALIVE)
        watch.look(played["random"], 0)
        is_found = False
        for k in range(last):
            watch.look(mixed(played, 0.3, num_levels, rng), 1000 * (k + 1))
            is_found |= watch.finding is not None
        found += is_found
    assert found >= 32


def test_the_replay_is_of_the_ending_that_earns_the_surplus(
    played: dict[str, Games], quick: None
) -> None:
    records = played["idle"].records.copy()
    names, terms = played["idle"].cause_names, played["idle"].term_names
    records["cause"][:24] = names.index("crushed")
    records["terms"][:24, :, terms.index("alive")] = 5
    most_are_crushed = dataclasses.replace(played["idle"], records=records)
    watch = RewardWatch(SLOW, PicoParkRewards(alive=0.04))
    for steps, of in enumerate([played["random"], most_are_crushed, most_are_crushed]):
        watch.look(of, 100 * steps)
    assert watch.finding is not None and watch.finding.replay == "time-typical"


def test_without_replays_none_is_named(played: dict[str, Games]) -> None:
    watch = RewardWatch(SLOW, KEEP_ALIVE, has_replays=False)
    assert look(watch, played, "random", "idle", "idle")[-1]
    assert "see" not in watch.verdict and shown_in(watch.verdict) is None


def test_a_verdict_of_an_older_version_names_the_last_replay() -> None:
    assert shown_in("the return rises by alive; see time-typical") == ("time-typical", None)
    assert shown_in("no") is None


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
