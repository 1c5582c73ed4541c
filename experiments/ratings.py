"""Ratings of players from games between them, on a scale that is the same for every run.

Bradley and Terry's model (1952): the chance that one beats another is the logistic of the
difference of their ratings. A draw is half a win. Fixed opponents hold the scale: their ratings are
given, and everybody else's follow from the games with them and with each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.statistics import Interval, wilson

ELO = 400 / math.log(10)
"""Points a unit of the logistic: 400 points are ten wins to a loss, as in chess (Elo 1978)."""
PRIOR = 0.5
"""Wins that each of a pair that has met is given beside its own, so that 300 : 0 has a finite
rating (Jeffreys' prior of a share)."""
NUM_RESAMPLES = 1000
_MAX_STEP = 2.0
_NUM_STEPS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What came of games between P players."""

    names: tuple[str, ...]
    """Of the players, each once."""
    wins: NDArray[np.int64]
    """(P, P): games that the row's player won against the column's."""
    draws: NDArray[np.int64]
    """(P, P), symmetric."""

    @classmethod
    def empty(cls, names: Sequence[str]) -> Results:
        """Before the first game.

        Raises:
            ValueError: a name twice.
        """
        if len(set(names)) != len(names):
            raise ValueError(f"players are {', '.join(names)}; name each once.")
        shape = (len(names), len(names))
        return cls(names=tuple(names), wins=np.zeros(shape, int), draws=np.zeros(shape, int))

    def add(self, one: str, other: str, *, wins: int, losses: int, draws: int = 0) -> None:
        """Games of a pair, from the first's side."""
        i, j = self.names.index(one), self.names.index(other)
        if i == j or min(wins, losses, draws) < 0:
            raise ValueError(f"{one} against {other}, {wins} : {losses}, {draws} draws: no result.")
        self.wins[i, j] += wins
        self.wins[j, i] += losses
        self.draws[i, j] += draws
        self.draws[j, i] += draws

    @property
    def games(self) -> NDArray[np.int64]:
        """(P, P): games of each pair."""
        found: NDArray[np.int64] = self.wins + self.wins.T + self.draws
        return found

    @property
    def shares(self) -> NDArray[np.float64]:
        """(P, P): share of points that the row's player took from the column's; nan where they have
        not met."""
        with np.errstate(invalid="ignore"):
            found: NDArray[np.float64] = (self.wins + 0.5 * self.draws) / self.games
        return found


def rate(
    results: Results,
    anchors: Mapping[str, float],
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Interval]:
    """Every player's rating with its 95 % interval, in Elo's points.

    The intervals come from resampled games: of each pair as many as it played, drawn from its own
    results smoothed by the prior (without that, 300 : 0 would resample to itself and claim to be
    certain).

    Args:
        results: games; every player must be connected with an anchor by a chain of them.
        anchors: ratings that are given, by name; they get no interval.
        seed: of the resampling.
        num_resamples: how many times.

    Raises:
        ValueError: no anchor, one that isn't among the players, or a player that no chain of games
            leads to.
    """
    fixed = _fixed(results, anchors)
    games = results.games
    points = results.wins + 0.5 * results.draws
    best = _fit(points[None], games, fixed)[0]
    rng = np.random.default_rng(seed)
    resampled = np.stack([_resample(results, rng) for _ in range(num_resamples)])
    spread = _fit(resampled, games, fixed)
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    found = {}
    for i, name in enumerate(results.names):
        if name in anchors:
            found[name] = Interval(anchors[name], math.nan, math.nan, "given")
        else:
            found[name] = Interval(best[i], low[i], high[i], "Bradley-Terry, bootstrap")
    return found


def _fixed(results: Results, anchors: Mapping[str, float]) -> NDArray[np.float64]:
    """(P,): given ratings in points, nan elsewhere."""
    if not anchors:
        raise ValueError("nobody's rating is given; name at least one anchor.")
    fixed = np.full(len(results.names), np.nan)
    for name, rating in anchors.items():
        if name not in results.names:
            raise ValueError(f"the anchor {name!r} has played no game here.")
        fixed[results.names.index(name)] = rating
    reached = ~np.isnan(fixed)
    met = results.games > 0
    while (more := reached | (met & reached).any(1)).sum() > reached.sum():
        reached = more
    if not reached.all():
        lost = ", ".join(np.array(results.names)[~reached])
        raise ValueError(f"no chain of games leads from an anchor to {lost}; let them meet.")
    return fixed


def _resample(results: Results, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points (P, P) of as many games a pair as were played."""
    points = np.zeros(results.wins.shape)
    for i, j in itertools.combinations(range(len(results.names)), 2):
        count = results.games[i, j]
        if not count:
            continue
        seen = np.array([results.wins[i, j], results.draws[i, j], results.wins[j, i]], float)
        seen[[0, 2]] += PRIOR
        won, drawn, lost = rng.multinomial(count, seen / seen.sum())
        points[i, j], points[j, i] = won + 0.5 * drawn, lost + 0.5 * drawn
    return points


def _fit(
    points: NDArray[np.float64], games: NDArray[np.int64], fixed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Ratings (B, P) of the greatest likelihood, by Newton's method.

    Args:
        points: (B, P, P), of the row's players against the column's.
        games: (P, P).
        fixed: (P,) given ratings, nan elsewhere.
    """
    met = games > 0
    points, games = points + PRIOR * met, games + 2 * PRIOR * met
    free = np.flatnonzero(np.isnan(fixed))
    ratings = np.tile(np.nan_to_num(fixed, nan=float(np.nanmean(fixed))) / ELO, (len(points), 1))
    for _ in range(_NUM_STEPS if len(free) else 0):
        expected = 1 / (1 + np.exp(ratings[:, None, :] - ratings[:, :, None]))
        slope = (points - games * expected).sum(2)
        weight = games * expected * (1 - expected)
        curve = -weight
        diagonal = np.arange(len(fixed))
        curve[:, diagonal, diagonal] += weight.sum(2)
        step = np.linalg.solve(curve[:, free[:, None], free], slope[:, free, None])[..., 0]
        ratings[:, free] += np.clip(step, -_MAX_STEP, _MAX_STEP)
        if np.abs(step).max() < 1e-9:
            break
    found: NDArray[np.float64] = ratings * ELO
    return found


def cycles(results: Results) -> Iterator[tuple[str, str, str]]:
    """Players that beat each other in a ring, each pair beyond doubt: the lower bound of the
    winner's share of decided games lies above a half (Wilson 1927).

    Yields:
        (a, b, c) where a beats b, b beats c and c beats a, beginning with the first by number.
    """
    beats = np.zeros(results.wins.shape, bool)
    for i, j in itertools.permutations(range(len(results.names)), 2):
        decided = int(results.wins[i, j] + results.wins[j, i])
        beats[i, j] = decided > 0 and wilson(int(results.wins[i, j]), decided)[0] > 0.5
    for i, j, k in itertools.permutations(range(len(results.names)), 3):
        if i == min(i, j, k) and beats[i, j] and beats[j, k] and beats[k, i]:
            yield results.names[i], results.names[j], results.names[k]
