"""Games of two sides: policies and scripted opponents against each other, sides alternated.

    found = duel(Player(name="me", module=module), Player(name="tracker"), config, num_games=100)
    found.wins, found.draws, found.losses

A player without a module is the scripted opponent of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.play import Games, NetworkActor, Thoughts, play_levels
from env.batch import HELD_OUT_BIT, BatchedGame
from env.errors import unknown_name
from env.pong import DIFFICULTIES, Pong, PongConfig, PongRewards, opponents
from env.pong import SEATS as SIDES
from env.replay import Replay
from experiments.ratings import Results, rate
from experiments.replays import make_replays, typical
from experiments.statistics import wilson

RUNGS: Mapping[str, float] = {
    "random": 0.0,
    "slow_tracker": 466.0,
    "tracker": 785.0,
    "predictor": 1821.0,
}
"""The fixed ladder: ratings of scripted opponents in `duel`, by `python -m benchmarks.ladder`."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """Somebody who can take a side."""

    name: str
    """A scripted opponent's, or any other with a module."""
    module: Any = None
    """An actor-critic; None: scripted."""

    def __post_init__(self) -> None:
        if self.module is None and self.name not in opponents()[1:]:
            raise unknown_name("player", self.name, opponents()[1:])


class DuelActor:
    """Two players at the same two seats of every game."""

    def __init__(self, players: Sequence[Player], *, seed: int, greedy: bool = False) -> None:
        """
        Args:
            players: the left one and the right one.
            seed: of the sampled actions.
            greedy: whether policies take their likeliest actions.
        """
        self.players = tuple(players)
        self._network: NetworkActor | None = None
        modules: dict[str, Any] = {
            side: player.module
            for side, player in zip(SIDES, players, strict=True)
            if player.module is not None
        }
        # A scripted seat is played by whichever policy there is, and then overruled.
        seats = [side if side in modules else next(iter(modules), "") for side in SIDES]
        if modules:
            self._network = NetworkActor(
                modules, greedy=greedy, seed=seed, seats=lambda game, number: seats
            )
        self._scripts = [one.name if one.module is None else "nobody" for one in players]
        self._is_scripted = np.array([one.module is None for one in players])
        self._actions: NDArray[np.int64] | None = None

    def start(self, sim: BatchedGame, started: NDArray[np.bool_]) -> None:
        """Policies forget what was seen in games that begin."""
        if self._network is not None:
            self._network.start(sim, started)

    def act(self, sim: BatchedGame, playing: NDArray[np.intp]) -> NDArray[np.int64]:
        """Actions (len(playing), 2)."""
        assert isinstance(sim, Pong)
        if self._actions is None:
            self._actions = np.zeros((sim.num_envs, 2), np.int64)
        if self._network is not None:
            self._actions[playing] = self._network.act(sim, playing)
        return sim.script(self._scripts, self._actions)[playing].astype(np.int64)  # type: ignore[arg-type]

    @property
    def entropy(self) -> float:
        """Mean entropy of the policies, in nats; a scripted seat's stand-in counts like it."""
        return 0.0 if self._network is None else self._network.entropy

    @property
    def thoughts(self) -> Thoughts | None:
        """Of the policies; zeros at a scripted seat."""
        found = None if self._network is None else self._network.thoughts
        if found is None:
            return None
        probabilities, values = found.probabilities.copy(), found.values.copy()
        probabilities[:, self._is_scripted] = 0
        values[:, self._is_scripted] = 0
        return Thoughts(probabilities=probabilities, values=values)


@dataclass(frozen=True, kw_only=True)
class Duel:
    """What came of games between two players, from the first one's side."""

    as_left: Games
    """Those that the first one played on the left."""
    as_right: Games
    wins: int
    losses: int
    draws: int

    @property
    def sides(self) -> tuple[Games, Games]:
        """By the first player's seat."""
        return self.as_left, self.as_right

    @property
    def num_games(self) -> int:
        """Of both sides together."""
        return self.wins + self.losses + self.draws

    @property
    def share(self) -> float:
        """Share of the games won, a draw being half a win."""
        return (self.wins + 0.5 * self.draws) / self.num_games

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share of games won; a draw counts as not won."""
        return wilson(self.wins, self.num_games)

    def of_first(self, stat: str) -> NDArray[np.int64]:
        """A statistic of the first player's seat in every game, such as `hits`."""
        return np.concatenate(
            [self.as_left.records[f"{stat}_left"], self.as_right.records[f"{stat}_right"]]
        )

    def of_second(self, stat: str) -> NDArray[np.int64]:
        """The same of the second player's seat."""
        return np.concatenate(
            [self.as_left.records[f"{stat}_right"], self.as_right.records[f"{stat}_left"]]
        )

    def of_both(self, stat: str) -> NDArray[np.int64]:
        """A statistic of every game, such as `length`."""
        return np.concatenate([self.as_left.records[stat], self.as_right.records[stat]])

    def won(self, side: str) -> NDArray[np.bool_]:
        """Which games of one side the first player won."""
        return self._ended(side, side)

    def lost(self, side: str) -> NDArray[np.bool_]:
        """Which games of one side the second player won."""
        return self._ended(side, SIDES[1 - SIDES.index(side)])

    def _ended(self, side: str, winner: str) -> NDArray[np.bool_]:
        games = self.sides[SIDES.index(side)]
        outcome = games.outcome_names.index(f"{winner}_wins")
        found: NDArray[np.bool_] = games.records["outcome"] == outcome
        return found


