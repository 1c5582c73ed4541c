"""The player: a replay as one self-contained HTML page.

    from env.player import write_page

    write_page(load(path), Path("game.html"))

The page needs no network, no other file, and no simulator: what it shows was played here once, and
lies in it as data. Beside the script that plays, each game has one that draws, `NAME.js`, and a
file `NAME.py` that makes its data.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env.files import in_one_piece
from env.film import DRAWINGS
from env.games import find_game
from env.player.packing import in_base64
from env.player.pico_park import pico_park
from env.player.pong import pong
from env.replay import Replay

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a game's page knows of it beside the rest."""

    data: Callable[[Replay], dict[str, Any]]
    """Plays a replay; what `NAME.js` draws from."""
    agent: str
    """What an agent is called."""
    stage: str
    """What they play on."""


DRAWN: Mapping[str, Drawn] = {
    "pico_park": Drawn(data=pico_park, agent="cat", stage="level"),
    "pong": Drawn(data=pong, agent="seat", stage="court"),
}
MAX_PAGE_BYTES = 300_000
"""Of a page of 500 ticks."""


def write_page(replay: Replay, path: Path, *, title: str = "") -> Path:
    """Writes the page in one piece, and returns its path."""
    with in_one_piece(path) as temporary:
        temporary.write_text(make_page(replay, title=title))
    return path


def make_page(replay: Replay, *, title: str = "") -> str:
    """The page as text.

    Args:
        replay: what it plays.
        title: above it; by default what was played and how it ended.

    Raises:
        BadInputError: the replay can't be played here.
    """
    title = title or headline(replay)
    data = page_data(replay) | {"title": title}
    payload = in_script(json.dumps(data, separators=(",", ":")))
    text = page_template(replay.game).replace("@DATA@", payload, 1)
    return text.replace("@TITLE@", html.escape(title), 1)


def in_script(text: str) -> str:
    """JSON as a page's script may hold it: no text in it can end the script."""
    return text.replace("<", "\\u003c")


def page_template(game: str) -> str:
    """A game's page without its title and its data, for pages that show several games.

    Where they belong it says `@DATA@` (JSON: `page_data` and `title`, with every `<` written as
    `\\u003c`) and, before that, `@TITLE@` (escaped): to be filled in this order, the first of each.
    """
    text = (FOLDER / "page.html").read_text()
    parts = {
        "AGENT": DRAWN[game].agent,
        "STAGE": DRAWN[game].stage,
        "STYLE": (FOLDER / "style.css").read_text(),
        "SCRIPT": (FOLDER / f"{game}.js").read_text() + (FOLDER / "player.js").read_text(),
    }
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def headline(replay: Replay) -> str:
    """What was played and how it ended, in a few words."""
    level = replay.level
    if level.map is not None:
        where = "a map by hand"
    else:
        preset = level.difficulty or replay.config.get("preset", replay.game)
        where = f"{preset}, {'held-out ' if level.held_out else ''}level {level.seed}"
    return f"{where}: {replay.ending}"


def page_data(replay: Replay) -> dict[str, Any]:
    """What the page is told, in plain data.

    Rewards are told as each tick's events, sparse, and their weights: the page adds them up.
    """
    game = find_game(replay.game)
    rules = game.rewards(**replay.rewards)
    weights = rules.by_term()
    data: dict[str, Any] = {
        "game": replay.game,
        "ticks": replay.num_ticks,
        "agents": replay.num_agents,
        "actionNames": list(game.simulator.action_names),
        "actions": ["".join(str(int(a)) for a in row) for row in replay.actions],
        "weights": weights,
        "teamShare": rules.team_share,
        "record": {key: one for key, one in replay.record.items() if key != "terms"},
        "source": dict(replay.source),
        "level": {
            "seed": None if replay.level.seed is None else str(replay.level.seed),
            "heldOut": replay.level.held_out,
        },
        "version": replay.version,
        "agentName": DRAWN[replay.game].agent,
        "ticksPerSecond": DRAWINGS[replay.game].ticks_per_second,
        **DRAWN[replay.game].data(replay),
    }
    if replay.probabilities is not None:
        data["probabilities"] = in_base64(np.rint(_finite(replay.probabilities) * 255), np.uint8)
    if replay.values is not None:
        values = _finite(replay.values)
        scale = max(1e-6, float(np.abs(values).max()))
        data["values"] = in_base64(np.rint(values / scale * 32767), np.int16)
        data["valueScale"] = scale
    return data


def _finite(array: NDArray[np.float16]) -> NDArray[np.float32]:
    """What a file claims may be no number."""
    return np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
