"""What the player's page knows of a game of Pico Park: every frame, as changes, and the events."""

from __future__ import annotations

from typing import Any

import numpy as np

from env.drawing import COLOURS, MARKS
from env.film import played
from env.pico_park import Frame, PicoPark, PicoParkRewards
from env.replay import Replay

EVENTS = ("key", "unlock", "exit", "crushed", "shot", "friendly_kill")
"""Terms that are events on the timeline, beside shots."""
_STATUS = {"playing": 0, "out": 1, "dead": 2}
_SHOOT = PicoPark.action_names.index("shoot")


def pico_park(replay: Replay) -> dict[str, Any]:
    """Plays the replay.

    Returns:
        `tiles` of the start, a digit a tile, a string a row; `frames`, one a tick and the start
        (`l`eft, `c`ats as row, column, status, cooldown, `b`ullets as row, column, owner, `k`ey,
        its `h`older, door `o`pen, tiles that changed as row, column, tile: `x`), each entry only
        where it differs from the frame before; `terms` as (tick, cat, term, count); `events` as
        (tick, cat, what).
    """
    terms: list[tuple[int, int, int, int]] = []
    events: list[tuple[int, int, str]] = []
    names = PicoParkRewards.terms()
    game = played(replay)
    _, start = next(game)
    before, frames = start, [_entries(start)]
    for tick, (sim, frame) in enumerate(game, 1):
        frames.append(_changes(before, frame))
        for cat, term in np.argwhere(sim.terms[0]).tolist():
            terms.append((tick, cat, term, int(sim.terms[0, cat, term])))
            if (name := names[term]) in EVENTS:
                events.append((tick, cat, name))
        for cat, (was, action) in enumerate(
            zip(before.cats, replay.actions[tick - 1], strict=True)
        ):
            may = was.status == "playing" and was.cooldown == 0
            if action == _SHOOT and may and frame.cats[cat].cooldown > 0:
                events.append((tick, cat, "shoot"))
        before = frame
    return {
        "colours": list(COLOURS),
        "marks": list(MARKS),
        "height": int(start.tiles.shape[0]),
        "length": int(start.tiles.shape[1]),
        "screenWidth": int(replay.config["screen_width"]),
        "door": list(start.door),
        "tiles": ["".join(map(str, row)) for row in start.tiles.tolist()],
        "frames": frames,
        "termNames": list(names),
        "terms": terms,
        "events": events,
    }


def _entries(frame: Frame) -> dict[str, Any]:
    """A frame without its tiles, in plain data."""
    holders = [seat for seat, cat in enumerate(frame.cats) if cat.holds_key]
    return {
        "l": frame.left,
        "c": [[cat.row, cat.column, _STATUS[cat.status], cat.cooldown] for cat in frame.cats],
        "b": [list(bullet) for bullet in frame.bullets],
        "k": list(frame.key) if frame.key else None,
        "h": holders[0] if holders else None,
        "o": int(frame.door_is_open),
    }


def _changes(before: Frame, after: Frame) -> dict[str, Any]:
    """What a frame changes about the one before."""
    old, new = _entries(before), _entries(after)
    found = {key: value for key, value in new.items() if old[key] != value}
    changed = np.argwhere(before.tiles != after.tiles).tolist()
    if changed:
        found["x"] = [[row, column, int(after.tiles[row, column])] for row, column in changed]
    return found
