"""Ratings: a closed form, known strengths found again, intervals that cover, rings seen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from experiments.ratings import ELO, PRIOR, Results, cycles, rate

STRENGTHS = {"floor": 0.0, "a": 120.0, "b": 260.0, "c": 400.0, "top": 500.0}
ANCHORS = {"floor": 0.0, "top": 500.0}


def simulated(rng: np.random.Generator, num_games: int, draws: float = 0.1) -> Results:
    """Games between players of known strength; a share of all games is drawn."""
    results = Results.empty(list(STRENGTHS))
    for one, other in itertools.combinations(STRENGTHS, 2):
        chance = 1 / (1 + 10 ** ((STRENGTHS[other] - STRENGTHS[one]) / 400))
        # Half of what is drawn is taken from wins and losses alike, so that expectations stay.
        drawn = draws * 2 * min(chance, 1 - chance)
        shares = [chance - drawn / 2, drawn, 1 - chance - drawn / 2]
        won, even, lost = rng.multinomial(num_games, shares)
        results.add(one, other, wins=int(won), losses=int(lost), draws=int(even))
    return results


def test_two_players_have_a_closed_form() -> None:
    results = Results.empty(["given", "new"])
    results.add("new", "given", wins=30, losses=10, draws=20)
    found = rate(results, {"given": 1000.0}, num_resamples=10)["new"]
    odds = (30 + 10 + PRIOR) / (10 + 10 + PRIOR)
    assert found.value == pytest.approx(1000 + ELO * math.log(odds), abs=1e-6)


def test_a_clean_sheet_has_a_finite_rating_and_an_interval() -> None:
    results = Results.empty(["given", "new"])
    results.add("new", "given", wins=300, losses=0)
    found = rate(results, {"given": 0.0})["new"]
    assert 1000 < found.value < 1200 and found.low < found.value and math.isfinite(found.high)


def test_it_is_the_greatest_likelihood() -> None:
    results = simulated(np.random.default_rng(1), 40)
    found = rate(results, ANCHORS, num_resamples=10)
    points = results.wins + 0.5 * results.draws + PRIOR * (1 - np.eye(5))

    def loss(free: np.ndarray) -> float:
        ratings = np.array([0.0, *free, 500.0]) / ELO
        gaps = ratings[:, None] - ratings[None, :]
        return float((points * np.log1p(np.exp(-gaps))).sum())

    best = minimize(loss, [200.0, 200.0, 200.0], method="BFGS", options={"gtol": 1e-8})
    assert [found[name].value for name in "abc"] == pytest.approx(best.x, abs=0.05)


def test_known_strengths_come_back_in_order_and_intervals_cover() -> None:
    rng = np.random.default_rng(2)
    covered, ordered, repeats = np.zeros(3), 0, 400
    for repeat in range(repeats):
        found = rate(simulated(rng, 60), ANCHORS, seed=repeat, num_resamples=200)
        covered += [found[n].low <= STRENGTHS[n] <= found[n].high for n in "abc"]
        ordered += found["a"].value < found["b"].value < found["c"].value
    assert ordered > 0.99 * repeats
    assert (np.abs(covered / repeats - 0.95) <= 0.03).all(), covered / repeats


def test_ratings_dont_depend_on_who_else_was_there() -> None:
    results = simulated(np.random.default_rng(3), 2000)
    few = Results.empty(["floor", "b", "top"])
    for one, other in itertools.combinations(few.names, 2):
        i, j = results.names.index(one), results.names.index(other)
        few.add(
            one,
            other,
            wins=int(results.wins[i, j]),
            losses=int(results.wins[j, i]),
            draws=int(results.draws[i, j]),
        )
    whole, part = (rate(one, ANCHORS, num_resamples=50)["b"].value for one in (results, few))
    assert whole == pytest.approx(part, abs=25)


def test_a_ring_is_seen_and_a_doubtful_one_not() -> None:
    results = Results.empty(["paper", "rock", "scissors", "well"])
    for one, other in (("paper", "rock"), ("rock", "scissors"), ("scissors", "paper")):
        results.add(one, other, wins=60, losses=30, draws=10)
    for other in results.names[:3]:
        results.add("well", other, wins=52, losses=48)
    assert list(cycles(results)) == [("paper", "rock", "scissors")]


def test_what_cant_be_rated_is_refused() -> None:
    results = Results.empty(["a", "b", "c"])
    results.add("a", "b", wins=1, losses=1)
    with pytest.raises(ValueError, match="no chain of games leads from an anchor to c"):
        rate(results, {"a": 0.0})
    with pytest.raises(ValueError, match="nobody's rating is given"):
        rate(results, {})
    with pytest.raises(ValueError, match="the anchor 'd' has played no game here"):
        rate(results, {"d": 0.0})
    with pytest.raises(ValueError, match="a against a, 1 : 0, 0 draws: no result"):
        results.add("a", "a", wins=1, losses=0)
    with pytest.raises(ValueError, match="name each once"):
        Results.empty(["a", "a"])
