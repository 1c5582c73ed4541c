"""`clowder watch RUN|REPLAY`, a game in the player or the terminal; `clowder replay verify`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.text import Text

from env.drawing import COLOURS
from env.errors import BadInputError, unknown_name
from env.pico_park import WALL_TILE, Frame
from env.replay import SUFFIX, Replay, load, verify
from experiments.overrides import split_run

USAGE = """usage: clowder watch RUN|REPLAY [--OPTION VALUE ...]

RUN is whatever `clowder evaluate` takes, REPLAY a file that ends in .replay.
`clowder watch RUN --help` explains the options."""


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Shows a game: a replay, or a level that a trained team plays for it."""

    level: int = 0
    """Held-out level that the team plays."""
    preset: str = ""
    """Difficulty of the level; by default the one that the team was trained on."""
    seed: int = 0
    """Of the sampled actions."""
    greedy: bool = False
    """Whether it plays the likeliest actions."""
    show: Literal["browser", "terminal", "file"] = "browser"
    """`browser` opens the player, `terminal` plays it right here, `file` only writes the page."""
    out: str = ""
    """Folder for the replay and its page; by default a temporary one."""
    speed: float = 10.0
    """Ticks a second in the terminal."""
    tracking_uri: str = ""
    """MLflow store that knows the run; empty: MLFLOW_TRACKING_URI, or `mlflow.db` here."""


def run_watch(words: list[str]) -> int:
    """The verb; returns the exit status."""
    run, options = split_run(words, WatchOptions(), usage=USAGE, prog="clowder watch RUN|REPLAY")
    replay = find_replay(run, options)
    if options.show == "terminal":
        play_in_terminal(replay, options.speed)
        return 0
    from env.player import headline, write_page

    folder = Path(options.out) if options.out else Path(tempfile.mkdtemp(prefix="clowder-"))
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(run).stem if run.endswith(SUFFIX) else f"level-{options.level}"
    replay.save(folder / f"{name}{SUFFIX}")
    page = write_page(replay, folder / f"{name}.html").resolve()
    print(f"{headline(replay)}, {replay.num_ticks} ticks\n{page}")
    if options.show == "browser":
        import webbrowser

        if not webbrowser.open(page.as_uri()):
            print("no browser was found here; open that file in one.")
    return 0


def find_replay(name: str, options: WatchOptions) -> Replay:
    """A replay file, or a level played now."""
    if not name.endswith(SUFFIX):
        return play_level(name, options)
    replay = load(Path(name))
    if (found := verify(replay)) is not None:
        print(f"clowder: {name} doesn't play as it was recorded: {found.reason}", file=sys.stderr)
    return replay


def play_level(run: str, options: WatchOptions) -> Replay:
    """One held-out level, played by a trained team, `random` or `scripted`."""
    from experiments.evaluate import play_levels
    from experiments.replays import make_replays
    from experiments.teams import find_team

    if options.level < 0:
        raise BadInputError(f"level is {options.level}; it must be at least 0.")
    team = find_team(run, options.tracking_uri)
    source = {"run": run}
    if team.policy is not None:
        source["play"] = "greedy" if options.greedy else "sampled"
        source["env steps"] = f"{team.policy.env_steps:,}"
    config = team.config.at(options.preset or team.config.preset)
    actor = team.make_actor(seed=options.seed, greedy=options.greedy)
    games = play_levels(actor, config, [options.level], keep_tracks=True)
    made = make_replays(games, {"game": 0}, config, team.rewards, [options.level], source=source)
    return made["game"]


# -- in the terminal


def play_in_terminal(replay: Replay, speed: float) -> None:
    """Plays a game in the terminal; where that is no screen, its start and its end."""
    from env.film import played

    console = Console()
    shown = [
        # Of a game without colours, as the simulator writes it.
        picture(frame)
        if isinstance(frame, Frame)
        else Text(sim.text(0, ended=tick == replay.num_ticks), no_wrap=True)
        for tick, (sim, frame) in enumerate(played(replay))
    ]
    if not console.is_terminal:
        for tick in (0, replay.num_ticks):
            console.print(shown[tick], f"\ntick {tick}\n", sep="")
        console.print(f"{replay.ending} after {replay.num_ticks} ticks")
        return
    with Live(console=console, auto_refresh=False) as live:
        for tick, text in enumerate(shown):
            live.update(text.append(f"\ntick {tick} of {replay.num_ticks}"), refresh=True)
            time.sleep(1 / max(0.1, speed))
    console.print(f"{replay.ending} after {replay.num_ticks} ticks")


def picture(frame: Frame) -> Text:
    """A frame in coloured characters: cats are digits, blocks letters of their colour."""
    cells: list[list[tuple[str, str]]] = [
        [_tile(int(tile), column < frame.left) for column, tile in enumerate(row)]
        for row in frame.tiles
    ]
    if frame.key is not None:
        cells[frame.key[0]][frame.key[1]] = ("K", "bold #d9a514")
    cells[frame.door[0]][frame.door[1]] = ("O" if frame.door_is_open else "D", "bold")
    for row, column, owner in frame.bullets:
        cells[row][column] = ("-", f"bold {COLOURS[owner]}")
    for seat, cat in enumerate(frame.cats):
        if cat.status == "playing":
            mark = " bold underline" if cat.holds_key else " bold"
            cells[cat.row][cat.column] = (str(seat), f"reverse{mark} {COLOURS[seat]}")
        elif cat.status == "dead":
            cells[cat.row][cat.column] = ("x", f"bold {COLOURS[seat]}")
    text = Text(no_wrap=True)
    for index, line in enumerate(cells):
        if index:
            text.append("\n")
        for character, style in line:
            text.append(character, style)
    return text


def _tile(tile: int, is_gone: bool) -> tuple[str, str]:
    if tile == 0:
        return ("." if not is_gone else " "), "dim"
    if tile == WALL_TILE:
        return "#", "dim" if is_gone else ""
    return "abcdefgh"[tile - 1], "dim" if is_gone else COLOURS[tile - 1]


# -- replays


def run_replay(words: list[str]) -> int:
    """The verb `replay verify FILE ...`; returns the exit status."""
    verbs: dict[str, Callable[[list[str]], int]] = {"verify": _verify}
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: clowder replay verify FILE ...\n\n"
            "Plays replays again and names the first tick that comes out differently, if one does."
        )
        return 0 if words else 2
    if words[0] not in verbs:
        raise unknown_name("verb of replay", words[0], verbs)
    return verbs[words[0]](words[1:])


def _verify(names: list[str]) -> int:
    if not names:
        raise BadInputError("clowder replay verify lacks a FILE; name one or more replays.")
    wrong = 0
    for name in names:
        try:
            replay = load(Path(name))
            found = verify(replay)
        except BadInputError as error:
            if len(names) == 1:
                raise
            print(f"{name}: {error}")
            wrong += 1
            continue
        if found is None:
            print(f"{name}: exact, {replay.num_ticks} ticks, {replay.record['cause']}")
        else:
            print(f"{name}: diverges: {found.reason}")
            wrong += 1
    return 1 if wrong else 0
