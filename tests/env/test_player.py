"""The player's page as a file; what it does in a browser is tested in tests/browser."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np

from env.batch import Level
from env.pico_park import PicoParkConfig, PicoParkRewards
from env.player import MAX_PAGE_BYTES, headline, make_page
from env.replay import Replay, record


def long_game() -> Replay:
    """500 ticks on a level that doesn't scroll, with thoughts beside."""
    config = PicoParkConfig(preset="gauntlet", length=25, time_limit=500, on_death="continue")
    rng = np.random.default_rng(0)
    actions = rng.choice([0, 1, 2, 3, 5, 5], (500, 4))
    return record(
        "pico_park",
        config,
        PicoParkRewards(),
        Level(seed=1, held_out=True),
        actions,
        probabilities=rng.dirichlet(np.ones(6), (500, 4)),
        values=rng.normal(size=(500, 4)),
    )


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, object] = json.loads(found.group(1))
    return data


def test_five_hundred_ticks_are_a_small_page() -> None:
    replay = long_game()
    assert replay.num_ticks == 500
    assert len(make_page(replay).encode()) < MAX_PAGE_BYTES


def test_nothing_is_fetched_and_nothing_stored() -> None:
    page = make_page(long_game())
    for word in ("http://", "https://", "src=", "href=", "fetch(", "localStorage", "@DATA@"):
        assert word not in page


def test_thoughts_that_are_no_numbers_are_nought() -> None:
    replay = long_game()
    assert replay.probabilities is not None
    odd = replay.probabilities.copy()
    odd[0], odd[1], odd[2] = np.nan, np.inf, -5
    data_of(make_page(dataclasses.replace(replay, probabilities=odd)))


def test_the_headline_says_what_was_played_and_how_it_ended() -> None:
    assert headline(long_game()) == "gauntlet, held-out level 1: time"
    config = PicoParkConfig(num_agents=2)
    by_hand = record(
        "pico_park",
        config,
        PicoParkRewards(),
        Level(map="01O"),
        np.array([[5, 3], [3, 5], [3, 5]]),
    )
    assert headline(by_hand) == "a map by hand: victory"


def test_events_are_told() -> None:
    actions = [[3, 4], [3, 5], [3, 5], [3, 5], *([[5, 3]] * 3), [5, 0], [5, 3]]
    rules = PicoParkConfig(num_agents=2)
    level = Level(map="0K..D\n1....")
    replay = record("pico_park", rules, PicoParkRewards(), level, np.array(actions))
    assert replay.record["outcome"] == "victory"
    told = data_of(make_page(replay))["events"]
    assert sorted(map(tuple, told)) == [  # type: ignore[call-overload]
        (1, 0, "key"),
        (1, 1, "shoot"),
        (4, 0, "exit"),
        (4, 0, "unlock"),
        (9, 1, "exit"),
    ]
