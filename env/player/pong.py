"""What the player's page knows of a game of Pong: where ball and paddles are, and the events."""

from __future__ import annotations

from typing import Any

import numpy as np

from env.drawing import COLOURS, MARKS
from env.film import played
from env.games import find_game
from env.player.packing import in_base64
from env.replay import Replay

STEPS_A_UNIT = 32
"""Places are told in this fraction of a unit."""
EVENTS = ("point_won", "hit")
"""Terms that are events on the timeline, beside replayed rallies."""


def pong(replay: Replay) -> dict[str, Any]:
    """Plays the replay.

    Returns:
        `places`, int16 (ticks + 1, 6) in base64: ball x and y and both paddles in `stepsAUnit`ths
        of a unit, both scores; `lengths` of the paddles; `terms` as (tick, seat, term, count), of
        terms that are paid for; `events` as (tick, seat, what), a replayed rally at the left seat.
    """
    config = find_game(replay.game).config(**replay.config).to_native()
    places: list[tuple[float, ...]] = []
    terms: list[tuple[int, int, int, int]] = []
    events: list[tuple[int, int, str]] = []
    for tick, (sim, frame) in enumerate(played(replay)):
        paddles = [STEPS_A_UNIT * one for one in frame.paddle_y]
        places.append((STEPS_A_UNIT * frame.x, STEPS_A_UNIT * frame.y, *paddles, *frame.score))
        names, weights = sim.term_names, sim.reward_weights.by_term()
        if tick == 0:
            continue
        happened = set()
        for seat, term in np.argwhere(sim.terms[0]).tolist():
            name = names[term]
            happened.add(name)
            if weights[name]:
                terms.append((tick, seat, term, int(sim.terms[0, seat, term])))
            if name in EVENTS:
                events.append((tick, seat, name))
        if frame.rally_tick == 0 and "point_won" not in happened:
            events.append((tick, 0, "replayed"))
    return {
        "colours": list(COLOURS),
        "marks": list(MARKS),
        "stepsAUnit": STEPS_A_UNIT,
        "lengths": [config.paddle_length[0], config.paddle_length[1]],
        "seesOpponent": [bool(config.sees_opponent[seat]) for seat in (0, 1)],
        "places": in_base64(np.rint(np.array(places)), np.int16),
        "termNames": list(names),
        "terms": terms,
        "events": events,
    }
