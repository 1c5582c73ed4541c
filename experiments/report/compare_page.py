"""The page of `clowder compare`: two runs side by side."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from experiments.report.canvas import Drawing
from experiments.report.comparing import LETTERS, Comparison, Level
from experiments.report.markup import (
    Markup,
    Part,
    between,
    endings,
    field_name,
    figure,
    join,
    legend,
    percent,
    section,
    strip,
    table,
    tag,
    watch,
)
from experiments.report.page import assemble, fill
from experiments.report.variants import CAUSES, said
from experiments.report.watching import Shelf

MAX_LEVELS = 40
"""Levels that are listed; of the others only the numbers are."""
ROWS = (
    ("eval/exits", "cats that got out", "{:.2f}"),
    ("eval/episode_length", "ticks", "{:.0f}"),
    ("behaviour/key_rate", "takes the key", "{:.0%}"),
    ("behaviour/unlock_rate", "opens the door", "{:.0%}"),
    ("behaviour/own_blocks", "own blocks", "{:.1f}"),
    ("behaviour/shots", "shots", "{:.1f}"),
    ("behaviour/wasted_shots", "wasted shots", "{:.1f}"),
    ("behaviour/friendly_kills", "friendly kills", "{:.2f}"),
    ("behaviour/idle_share", "idle", "{:.0%}"),
    ("behaviour/action_entropy", "entropy of actions, nats", "{:.2f}"),
)
"""What is set side by side of an episode: metric, words, form."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """What the page shows beside the comparison itself."""

    curves: Drawing | None
    shelf: Shelf
    games: dict[Path, int]
    """Index on the shelf of each replay."""


def compare_page(found: Comparison, drawn: Side) -> str:
    """The page as text."""
    parts = {
        "levels": ("levels apart", _levels(found, drawn)),
        "behaviour": ("what they do", _behaviour(found)),
        "money": ("return", _money(found)),
        "settings": ("settings", _settings(found)),
        "curves": ("while training", _curves(drawn)),
        "rest": ("do it again", _rest(found)),
    }
    body = assemble(_head(found), {key: one for key, one in parts.items() if one[1]})
    title = " and ".join(one.name for one in found.runs)
    return fill(title, body, drawn.shelf.games, {})


def _head(found: Comparison) -> Markup:
    rows: list[list[Part]] = []
    for letter, one in zip(LETTERS, found.runs, strict=True):
        games = one.episodes
        rows.append(
            [
                join(tag("b", letter), f" {one.name}"),
                strip(one.win_rate),
                percent(one.win_rate.value),
                between(one.win_rate),
                f"{len(games.games.wins):,}",
                f"{games.config.num_agents} cats on {games.config.preset}",
                f"{games.env_steps:,}",
            ]
        )
    heads = ["run", "win rate", "", "95 %", "levels", "game", "env steps"]
    notes = ["One run each: the intervals are of held-out levels, and say nothing of other seeds."]
    most = max(len(one.episodes.games.wins) for one in found.runs)
    if found.difference is not None and found.num_common < most:
        notes.append(f"The difference is of the {found.num_common:,} levels that both played.")
    counts = found.counts
    split = (
        f"Of {found.num_common:,} levels both win {counts['both']:,}, only A {counts['first']:,}, "
        f"only B {counts['second']:,}, neither {counts['neither']:,}."
    )
    return join(
        tag("h1", " and ".join(one.name for one in found.runs)),
        tag("p", found.verdict, class_="lead"),
        table(heads, rows, texts=(0, 1)),
        tag("p", split, class_="note") if found.num_common else None,
        tag("div", [tag("p", one) for one in notes], class_="warnings"),
    )


def _levels(found: Comparison, drawn: Side) -> Markup | None:
    """Levels that one wins and the other loses."""
    if not found.levels:
        return None
    shown, rest = found.levels[:MAX_LEVELS], found.levels[MAX_LEVELS:]
    rows = [[str(one.seed), *_endings(one, drawn)] for one in shown]
    heads = ["level", "A", "", "B", ""]
    more = ", ".join(str(one.seed) for one in rest)
    return section(
        "levels",
        "Levels that one wins and the other loses",
        table(heads, rows, texts=(0, 1, 2, 3, 4), is_small=True),
        tag("p", f"And the levels {more}.", class_="note") if rest else None,
        note="Held-out levels. A run keeps a few typical games; any level is played anew by "
        "clowder watch RUN --level LEVEL.",
    )


def _endings(level: Level, drawn: Side) -> list[Part]:
    titles = [one.title for one in drawn.shelf.games]
    cells: list[Part] = []
    for ending, length, path in zip(level.endings, level.lengths, level.replays, strict=True):
        words = tag("span", said(ending), class_="wins" if ending == "victory" else "loses")
        game = watch(drawn.games.get(path) if path else None, titles)
        cells += [join(words, f", {length} ticks"), game]
    return cells


def _behaviour(found: Comparison) -> Markup:
    metrics = [one.metrics for one in found.runs]
    ends: list[list[Part]] = [
        [letter, endings({cause: of[key] for cause, key in CAUSES.items()})]
        for letter, of in zip(LETTERS, metrics, strict=True)
    ]
    rows = []
    for key, words, form in ROWS:
        first, second = (of[key] for of in metrics)
        rows.append([words, form.format(first), form.format(second), f"{first - second:+z.2f}"])
    return section(
        "behaviour",
        "What they do",
        legend(),
        table(["run", "how games end"], ends, texts=(0, 1), is_small=True),
        table(["an episode", *LETTERS, "A - B"], rows, is_small=True),
        note="Held-out games, whatever they pay.",
    )


def _money(found: Comparison) -> Markup:
    rows: list[list[Part]] = []
    for term, (first, second, *paid) in found.ledgers().items():
        numbers = [f"{first:.2f}", f"{second:.2f}", *(f"{one:z.3f}" for one in paid)]
        rows.append([term, *numbers])
    returns = found.returns()
    rows.append([tag("b", "return"), "", "", *(tag("b", f"{returns[i][i]:z.3f}") for i in (0, 1))])
    crossed: list[list[Part]] = [
        [f"games of {letter}", *(f"{one:z.3f}" for one in row)]
        for letter, row in zip(LETTERS, returns, strict=True)
    ]
    return section(
        "money",
        "Where the return comes from",
        table(
            ["term", "events of A", "events of B", "paid to A", "paid to B"], rows, is_small=True
        ),
        tag("h3", "Under each other's weights"),
        table(["mean return", "weights of A", "weights of B"], crossed, is_small=True),
        note="A cat and episode; each run is paid by its own weights. Weights never change a game, "
        "so the games of one can be paid by those of the other.",
    )


def _settings(found: Comparison) -> Markup:
    rows = [
        [field_name(name), *(tag("span", _told(one), class_="name") for one in pair)]
        for name, pair in found.changes.items()
    ]
    body = (
        table(["setting", *LETTERS], rows, texts=(0, 1, 2), is_small=True)
        if rows
        else tag("p", "None.")
    )
    return section("settings", "Settings that differ", body)


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _curves(drawn: Side) -> Markup | None:
    if drawn.curves is None:
        return None
    note = "Held-out win rate at every evaluation, with Wilson's 95 %."
    return section("curves", "While training", figure(drawn.curves), note=note)


def _rest(found: Comparison) -> Markup:
    folders = [shlex.quote(str(one.path.parent.parent.resolve())) for one in found.runs]
    lines = [f"clowder compare {' '.join(folders)}"]
    lines += [f"clowder rescore {one}" for one in folders]
    return section("rest", "Do it again", tag("pre", "\n".join(lines), class_="wraps"))
