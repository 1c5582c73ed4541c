"""Which kept games a report shows: few enough to lie in its page, chosen where they tell most.

Sections ask for a game by what it is to show, with the trials that could; an ask of low rank is
answered by a game that is there already, if one of these trials played it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.errors import BadInputError
from env.player import headline, page_data
from env.replay import SUFFIX, load
from experiments.report.overview import Overview
from experiments.report.tables import MAX_CAUSE_ROWS, BinRow, Effect, FieldTable, spread
from experiments.report.variants import (
    CAUSES,
    Variant,
    by_typicality,
    label_of,
    main_failure,
    verdict_of,
)
from experiments.reward_watch import shown_in
from experiments.study import TrialResult

MAX_GAMES = 24
"""In one page."""
NUM_SPREAD = 5
"""Variants, from the best to the worst, whose games are wanted before those of all others."""
NUM_TRIED = 8
"""Trials of which an ask takes the second best before it is given up."""
VICTORY = "victory"
REPLAYS = (*(f"{one}-typical" for one in CAUSES), f"{VICTORY}-shortest", "worst")
"""Names that `experiments.replays.choose` gives."""


@dataclass(frozen=True)
class Ask:
    """A game that is wanted."""

    key: tuple[Any, ...]
    """Where it is shown."""
    trials: tuple[TrialResult, ...]
    """Who may have played it."""
    replay: str
    """Its name, as `experiments.replays.choose` gives it."""
    rank: int
    """Asks of rank 0 come first; from `FRUGAL` on a game that is there already will do."""
    env_steps: int | None = None
    """Of the evaluation that played it; None: a trial's last one."""


FRUGAL = 2


@dataclass(frozen=True)
class Game:
    """A game in the page."""

    title: str
    """Who plays, and how it ends."""
    path: Path
    """Of the replay."""
    folder: Path
    """Of the trial that played it."""
    packed: str
    """What the player's page is told: JSON, packed by zlib, in base64."""


class Shelf:
    """The games of a page."""

    def __init__(self, max_games: int = MAX_GAMES) -> None:
        self.max_games = max_games
        self.games: list[Game] = []
        self._found: dict[tuple[Any, ...], int] = {}
        self._by_replay: dict[tuple[str, str, int | None], int | None] = {}

    def answer(self, asks: Sequence[Ask]) -> None:
        """Finds a game for every ask, as far as there is room, the most important first."""
        for ask in sorted(asks, key=lambda one: one.rank):
            if ask.trials and ask.key not in self._found:
                index = self._find(ask)
                if index is not None:
                    self._found[ask.key] = index

    def at(self, *key: Any) -> int | None:
        """Index of the game that is shown there."""
        return self._found.get(key)

    def add(self, path: Path, folder: Path, title: str) -> int | None:
        """Puts a replay on the shelf; None if there is no room, or it can't be played here."""
        if len(self.games) >= self.max_games:
            return None
        try:
            replay = load(path)
            data = page_data(replay)
        except BadInputError:
            return None
        title = f"{title} · {headline(replay)}"
        text = json.dumps(data | {"title": title}, separators=(",", ":"))
        self.games.append(Game(title=title, path=path, folder=folder, packed=pack(text)))
        return len(self.games) - 1

    def _find(self, ask: Ask) -> int | None:
        trials = by_typicality(ask.trials)
        if ask.rank >= FRUGAL:
            for trial in trials:
                index = self._by_replay.get((str(trial.folder), ask.replay, ask.env_steps))
                if index is not None:
                    return index
        for trial in trials[:NUM_TRIED]:
            key = (str(trial.folder), ask.replay, ask.env_steps)
            if key not in self._by_replay and len(self.games) < self.max_games:
                folder = trial.kept("replays", ask.env_steps)
                path = folder / f"{ask.replay}{SUFFIX}" if folder else None
                is_there = path is not None and path.is_file()
                self._by_replay[key] = (
                    self.add(path, trial.folder, label_of(trial)) if path and is_there else None
                )
            index = self._by_replay.get(key)
            if index is not None:
                return index
        return None


def pack(text: str) -> str:
    """A text as pages hold it: packed by zlib, in base64."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


# -- what sections ask for


def asks_of(
    overview: Overview, fields: Sequence[FieldTable], effects: Sequence[Effect]
) -> Iterator[Ask]:
    """What a report wants to show, by the keys under which its sections look it up."""
    for place, field in enumerate(fields):
        worst = field.worst
        yield Ask(("wrong", field.name), worst.trials, _failing(worst), 0 if place < 2 else 2)
        yield Ask(("right", field.name), field.best.trials, f"{field.best.ending}-typical", 2)
        for i, one in enumerate(field.bins):
            yield Ask(
                ("bin", field.name, i), one.trials, f"{one.ending}-typical", 1 if place < 2 else 2
            )
            if one.ending == VICTORY:
                yield Ask(("failure in bin", field.name, i), one.trials, _failing(one), 3)
    for trial in overview.hacked[:3]:
        shown = shown_in(verdict_of(trial))
        if shown is not None and shown[0] in REPLAYS:
            yield Ask(("hacked", str(trial.folder)), (trial,), shown[0], 1, shown[1])
    for effect in effects:
        yield from _of_variant(effect.variant, 2)
    ranked = [*overview.variants[:1], *overview.variants[-1:]]
    if overview.base is not None:
        ranked.append(overview.base)
    for variant in ranked:
        yield from _of_variant(variant, 1)
    for variant in spread(spread(overview.variants, MAX_CAUSE_ROWS), NUM_SPREAD):
        yield from _of_variant(variant, 2)
    for variant in overview.variants:
        yield from _of_variant(variant, 4)


def _of_variant(variant: Variant, rank: int) -> Iterator[Ask]:
    """Its typical failure and its typical victory."""
    if variant.failure:
        yield Ask(("failure", variant.name), variant.trials, f"{variant.failure}-typical", rank)
    yield Ask(("victory", variant.name), variant.trials, f"{VICTORY}-typical", rank)


def _failing(row: BinRow) -> str:
    """The replay that shows how most of its lost games end."""
    return f"{main_failure(row.causes)[0]}-typical"
