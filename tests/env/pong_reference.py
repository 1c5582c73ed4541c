"""Pong in plain Python: slow, short on cleverness, written from the rule book alone.

Tests give a state of the simulator in C and the two actions to this module and demand the same
next state, within a tolerance (the order of float32 operations is the simulator's choice), and
the same events. Where rounding may decide what happens, `close_call` says so. Phrases in double
quotes in the comments are the rule book's words.

Seat 0 is the left one, seat 1 the right one. A paddle's y is that of its middle.

Where the rule book is silent
-----------------------------
Contact
 1. A paddle is a solid box without a back: the ball touches its face, its two ends (the flat
    sides between face and back) and the two corners of its face, round ones to the ball's
    middle. A ball that has passed the face can still touch an end, until its middle has passed
    the back: then it has left the paddle, and the corners at the back turn nothing.
 2. A ball "is leaving a paddle" when it flies towards the other seat, or when its middle is
    behind the paddle's back, or when it moves away from the surface it touches (velocity times
    normal not negative; a ball that grazes is not touched). A leaving ball doesn't feel that
    paddle at all: it may overlap an end, between that and a wall. A ball with vx = 0 comes at
    no paddle.
 3. A paddle's own move may run into the ball. That is a contact at the start of the ball's
    flight, with the point of the paddle nearest to the ball's middle (with the end it is nearer
    to, if the middle is inside the paddle). The ball is turned if it comes at that surface; it
    is never pushed, so it may overlap the paddle for a while. The ball doesn't stop a paddle.
 4. "No double flip in one tick": a paddle that has touched the ball doesn't feel it for the
    rest of that tick (end, wall, same end again: flies into the end, turned in the next tick).
 5. Contact in the very moment in which a tick ends belongs to that tick.
 6. A wall and a paddle at the same moment: first the wall.
After a contact
 7. "Reflect like mirrors", "nobody can aim": a face turns vx, an end turns vy only (the ball
    flies on outwards); a corner is one with the face, since the angles that a circle gives would
    be a way to aim, and steep ones would leave behind a paddle that keeps level.
 8. With `aim`, every contact is a hit like any other: `(1, 1.7 * offset)` towards the other seat,
    from the ends and corners too, so a ball that has passed the face can still be saved.
    The old direction doesn't matter.
 9. The offset is that of the point of the paddle that is touched, over half the paddle's length:
    ends and corners give 1 and -1 (not the ball's middle over half a paddle plus a radius).
10. Every contact with a paddle, at an end too, is a hit: it counts as touched, gains speed.
11. "Gains 5 % a hit" compounds: 1.05 times the present speed, up to `max_gain` times the speed
    of the serve. A hit never slows a ball that a test has made faster than that.
12. The rest of the tick's time (not of its path) is flown with the new velocity, after a paddle
    as after a wall.
Points
13. "Passes |x| = 400" is |x| > 400 at the end of a tick, which is flown to its end, walls
    included; exactly 400 has not passed.
14. "The scorer's paddle touched the ball in this rally" at any time in it, not as the last one.
    A ball that only its own side touched (at an end, say) is replayed like an untouched one.
15. A replayed rally starts with a new serve like that after a point: new heights, new spot, new
    side, ball at serve speed. `rally_ticks` starts again at 0, the episode's ticks go on.
16. A point in a rally's last tick is a point; the rally is replayed after its tick number
    `rally_limit`. The game won in tick `max_ticks` is won, not truncated; a point in that tick
    counts. After the end of a game there is no serve.
17. The new serve stands at the end of the tick in which the point was made, and the ball first
    moves in the next tick.
18. `duel` serves at 10 a tick, as `classic` does.
Serve
19. "Towards a spot on a face" is the direction from the centre to a point on it. Whether ball or
    middle is to arrive there is left open: `check_serve` takes a line that meets the face's
    height anywhere from a radius before the face to the face. There may be a wall in between
    (spots within a radius of the court's edge, when the paddle stands flush with it).
Other
20. A step after the end, or with a serve outstanding, is an error, as are other actions.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

STAY, UP, DOWN = range(3)
DIRECTIONS = {STAY: 0, UP: 1, DOWN: -1}
SIDES = (-1, 1)
"""Per seat, the sign of x on its side of the court."""

Number = Fraction | float
Arithmetic = Literal["exact", "float32"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a game needs to know. The defaults are `duel`."""

    court_width: float = 800.0
    """Units; a ball whose middle passes half of it, left or right, is out."""
    court_height: float = 400.0
    """Units; the walls are at half of it, up and down."""
    face_x: float = 370.0
    """How far a paddle's face is from the centre, units."""
    paddle_thickness: float = 10.0
    """From face to back, units."""
    paddle_length: float = 70.0
    """From end to end, units."""
    paddle_speeds: tuple[float, float] = (6.0, 6.0)
    """Per seat, units a tick."""
    ball_radius: float = 10.0
    """Units."""
    ball_speed: float = 10.0
    """Speed of a serve, units a tick."""
    speed_gain: float = 0.05
    """Share of its speed that the ball gains with a hit; 0: none."""
    max_gain: float = 2.5
    """The ball's largest speed, in speeds of a serve."""
    aim: bool = True
    """Whether the direction after a hit follows the contact point; else paddles are mirrors."""
    aim_slope: float = 1.7
    """With `aim`: vy over |vx| after a hit at a paddle's upper end."""
    points_to_win: int = 21
    """The score that ends the game."""
    rally_limit: int = 2000
    """Ticks after which a rally is replayed."""
    max_ticks: int = 20_000
    """Ticks after which the episode is truncated."""
    serve_to: int | None = None
    """Seat that is served to; None: either. (Only the simulator serves.)"""


