"""Is the reward being hacked? A return that rises for something else than winning is found out.

At every evaluation each term's amount is held against what victories take: its mean in games that
the scripted team won under the same rules. What is paid beyond that is *farmed*. A run is flagged
when, in two evaluations in a row, farming pays a good part of what a whole victory would, the
return has risen clearly, and held-out success clearly hasn't; or when cats shoot for nothing all
the time. Once that is over, the flag is taken back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.play import Games
from env.errors import BadInputError
from env.pico_park import PicoParkConfig, PicoParkRewards
from experiments.evaluate import ScriptedActor, held_out_seeds, play_levels
from experiments.metrics import NO

NUM_REFERENCE_LEVELS = 32
"""Held-out levels that the scripted team plays, half a second's work."""
FARMED_SHARE = 0.15
"""Of a victory's pay, from which on farming counts. Runs that learn well stay below .05."""
USELESS_SHARE = 0.1
"""Of cats' ticks in play, from which on useless shots count. Runs that learn well reach .04."""
USELESS_RISE = 1.5
"""And by how much that share must have risen: who acts at random shoots for nothing as well."""
RISEN_SHARE = 0.1
"""Of a victory's pay, by how much the return must have risen since the first evaluation."""
RISEN = 0.1
"""Rise of the held-out win rate, later half of training against the half before, that counts as
learning: a run is stuck if its rise is likely smaller."""
LIKELY = 1.2816
"""Normal quantile of a one-sided 90 %: how sure it must be that the win rate rises by less."""
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
    """Name of the evaluation's replay that shows it; empty if no replays are kept."""
    env_steps: int = 0
    """Of the evaluation."""

    @property
    def sentence(self) -> str:
        """For the run's note and the terminal; `shown_in` reads the replay back out of it."""
        see = f"; see {self.replay} at {self.env_steps:,} env steps" if self.replay else ""
        if self.term == "wasted_shot":
            return (
                f"cats shoot for nothing, {self.amount:.0f} times a cat and episode, where "
                f"victories take {self.needed:.0f}: useless shots cost too little "
                f"(rewards.wasted_shot){see}"
            )
        return (
            f"the return rises by {self.term}, {self.amount:.3g} a cat and episode where victories "
            f"take {self.needed:.3g}: the surplus pays {self.pay:.2f}, a victory "
            f"{self.victory_pay:.2f}, and held-out levels won stay at {self.win_rate:.0%} "
            f"(lower rewards.{self.term}){see}"
        )


def shown_in(verdict: str) -> tuple[str, int | None] | None:
    """The replay that a verdict names, and the env steps of its evaluation.

    Returns:
        Name and env steps, which are None where the verdict doesn't say; None if it names none.
    """
    found = re.search(r"; see ([\w-]+)(?: at ([\d,]+) env steps)?$", verdict)
    if found is None:
        return None
    steps = found[2]
    return found[1], int(steps.replace(",", "")) if steps else None


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

    def __init__(
        self, config: PicoParkConfig, rewards: PicoParkRewards, *, has_replays: bool = True
    ) -> None:
        """Starts with nothing against the run; the reference is played at the first evaluation.

        Args:
            config: of the game.
            rewards: what the run is paid.
            has_replays: whether evaluations keep replays that a finding can name.
        """
        self.config = config
        self.rewards = rewards
        self.has_replays = has_replays
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
        amounts = _amounts(games, np.ones(len(games.records), np.bool_))
        pay = sum(self.rewards.by_term()[name] * amount for name, amount in amounts.items())
        useless = amounts["wasted_shot"] + amounts["foreign_block"]
        ticks = float(games.records["active_ticks"].mean()) / self.config.num_agents
        now = {
            "env_steps": env_steps,
            "win_rate": float(games.wins.mean()),
            "levels": len(games.wins),
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
        risen = now["return"] - self._seen[0]["return"]
        has_risen = risen > max(0.0, RISEN_SHARE * victory_pay)
        is_stuck = now["win_rate"] < WON and _is_stuck([*self._seen, now])
        if not (farmed[term] > 0 and is_farmed and has_risen and is_stuck):
            if now["useless"] <= max(USELESS_SHARE, USELESS_RISE * self._seen[0]["useless"]):
                return None
            term = "wasted_shot"
            amounts = {**amounts, term: amounts["wasted_shot"] + amounts["foreign_block"]}
            surplus = _surplus(games, ("wasted_shot", "foreign_block"), self._reference.amounts)
        else:
            sign = math.copysign(1.0, self.rewards.by_term()[term])
            surplus = sign * _surplus(games, (term,), self._reference.amounts)
        return Finding(
            term=term,
            amount=amounts[term],
            needed=self._reference.amounts[term],
            pay=farmed[term],
            victory_pay=victory_pay,
            win_rate=now["win_rate"],
            replay=_earning(games, surplus) if self.has_replays else "",
            env_steps=int(now["env_steps"]),
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


def _is_stuck(seen: Sequence[Mapping[str, float]]) -> bool:
    """Whether the held-out win rate likely rises by less than `RISEN`, from the evaluations up to
    half of the newest one's env steps to those after it.

    Few games can't tell a run that is stuck from one that learns steadily, so both halves are
    pooled, and what is unsure counts for the run. The spread is that of Agresti and Caffo 2000,
    which has width where all games are lost.
    """
    half = seen[-1]["env_steps"] / 2
    early = [one for one in seen if one["env_steps"] <= half] or seen[:1]
    late = seen[len(early) :]
    rates, spread = [], 0.0
    for part in (early, late):
        # Reports of before this was kept weigh as much as the newest evaluation.
        games = [one.get("levels", seen[-1]["levels"]) for one in part]
        wins = sum(one["win_rate"] * num for one, num in zip(part, games, strict=True))
        rate, num = (wins + 1) / (sum(games) + 2), sum(games) + 2
        rates.append(rate)
        spread += rate * (1 - rate) / num
    return rates[1] - rates[0] + LIKELY * math.sqrt(spread) < RISEN


def _surplus(
    games: Games, terms: Sequence[str], reference: Mapping[str, float]
) -> NDArray[np.float64]:
    """Amount of these terms beyond what victories take, a cat, in each game."""
    columns = [games.term_names.index(one) for one in terms]
    amounts = games.records["terms"][:, :, columns].sum(axis=2).mean(axis=1)
    found: NDArray[np.float64] = amounts - sum(reference[one] for one in terms)
    return found


def _earning(games: Games, surplus: NDArray[np.float64]) -> str:
    """The replay of the ending whose games earn most of a surplus together, as
    `experiments.replays.choose` names it: of lost games, if any of them earn one."""
    causes = games.records["cause"]
    earned = np.bincount(causes, surplus, minlength=len(games.cause_names))
    lost = np.bincount(causes[~games.wins], minlength=len(games.cause_names)) > 0
    ranked = sorted(np.unique(causes), key=lambda one: (lost[one] and earned[one] > 0, earned[one]))
    return f"{games.cause_names[int(ranked[-1])]}-typical"