def duel(
    first: Player,
    second: Player,
    config: PongConfig,
    *,
    num_games: int,
    first_seed: int = 0,
    seed: int = 0,
    greedy: bool = False,
    each_tick: Callable[[], None] | None = None,
    keep_tracks: bool = False,
) -> Duel:
    """Plays so many games, half of them with the first player on the left, on the same serves.

    Args:
        first, second: who plays.
        config: the game.
        num_games: even or odd; an odd one more is played on the left.
        first_seed: of the held-out serves.
        seed: of sampled actions.
        greedy: whether policies take their likeliest actions.
        each_tick: called at every tick, for a watchdog.
        keep_tracks: whether to keep what was done, for replays.
    """
    counts = (num_games - num_games // 2, num_games // 2)
    found = []
    for side, count in enumerate(counts):
        players = (first, second) if side == 0 else (second, first)
        found.append(
            play_levels(
                DuelActor(players, seed=seed + side, greedy=greedy),
                lambda many: Pong(many, config, seed=0),
                range(first_seed, first_seed + count),
                each_tick=each_tick,
                keep_tracks=keep_tracks,
            )
        )
    ends = [games.records["outcome"] for games in found]
    left, right, draw = map(found[0].outcome_names.index, ("left_wins", "right_wins", "draw"))
    return Duel(
        as_left=found[0],
        as_right=found[1],
        wins=int((ends[0] == left).sum() + (ends[1] == right).sum()),
        losses=int((ends[0] == right).sum() + (ends[1] == left).sum()),
        draws=int((ends[0] == draw).sum() + (ends[1] == draw).sum()),
    )


def duel_metrics(duels: Mapping[str, Duel], rewards: PongRewards) -> dict[str, float]:
    """All metrics of a policy from its games against several opponents.

    `eval/` and `rating/`: how often it wins, over all games and against each, share of points, and
    the rating if the opponents are rungs. `behaviour/`: what it does, whatever it pays. `reward/`:
    each term's weighted total a game, at its own seat.
    """
    every = list(duels.values())
    wins, num_games = sum(one.wins for one in every), sum(one.num_games for one in every)
    low, high = wilson(wins, num_games)

    def total(stat: str, whose: str = "of_first") -> float:
        return float(sum(getattr(one, whose)(stat).sum() for one in every))

    balls = total("hits") + total("misses")
    ticks = total("length", "of_both")
    sides = [np.concatenate([one.won(side) for one in every]).mean() for side in SIDES]
    seats = [(games, seat) for one in every for seat, games in enumerate(one.sides)]
    terms = np.concatenate([games.records["terms"][:, seat] for games, seat in seats]).mean(axis=0)
    names = every[0].as_left.term_names
    by_term = {
        f"reward/{name}": float(one) * rewards.by_term()[name]
        for name, one in zip(names, terms, strict=True)
    }
    points = {name: _point_share(one) for name, one in duels.items()}
    return {
        "eval/win_rate": wins / num_games,
        "eval/win_rate_low": low,
        "eval/win_rate_high": high,
        "eval/episode_length": ticks / num_games,
        "eval/objective": float(np.mean(list(points.values()))),
        **{f"eval/win_rate_{name}": one.share for name, one in duels.items()},
        **{f"eval/points_{name}": share for name, share in points.items()},
        **_rating(duels),
        "behaviour/miss_rate": total("misses") / max(1.0, balls),
        "behaviour/still_share": total("still") / ticks,
        "behaviour/hits_a_rally": total("hits") / max(1.0, total("rallies", "of_both")),
        "behaviour/longest_rally": float(
            np.mean(np.concatenate([one.of_both("longest_rally") for one in every]))
        ),
        "behaviour/limited_share": total("limited", "of_both")
        / max(1.0, total("rallies", "of_both")),
        "behaviour/side_gap": float(sides[0] - sides[1]),
        "behaviour/action_entropy": float(np.mean([one.as_left.entropy for one in every])),
        **by_term,
        "reward/return": sum(by_term.values()),
    }


def _point_share(one: Duel) -> float:
    """Share of the points that were made; a half where none was."""
    own, other = int(one.of_first("score").sum()), int(one.of_second("score").sum())
    return own / (own + other) if own + other else 0.5


def _rating(duels: Mapping[str, Duel]) -> dict[str, float]:
    """The rating by games against rungs of the ladder; empty if none of them is one."""
    anchors = {name: RUNGS[name] for name in duels if name in RUNGS}
    if not anchors:
        return {}
    results = Results.empty(["it", *anchors])
    for name in anchors:
        one = duels[name]
        results.add("it", name, wins=one.wins, losses=one.losses, draws=one.draws)
    found = rate(results, anchors, num_resamples=400)["it"]
    return {"rating/elo": found.value, "rating/elo_low": found.low, "rating/elo_high": found.high}


def typical_replays(
    duels: Mapping[str, Duel],
    config: PongConfig,
    rewards: PongRewards,
    source: Mapping[str, Any],
) -> dict[str, Replay]:
    """Of each opponent the game of median length that was won, and the one that was lost, by name;
    of games that the policy played on the left, with `keep_tracks`."""
    made: dict[str, Replay] = {}
    for name, one in duels.items():
        games = one.as_left
        ends = {"won": one.won("left"), "lost": one.lost("left")}
        found = {f"{name}-{said}": typical(games, which) for said, which in ends.items()}
        made |= make_replays(
            games,
            {said: index for said, index in found.items() if index is not None},
            config,
            rewards,
            (games.records["level_seed"] & np.uint64(HELD_OUT_BIT - 1)).tolist(),
            game=Pong.name,
            difficulty=DIFFICULTIES[0],
            source={**source, "left": "the policy", "right": name},
        )
    return made