DUEL = Settings()
CLASSIC = Settings(paddle_speeds=(8.0, 8.0), speed_gain=0.0, max_gain=1.0, aim=False)


@dataclass(kw_only=True)
class State:
    """All that changes. A test may set any of it, or put another one in its place."""

    paddle_y: tuple[float, float] = (0.0, 0.0)
    """Per seat, the paddle's middle."""
    x: float = 0.0
    """The ball's middle."""
    y: float = 0.0
    vx: float
    """The ball's velocity, units a tick."""
    vy: float
    scores: tuple[int, int] = (0, 0)
    touched: tuple[bool, bool] = (False, False)
    """Per seat, whether its paddle touched the ball in this rally."""
    rally_ticks: int = 0
    """Ticks since the serve."""
    ticks: int = 0
    """Ticks since the start of the episode."""
    serve_needed: bool = False
    """The rally is over: `ReferencePong.serve` before the next step."""
    ended: bool = False
    """The game is over or truncated."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A paddle touched the ball."""

    seat: int
    offset: float
    """Contact point along the paddle, -1 (lower end) to 1 (upper end)."""
    time: float
    """Part of the ball's flight in this tick, 0 to 1."""
    x: float
    """The ball's middle at that time."""
    y: float


@dataclass(frozen=True, kw_only=True)
class WallBounce:
    """The ball touched a wall."""

    wall: Literal["top", "bottom"]
    time: float
    """Part of the ball's flight in this tick, 0 to 1."""
    x: float
    """The ball's middle at that time."""
    y: float


