"""Is the reward being hacked? A return that rises for something else than winning is found out.

At every evaluation each term's amount is held against what victories take: its mean in games that
the scripted team won under the same rules. What is paid beyond that is *farmed*. A run is flagged
when, in two evaluations in a row, farming pays a good part of what a whole victory would, the
return has risen, and held-out success hasn't; or when cats shoot for nothing all the time. Once
that is over, the flag is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from algorithms.play import Games
from env.errors import BadInputError
from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments.evaluate import ScriptedActor, held_out_seeds, play_levels
from experiments.metrics import NO
from experiments.statistics import wilson

NUM_REFERENCE_LEVELS = 32
"""Held-out levels that the scripted team plays, half a second's work."""
FARMED_SHARE = 0.15
"""Of a victory's pay, from which on farming counts. Runs that learn well stay below .05."""
USELESS_SHARE = 0.1
"""Of cats' ticks in play, from which on useless shots count. Runs that learn well reach .04."""
USELESS_RISE = 1.5
"""And by how much that share must have risen: who acts at random shoots for nothing as well."""
WON = 0.9
"""Win rate from which on it doesn't matter what else pays."""
IN_A_ROW = 2
"""Evaluations that must agree, on a flag and on taking it back."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one evaluation shows of a hacked reward."""

    term: str
    """The term that pays for it."""
    amount: float
    """Of it, a cat and episode."""
    needed: float
    """The same in the scripted team's victories."""
    pay: float
    """What the surplus pays, a cat and episode."""
    victory_pay: float
    """What a whole victory of the scripted team's would pay, a cat."""
    win_rate: float
    """Held out."""
    replay: str
    """Name of the evaluation's replay that shows it."""

    @property
    def sentence(self) -> str:
        """For the run's note and the terminal."""
        if self.term == "wasted_shot":
            return (
                f"cats shoot for nothing, {self.amount:.0f} times a cat and episode, where "
                f"victories take {self.needed:.0f}: useless shots cost too little "
                f"(rewards.wasted_shot); see {self.replay}"
            )
        return (
            f"the return rises by {self.term}, {self.amount:.3g} a cat and episode where victories "
            f"take {self.needed:.3g}: the surplus pays {self.pay:.2f}, a victory "
            f"{self.victory_pay:.2f}, and held-out levels won stay at {self.win_rate:.0%} "
            f"(lower rewards.{self.term}); see {self.replay}"
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What victories take: the mean amount of every term, a cat and episode."""

    amounts: Mapping[str, float]

    @classmethod
    def of(cls, config: PicoParkConfig) -> Reference | None:
        """Of the scripted team; None where it can't play or never wins."""
        try:
            games = play_levels(ScriptedActor(), config, held_out_seeds(NUM_REFERENCE_LEVELS))
        except BadInputError:
            return None
        if not games.wins.any():
            return None
        return cls(amounts=_amounts(games, games.wins))

    def farmed(self, games: Games, rewards: PicoParkRewards) -> dict[str, float]:
        """What each term pays beyond what victories take, a cat and episode; 0 where nothing."""
        weights = rewards.by_term()
        found = _amounts(games, np.ones(len(games.records), np.bool_))
        return {
            name: max(0.0, weights[name] * amount - max(0.0, weights[name] * self.amounts[name]))
            for name, amount in found.items()
        }

    def victory_pay(self, rewards: PicoParkRewards) -> float:
        """What a victory pays a cat."""
        weights = rewards.by_term()
        return sum(weights[name] * amount for name, amount in self.amounts.items())


class RewardWatch:
    """Watches one run.

    Attributes:
        finding: of the newest evaluation at which the run was flagged; None while it isn't.
        verdict: `no`; while it is flagged the finding's sentence; later that it is `no longer`.
    """

    def __init__(self, config: PicoParkConfig, rewards: PicoParkRewards) -> None:
        """Starts with nothing against the run; the reference is played at the first evaluation."""
        self.config = config
        self.rewards = rewards
        self.finding: Finding | None = None
        self.verdict = NO
        self._reference: Reference | None = None
        self._has_reference = False
        self._seen: list[dict[str, float]] = []
        self._num_for = self._num_against = 0

    def look(self, games: Games, env_steps: int) -> dict[str, float]:
        """Judges an evaluation.

        Args:
            games: of held-out levels, sampled play.
            env_steps: how long the policy has been trained.

        Returns:
            `reward/farmed`, what is paid beyond what victories take, a cat and episode; empty where
            there is no reference.
        """
        if not self._has_reference:
            self._reference, self._has_reference = Reference.of(self.config), True
        if self._reference is None:
            return {}
        wins = int(games.wins.sum())
        amounts = _amounts(games, np.ones(len(games.records), np.bool_))
        pay = sum(self.rewards.by_term()[name] * amount for name, amount in amounts.items())
        low, _ = wilson(wins, len(games.wins))
        useless = amounts["wasted_shot"] + amounts["foreign_block"]
        ticks = float(games.records["active_ticks"].mean()) / self.config.num_agents
        now = {
            "env_steps": env_steps,
            "win_rate": wins / len(games.wins),
            "low": low,
            "return": pay,
            "useless": useless / max(1.0, ticks),
        }
        farmed = self._reference.farmed(games, self.rewards)
        found = self._judge(games, amounts, farmed, now)
        self._seen.append(now)
        self._num_for = self._num_for + 1 if found else 0
        self._num_against = 0 if found else self._num_against + 1
        if found and (self.finding or self._num_for >= IN_A_ROW):
            self.finding, self.verdict = found, found.sentence
        elif self.finding and self._num_against >= IN_A_ROW:
            self.verdict = f"{NO} longer, since {env_steps:,} env steps; {self.finding.sentence}"
            self.finding = None
        return {"reward/farmed": sum(farmed.values())}

    def _judge(
        self,
        games: Games,
        amounts: Mapping[str, float],
        farmed: Mapping[str, float],
        now: Mapping[str, float],
    ) -> Finding | None:
        """What this evaluation shows by itself."""
        assert self._reference is not None
        if not self._seen:
            return None
        victory_pay = self._reference.victory_pay(self.rewards)
        term = max(farmed, key=lambda name: farmed[name])
        is_farmed = sum(farmed.values()) >= FARMED_SHARE * max(victory_pay, 0.0)
        earlier = [one for one in self._seen if one["env_steps"] <= now["env_steps"] / 2]
        before = (earlier or self._seen[:1])[-1]
        has_risen = now["return"] > self._seen[0]["return"]
        is_stuck = now["low"] <= before["win_rate"] and now["win_rate"] < WON
        if not (farmed[term] > 0 and is_farmed and has_risen and is_stuck):
            if now["useless"] <= max(USELESS_SHARE, USELESS_RISE * self._seen[0]["useless"]):
                return None
            term = "wasted_shot"
            amounts = {**amounts, term: amounts["wasted_shot"] + amounts["foreign_block"]}
        return Finding(
            term=term,
            amount=amounts[term],
            needed=self._reference.amounts[term],
            pay=farmed[term],
            victory_pay=victory_pay,
            win_rate=now["win_rate"],
            replay=_typical(games),
        )

    def get_state(self) -> dict[str, Any]:
        """What outlives a restart of the trial, as plain data."""
        return {
            "seen": self._seen,
            "num_for": self._num_for,
            "num_against": self._num_against,
            "verdict": self.verdict,
            "finding": asdict(self.finding) if self.finding else None,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on watching; an empty state starts anew."""
        self._seen = [dict(one) for one in state.get("seen", [])]
        self._num_for = int(state.get("num_for", 0))
        self._num_against = int(state.get("num_against", 0))
        self.verdict = str(state.get("verdict", NO))
        finding = state.get("finding")
        self.finding = Finding(**finding) if finding else None


def _amounts(games: Games, of: Any) -> dict[str, float]:
    """Each term's mean, a cat and episode."""
    totals = games.records["terms"][of].mean(axis=(0, 1))
    return {name: float(one) for name, one in zip(games.term_names, totals, strict=True)}


def _typical(games: Games) -> str:
    """The replay of what happens most, as `experiments.replays.choose` names it."""
    causes = np.bincount(games.records["cause"], minlength=len(games.cause_names))
    return f"{games.cause_names[int(causes.argmax())]}-typical"