@dataclass(frozen=True, kw_only=True)
class Events:
    """What one tick brought."""

    contacts: tuple[Hit | WallBounce, ...]
    """In the order in which they happened."""
    point: int | None
    """Seat that won a point."""
    replay: Literal["untouched", "rally_limit"] | None
    """Why the rally is replayed. `untouched`: the scorer never touched the ball."""
    serve_needed: bool
    """Whether the caller must set new paddles and a new ball."""
    game_over: bool
    """Whether a seat has `points_to_win`."""
    truncated: bool
    """Whether `max_ticks` ended the episode."""
    ahead: int | None
    """At the end, the seat with the higher score; None: a draw, or not the end."""

    @property
    def hits(self) -> tuple[Hit, ...]:
        return tuple(contact for contact in self.contacts if isinstance(contact, Hit))

    @property
    def bounces(self) -> tuple[WallBounce, ...]:
        return tuple(contact for contact in self.contacts if isinstance(contact, WallBounce))


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Where a straight flight first meets a wall (`seat` None) or a paddle."""

    time: Number
    """From the start of the flight, ticks."""
    seat: int | None = None
    normal: tuple[Number, Number] = (0, 0)
    """Away from the paddle, length 1: outwards (to the seat's side of the court), up."""
    offset: Number = 0


def clamp(value: Number, low: Number, high: Number) -> Number:
    return max(low, min(high, value))


def root(value: Number) -> Number:
    """The square root: of a fraction to 128 binary places, rounded down."""
    if isinstance(value, Fraction):
        return Fraction(math.isqrt(math.floor(value * 4**128)), 2**128)
    return math.sqrt(value)


class ReferencePong:
    """One game. `settings` and `state` are all there is to it.

    Args:
        settings: The rules.
        state: Where to start, usually a serve of the simulator's.
        arithmetic: `exact` computes a tick with fractions and keeps the state as Python floats.
            `float32` computes a tick with Python floats and keeps the state as numbers that
            a float32 holds, as the simulator must.
    """

    def __init__(self, settings: Settings, state: State, arithmetic: Arithmetic = "exact") -> None:
        if arithmetic not in ("exact", "float32"):
            raise ValueError(f"arithmetic is {arithmetic!r}; use 'exact' or 'float32'.")
        self.settings = settings
        self.state = state
        self.arithmetic = arithmetic

    def serve(self, *, paddle_y: tuple[float, float], vx: float, vy: float) -> None:
        """Start a rally from the centre, with what the simulator drew."""
        state = self.state
        state.paddle_y = paddle_y
        state.x, state.y, state.vx, state.vy = 0.0, 0.0, vx, vy
        state.touched = (False, False)
        state.rally_ticks = 0
        state.serve_needed = False

    def step(self, actions: Sequence[int]) -> Events:
        """Play one tick.

        Args:
            actions: Per seat, `STAY`, `UP` or `DOWN`.

        Raises:
            ValueError: No such actions, a serve is outstanding, or the game has ended.
        """
        if self.state.ended:
            raise ValueError("The game has ended; start a new one.")
        if self.state.serve_needed:
            raise ValueError("The rally is over; call serve() before the next step.")
        if len(actions) != 2 or any(action not in DIRECTIONS for action in actions):
            raise ValueError(f"The actions are {actions!r}; give two, each 0, 1 or 2.")
        self.state.ticks += 1
        self.state.rally_ticks += 1
        self._move_paddles(actions)  # "Paddles move first, then the ball."
        contacts = self._fly()
        return self._judge(contacts)

    # ---- Numbers --------------------------------------------------------------------------

    def _number(self, value: float) -> Number:
        return Fraction(value) if self.arithmetic == "exact" else float(value)

    def _stored(self, value: Number) -> float:
        if self.arithmetic == "exact":
            return float(value)
        return float(struct.unpack("f", struct.pack("f", value))[0])

    # ---- Paddles --------------------------------------------------------------------------

    def _move_paddles(self, actions: Sequence[int]) -> None:
        # "A paddle moves up to the court's edge and may stand flush with it."
        limit = (self.settings.court_height - self.settings.paddle_length) / 2
        moved = []
        for seat in (0, 1):
            step = DIRECTIONS[actions[seat]] * self._number(self.settings.paddle_speeds[seat])
            y = self._number(self.state.paddle_y[seat]) + step
            moved.append(self._stored(clamp(y, -limit, limit)))
        self.state.paddle_y = (moved[0], moved[1])

    # ---- The ball's flight ----------------------------------------------------------------

    def _fly(self) -> tuple[Hit | WallBounce, ...]:
        state = self.state
        x, y, vx, vy = (self._number(v) for v in (state.x, state.y, state.vx, state.vy))
        left = self._number(1)  # of the tick
        happened: list[Hit | WallBounce] = []
        may_touch = [0, 1]  # "no double flip in one tick"
        while True:
            found = [self._meet_wall(y, vy)]
            found += [self._meet_paddle(seat, x, y, vx, vy) for seat in may_touch]
            met = [contact for contact in found if contact is not None and contact.time <= left]
            if not met:
                break
            first = min(met, key=lambda contact: contact.time)
            x += vx * first.time
            y += vy * first.time
            left -= first.time
            when, where_x, where_y = float(1 - left), float(x), float(y)
            if first.seat is None:
                happened.append(
                    WallBounce(wall="top" if vy > 0 else "bottom", time=when, x=where_x, y=where_y)
                )
                vy = -vy  # "after a wall the rest of the path is reflected"
            else:
                happened.append(
                    Hit(
                        seat=first.seat,
                        offset=float(first.offset),
                        time=when,
                        x=where_x,
                        y=where_y,
                    )
                )
                vx, vy = self._turn(first.seat, first, vx, vy)
                may_touch.remove(first.seat)
                state.touched = (
                    state.touched[0] or first.seat == 0,
                    state.touched[1] or first.seat == 1,
                )
        x += vx * left
        y += vy * left
        state.x, state.y, state.vx, state.vy = (self._stored(v) for v in (x, y, vx, vy))
        return tuple(happened)

    def _meet_wall(self, y: Number, vy: Number) -> Contact | None:
        if vy == 0:
            return None
        wall = self._number(self.settings.court_height) / 2
        limit = wall - self._number(self.settings.ball_radius)
        way = limit - y if vy > 0 else limit + y
        return Contact(time=max(self._number(0), way / (vy if vy > 0 else -vy)))

    def _meet_paddle(
        self, seat: int, x: Number, y: Number, vx: Number, vy: Number
    ) -> Contact | None:
        """The first contact with a paddle that stands still, on a straight way without end."""
        # As this seat sees it: `out` grows towards its side of the court, `up` from its middle.
        out, v_out = SIDES[seat] * x, SIDES[seat] * vx
        up, v_up = y - self._number(self.state.paddle_y[seat]), vy
        face = self._number(self.settings.face_x)
        back = face + self._number(self.settings.paddle_thickness)
        half = self._number(self.settings.paddle_length) / 2
        radius = self._number(self.settings.ball_radius)

        # "a ball that is leaving a paddle is never turned back"
        if v_out <= 0 or out > back:
            return None

        normal: tuple[Number, Number]
        offset: Number
        time: Number

        # The paddle has run into the ball: contact at once, if the ball comes at it.
        near_out, near_up = clamp(out, face, back), clamp(up, -half, half)
        from_out, from_up = out - near_out, up - near_up
        square = from_out * from_out + from_up * from_up
        if square < radius * radius:
            if square == 0:  # the middle is inside
                end = 1 if up >= 0 else -1
                normal, offset = (0, end), end
            else:
                distance = root(square)
                normal = (from_out / distance, from_up / distance)
                offset = near_up / half
            if v_out * normal[0] + v_up * normal[1] >= 0:
                return None
            return Contact(time=self._number(0), seat=seat, normal=normal, offset=offset)

        # The ball's middle enters the box grown by a radius through a flat side or through one
        # of the circles around the corners, whichever is first.
        entries: list[tuple[Number, tuple[Number, Number]]] = []
        time = (face - radius - out) / v_out
        if time >= 0 and abs(up + v_up * time) <= half:
            entries.append((time, (-1, 0)))
        for end in (-1, 1):
            if v_up * end < 0:  # only a ball that comes at this end
                time = (end * (half + radius) - up) / v_up
                if time >= 0 and face <= out + v_out * time <= back:
                    entries.append((time, (0, end)))
            corner_out, corner_up = out - face, up - end * half
            a = v_out * v_out + v_up * v_up
            b = corner_out * v_out + corner_up * v_up
            c = corner_out * corner_out + corner_up * corner_up - radius * radius
            if b < 0 and b * b - a * c > 0:
                time = (-b - root(b * b - a * c)) / a
                normal = (
                    (corner_out + v_out * time) / radius,
                    (corner_up + v_up * time) / radius,
                )
                entries.append((time, normal))
        if not entries:
            return None
        time, normal = min(entries, key=lambda entry: entry[0])
        offset = clamp(up + v_up * time, -half, half) / half
        return Contact(time=time, seat=seat, normal=normal, offset=offset)

    def _turn(self, seat: int, contact: Contact, vx: Number, vy: Number) -> tuple[Number, Number]:
        """The velocity after a hit."""
        settings = self.settings
        v_out: Number = SIDES[seat] * vx
        v_up = vy
        old = root(v_out * v_out + v_up * v_up)
        # "the ball gains 5 % a hit up to 2.5 times"
        most = self._number(settings.ball_speed) * self._number(settings.max_gain)
        new = max(old, min(most, old * (1 + self._number(settings.speed_gain))))
        if settings.aim:
            # "the direction after a hit follows the contact point (`(1, 1.7 * offset)`
            # normalised, offset -1..1 along the paddle)"
            slope = self._number(settings.aim_slope) * contact.offset
            length = root(1 + slope * slope)
            v_out, v_up = -new / length, new * slope / length
        else:
            # "paddles reflect like mirrors"
            is_end = contact.normal[0] == 0
            v_out = (v_out if is_end else -v_out) * new / old
            v_up = (-v_up if is_end else v_up) * new / old
        return SIDES[seat] * v_out, v_up

    # ---- Points ---------------------------------------------------------------------------

    def _judge(self, contacts: tuple[Hit | WallBounce, ...]) -> Events:
        settings, state = self.settings, self.state
        point: int | None = None
        replay: Literal["untouched", "rally_limit"] | None = None
        # "A point ends when the ball's centre passes |x| = 400."
        if abs(state.x) > settings.court_width / 2:
            scorer = 0 if state.x > 0 else 1
            # "It counts only if the scorer's paddle touched the ball in this rally; otherwise
            # the rally is replayed."
            if state.touched[scorer]:
                point = scorer
                state.scores = (
                    state.scores[0] + (scorer == 0),
                    state.scores[1] + (scorer == 1),
                )
            else:
                replay = "untouched"
        # "A rally of `rally_limit` ticks (2000) is replayed"
        elif state.rally_ticks >= settings.rally_limit:
            replay = "rally_limit"
        # "Game to `points_to_win`"; "`max_ticks` (20,000) is a truncation"
        game_over = point is not None and state.scores[point] >= settings.points_to_win
        truncated = not game_over and state.ticks >= settings.max_ticks
        state.ended = game_over or truncated
        state.serve_needed = not state.ended and (point is not None or replay is not None)
        # "the higher score is ahead, a tie is a draw"
        ahead = None
        if state.ended and state.scores[0] != state.scores[1]:
            ahead = 0 if state.scores[0] > state.scores[1] else 1
        return Events(
            contacts=contacts,
            point=point,
            replay=replay,
            serve_needed=state.serve_needed,
            game_over=game_over,
            truncated=truncated,
            ahead=ahead,
        )


# ---- Checks that need no reference ----------------------------------------------------------


def check_serve(
    settings: Settings, state: State, serve_to: int | None = None, tolerance: float = 1e-3
) -> None:
    """Demand that a state is a legal serve.

    Args:
        settings: The rules (its `serve_to` is not looked at).
        state: The state right after the simulator served.
        serve_to: Seat that must be served to; None: either.
        tolerance: Of lengths, units.

    Raises:
        AssertionError: One sentence on what is wrong.
    """
    limit = (settings.court_height - settings.paddle_length) / 2
    for seat in (0, 1):
        y = state.paddle_y[seat]
        assert abs(y) <= limit + tolerance, (
            f"The paddle of seat {seat} stands at {y}; the court allows {-limit} to {limit}."
        )
    assert abs(state.x) <= tolerance and abs(state.y) <= tolerance, (
        f"The ball is served from ({state.x}, {state.y}); it must be the centre."
    )
    speed = math.hypot(state.vx, state.vy)
    assert abs(speed - settings.ball_speed) <= tolerance, (
        f"The ball is served at {speed} a tick; it must be {settings.ball_speed}."
    )
    assert state.vx != 0, "The ball is served straight up or down; it must fly to a paddle."
    seat = 0 if state.vx < 0 else 1
    assert serve_to in (None, seat), (
        f"The ball is served to seat {seat}; it must be seat {serve_to}."
    )
    # Where the straight line is when the ball touches the face, and where it meets the face.
    slope = state.vy / abs(state.vx)
    heights = sorted(
        slope * reach for reach in (settings.face_x - settings.ball_radius, settings.face_x)
    )
    low = state.paddle_y[seat] - settings.paddle_length / 2
    high = state.paddle_y[seat] + settings.paddle_length / 2
    # A little more than for the rest: a small error of the direction is large over there.
    slack = 10 * tolerance
    assert heights[1] >= low - slack and heights[0] <= high + slack, (
        f"The ball is served to height {heights[1]}; the face of seat {seat} reaches from {low} "
        f"to {high}."
    )
    assert not any(state.touched) and state.rally_ticks == 0, (
        f"A serve starts a rally; touched is {state.touched}, rally_ticks {state.rally_ticks}."
    )


def distance_to_paddle(
    seat: int, x: float, y: float, paddle_y: float, settings: Settings = DUEL
) -> float:
    """From the ball's middle to the nearest point of a paddle, units; 0 inside."""
    out, up = SIDES[seat] * x, y - paddle_y
    back = settings.face_x + settings.paddle_thickness
    half = settings.paddle_length / 2
    return math.hypot(out - clamp(out, settings.face_x, back), up - clamp(up, -half, half))


def no_overlap(
    state: State,
    settings: Settings = DUEL,
    before: State | None = None,
    tolerance: float = 1e-3,
) -> bool:
    """Whether the ball is in neither paddle.

    Args:
        state: After a tick.
        settings: The rules.
        before: The state before that tick; then a paddle whose own move ran into the ball, or
            that the ball is leaving (readings 2 and 3), is excused. None: nothing is.
        tolerance: Depth that is no overlap yet, units.
    """
    for seat in (0, 1):
        paddle_y = state.paddle_y[seat]
        if distance_to_paddle(seat, state.x, state.y, paddle_y, settings) >= (
            settings.ball_radius - tolerance
        ):
            continue
        if before is None:
            return False
        back = settings.face_x + settings.paddle_thickness
        leaving = SIDES[seat] * state.vx <= 0 or SIDES[seat] * state.x > back
        run_into = (
            distance_to_paddle(seat, before.x, before.y, paddle_y, settings) < settings.ball_radius
        )
        if not leaving and not run_into:
            return False
    return True


def ball_in_court(state: State, settings: Settings = DUEL, tolerance: float = 1e-3) -> bool:
    """Whether the whole ball is between the walls, and its middle between the goal lines."""
    highest = settings.court_height / 2 - settings.ball_radius + tolerance
    return abs(state.x) <= settings.court_width / 2 and abs(state.y) <= highest


def summary(events: Events) -> tuple[object, ...]:
    """What happened without where and when, to be compared with `==`."""
    contacts = tuple(c.seat if isinstance(c, Hit) else c.wall for c in events.contacts)
    return (contacts, events.point, events.replay, events.game_over, events.truncated)


def close_call(settings: Settings, state: State, actions: Sequence[int], by: float = 1e-3) -> bool:
    """Whether other events follow when the ball lies `by` units further up, down, left, right.

    Then two correct simulators that round differently may disagree.
    """
    seen = set()
    for dx, dy in ((0, 0), (by, 0), (-by, 0), (0, by), (0, -by)):
        moved = replace(state, x=state.x + dx, y=state.y + dy)
        seen.add(summary(ReferencePong(settings, moved).step(actions)))
    return len(seen) > 1


# ---- Self-test -------------------------------------------------------------------------------


def random_game(rng: random.Random) -> tuple[Settings, State]:
    """Some rules, and a ball that hangs free, often just in front of a paddle or beside it."""
    speeds = (rng.uniform(0, 12), rng.uniform(0, 12))
    settings = replace(
        rng.choice((DUEL, CLASSIC)),
        paddle_speeds=rng.choice((DUEL.paddle_speeds, CLASSIC.paddle_speeds, speeds)),
        ball_speed=rng.choice((10.0, 10.0, rng.uniform(1, 60))),
    )
    while True:
        speed = settings.ball_speed * rng.uniform(1, settings.max_gain)
        angle = rng.uniform(0, 2 * math.pi)
        state = State(
            paddle_y=(rng.uniform(-165, 165), rng.uniform(-165, 165)),
            x=rng.uniform(-400, 400),
            y=rng.uniform(-190, 190),
            vx=speed * math.cos(angle),
            vy=speed * math.sin(angle),
            touched=(rng.random() < 0.5, rng.random() < 0.5),
        )
        if rng.random() < 0.8:
            seat = rng.choice((0, 1))
            state.x = SIDES[seat] * rng.uniform(340, 390)
            state.y = max(-189.9, min(189.9, state.paddle_y[seat] + rng.uniform(-60, 60)))
            state.vx = SIDES[seat] * abs(state.vx)
        if no_overlap(state, settings):
            return settings, state


def mirrored(state: State) -> State:
    """Left and right exchanged."""
    return replace(
        state,
        paddle_y=state.paddle_y[::-1],
        x=-state.x,
        vx=-state.vx,
        scores=state.scores[::-1],
        touched=state.touched[::-1],
    )


def check_run_into(settings: Settings, before: State, after: State, events: Events) -> None:
    """A paddle that ran into the ball turns it at once if it gets deeper, and never else."""
    for seat in (0, 1):
        y = after.paddle_y[seat]
        now = distance_to_paddle(seat, before.x, before.y, y, settings)
        if not 0 < now < settings.ball_radius:
            continue
        x_soon, y_soon = before.x + 1e-4 * before.vx, before.y + 1e-4 * before.vy
        soon = distance_to_paddle(seat, x_soon, y_soon, y, settings)
        coming = SIDES[seat] * before.vx > 0 and SIDES[seat] * before.x <= 380
        hit = any(hit.seat == seat and hit.time == 0 for hit in events.hits)
        if abs(soon - now) > 1e-6:
            assert hit == (coming and soon < now), "a paddle that ran into the ball"


def check_path(settings: Settings, before: State, after: State, events: Events) -> None:
    """Walk along the tick's path in small steps: the ball is never where it can't be."""
    stops = [(0.0, before.x, before.y)]
    stops += [(contact.time, contact.x, contact.y) for contact in events.contacts]
    stops += [(1.0, after.x, after.y)]
    radius = settings.ball_radius
    free = [
        distance_to_paddle(seat, before.x, before.y, after.paddle_y[seat], settings) >= radius
        for seat in (0, 1)
    ]
    speed = math.hypot(before.vx, before.vy)
    for i in range(len(stops) - 1):
        (start, x0, y0), (end, x1, y1) = stops[i], stops[i + 1]
        length = math.hypot(x1 - x0, y1 - y0)
        assert abs(length - speed * (end - start)) < 1e-6, "the path has another length"
        num_samples = 1 + int(length)
        for k in range(num_samples + 1):
            x = x0 + (x1 - x0) * k / num_samples
            y = y0 + (y1 - y0) * k / num_samples
            assert abs(y) <= 190 + 1e-6, "the ball is in a wall"
            for seat in (0, 1):
                coming = SIDES[seat] * (x1 - x0) > 0 and SIDES[seat] * x <= 380
                if free[seat] and coming:
                    distance = distance_to_paddle(seat, x, y, after.paddle_y[seat], settings)
                    assert distance >= radius - 1e-6, f"the ball is in the paddle of seat {seat}"
        if i < len(events.contacts):
            contact = events.contacts[i]
            if isinstance(contact, WallBounce):
                assert abs(abs(y1) - 190) < 1e-6, "it bounced in the air"
                continue
            distance = distance_to_paddle(
                contact.seat, x1, y1, after.paddle_y[contact.seat], settings
            )
            assert distance <= radius + 1e-6, "it was hit in the air"
            free[contact.seat] = False
            most = settings.ball_speed * settings.max_gain
            speed = max(speed, min(most, speed * (1 + settings.speed_gain)))
    assert abs(math.hypot(after.vx, after.vy) - speed) < 1e-6, "the speed is another"


def check_tick(settings: Settings, state: State, actions: tuple[int, int]) -> tuple[State, Events]:
    """Play one tick and demand of it what must hold in every one; returns what came out."""
    game = ReferencePong(settings, replace(state))
    events = game.step(actions)
    after = game.state
    seats = [hit.seat for hit in events.hits]
    assert len(seats) == len(set(seats)), "a paddle turned the ball twice"
    assert all(abs(hit.offset) <= 1 for hit in events.hits), "a contact beside the paddle"
    assert all(abs(y) <= 165 for y in after.paddle_y), "a paddle is outside the court"
    if not events.serve_needed:
        assert ball_in_court(after, settings, 1e-9), "the ball is outside the court"
    if not (events.hits and events.bounces):  # reading 4: an end, a wall, the same end again
        assert no_overlap(after, settings, state, 1e-9), "the ball is in a paddle"
    if seats:
        assert SIDES[seats[0]] * state.vx > 0, "the ball was leaving that paddle"
    check_run_into(settings, state, after, events)
    check_path(settings, state, after, events)

    rough = ReferencePong(settings, replace(state), "float32")
    if summary(rough.step(actions)) != summary(events):
        assert close_call(settings, state, actions), "the arithmetics see different events"
    else:
        apart = max(abs(rough.state.x - after.x), abs(rough.state.y - after.y))
        assert apart < 1e-3, "the arithmetics see different flights"

    other_way_round = replace(settings, paddle_speeds=settings.paddle_speeds[::-1])
    twin = ReferencePong(other_way_round, mirrored(state), "float32")
    twin.step(actions[::-1])
    assert mirrored(twin.state) == rough.state, "the seats are not alike"
    return after, events


def check_serves(rng: random.Random) -> None:
    """`check_serve` takes a good serve, and a bad one of each kind it refuses."""
    seat = rng.choice((0, 1))
    paddle_y = (rng.uniform(-165, 165), rng.uniform(-165, 165))
    spot = paddle_y[seat] + rng.uniform(-35, 35)
    vx, vy = SIDES[seat] * 3700 / math.hypot(370, spot), 10 * spot / math.hypot(370, spot)
    good = State(paddle_y=paddle_y, vx=vx, vy=vy)
    check_serve(DUEL, good)
    check_serve(DUEL, good, seat)
    too_far = (-300.0, -300.0) if paddle_y[seat] > 0 else (300.0, 300.0)
    elsewhere = paddle_y[seat] + (-80 if paddle_y[seat] > 0 else 80)
    for bad, serve_to in (
        (good, 1 - seat),
        (replace(good, paddle_y=too_far), None),
        (replace(good, paddle_y=(elsewhere, elsewhere)), None),
        (replace(good, x=1.0), None),
        (replace(good, vx=vx * 1.01, vy=vy * 1.01), None),
        (replace(good, vx=0.0, vy=10.0), None),
        (replace(good, touched=(True, False)), None),
    ):
        try:
            check_serve(DUEL, bad, serve_to)
        except AssertionError:
            continue
        raise AssertionError(f"A bad serve was taken: {bad}, serve_to {serve_to}.")


def self_test(num_ticks: int = 20_000, seed: int = 0) -> dict[str, int]:
    """Play short random games near a paddle, every property checked; returns counts."""
    rng = random.Random(seed)
    for _ in range(100):
        check_serves(rng)
    names = "faces ends_and_corners run_into hit_and_wall walls points replays overlaps"
    counts = dict.fromkeys(names.split(), 0)
    settings, state = random_game(rng)
    for _ in range(num_ticks):
        actions = (rng.randrange(3), rng.randrange(3))
        try:
            after, events = check_tick(settings, state, actions)
        except AssertionError:
            print(f"{settings}\n{state}\nactions {actions}")
            raise
        counts["faces"] += sum(abs(hit.offset) < 1 for hit in events.hits)
        counts["ends_and_corners"] += sum(abs(hit.offset) == 1 for hit in events.hits)
        counts["run_into"] += sum(hit.time == 0 for hit in events.hits)
        counts["hit_and_wall"] += bool(events.hits and events.bounces)
        counts["walls"] += len(events.bounces)
        counts["points"] += events.point is not None
        counts["replays"] += events.replay is not None
        counts["overlaps"] += not events.serve_needed and not no_overlap(after, settings)
        state = after
        if events.serve_needed or state.ticks >= 12 or abs(state.x) < 300:
            settings, state = random_game(rng)
    return counts


if __name__ == "__main__":
    print(self_test())
