"""Pico Park in plain Python: slow, short on cleverness, written from the rule book alone.

Tests play the same maps and actions through this module and through the simulator in C and
demand equal histories. Phrases in double quotes in the comments are the rule book's words.

Where the rule book is silent
-----------------------------
Time and order
 1. A bullet flies its whole way (`bullet_speed` tiles, one tile at a time) before the next
    bullet moves. A bullet's age is its place in the order of creation: earlier ticks first,
    within a tick the order of acting. (No play shows it: bullets in one row are always
    at least `bullet_speed` tiles apart, so their order changes nothing.)
 2. The acting order turns over all seats, whoever has left or died: it is
    `(n - 1) mod num_agents` in tick n even when that seat is passed over.
 3. All that happens takes effect at once: in the same tick a key dropped by a dead holder can
    be taken, a door just opened entered, a tile just freed walked into, by who acts later.
 4. Cooldowns of agents that are out or dead go on falling; nothing shows them.
 5. A step after the end is an error, and so is a wrong number of actions. Actions are checked
    (for waiting agents too) before anything changes.
Shooting
 6. A shot whose first tile is outside the screen or the level is a shot: the cooldown starts,
    the bullet is gone at once, `wasted_shot` counts.
 7. A bullet that ends in the tile where it appears was never in the air for longer than that:
    `bullets_per_agent` counts only the bullets that are still there.
 8. An agent killed by its own bullet is `shot`, and nobody gets `friendly_kill`, which needs a
    team-mate. (No play leads there: a bullet is always ahead of the one who shot it.)
 9. "Off the screen" means both edges. (No play leads to a bullet left of the edge: the screen
    is never faster than a bullet, which is why `bullet_speed` must be at least 1.)
10. Two bullets in one tile: drawn and seen as one, the oldest hits. (No play leads there.)
11. A dead agent's bullets fly on and pay their shooter, also the `friendly_kill`. Bullets in
    flight at the end give nothing, neither `wasted_shot` nor anything else.
Death and the key
12. Who moves into a bullet has moved: it died in the new tile, which is where its key drops and
    what its progress is measured to.
13. The door's tile is safe for whoever enters it; the bullet there flies on.
14. A crushed agent died where it stood, left of the edge, so a crushed holder's key is lost. A
    key there stays drawn in the text, and stays the objective in `global`.
15. Agents crushed in one scroll die in the order of their seats (the cause is the same).
16. Opening the door uses the key up: nobody holds it, it lies nowhere, and it can't be lost.
End
17. The cause is that of the first condition that holds, in the rule book's order: dead (under
    "defeat"), nobody in play, key lost, door lost, time.
18. A dead agent's cause under "defeat" is the first death's of that tick (a shot is earlier
    than the scroll). "Nobody in play" under "continue": the last death of the whole episode,
    even if others left after it.
19. An open door left of the edge is lost as well.
20. Victory on the tick of the time limit is a victory.
Terms
21. `victory` and `defeat` go to all agents, waiting ones included; `stranded` to all that are
    not out at the end of that tick.
22. `progress_follow` is measured to the closed door, for each agent in play when the tick began
    that did not hold the key then.
23. `alive` and progress are counted for agents that die or leave in this tick.
24. On a level with `O` the phase is that of the open door from tick 1: only `progress_exit`.
Observation
25. The objective of `global` 7 and 8 is that of the state after the tick, unlike progress.
26. The viewport is always 14 x 25, whatever the height and `screen_width`.
27. `global` is rounded to float32 here, from the exact quotient.
Maps and text
28. The text has no newline at its end; a map may have one. It shows the whole level, tiles left
    of the edge included. A bullet in the door's tile hides the door (`-`).
29. With `time_limit` 0 the formula's 25 is the number 25, not `screen_width`.
30. A map's key and door may lie anywhere, also beyond the first screen; only the agents must
    stand on it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

UP, DOWN, LEFT, RIGHT, SHOOT, IDLE = range(6)
DIRECTIONS = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}

TERMS = (
    "victory", "defeat", "stranded", "crushed", "shot", "friendly_kill", "key", "unlock", "exit",
    "progress_key", "progress_unlock", "progress_follow", "progress_exit",
    "own_block", "foreign_block", "wasted_shot", "alive",
)  # fmt: skip
"""The rule book's terms, in the order of its table."""

VIEW_ROWS, VIEW_COLUMNS = 14, 25
VIEW_ABOVE, VIEW_LEFT = 7, 12
MAX_ROWS, MAX_COLUMNS = 64, 1024

Position = tuple[int, int]
"""(row, column); row 0 is the top, column 0 the left."""

Outcome = Literal["victory", "defeat"]
Cause = Literal["victory", "crushed", "shot", "key_lost", "door_lost", "time"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a game needs to know beside its map."""

    num_agents: int = 4
    """Cats in the game, 2..8; agent i has colour i."""
    screen_width: int = 25
    """Width of the screen, columns."""
    scroll_period: int
    """Ticks between two steps of the screen, at least 1."""
    shot_cooldown: int = 3
    """Ticks from one shot to the next; 0 and 1 both allow one each tick."""
    bullet_speed: int = 2
    """Tiles a bullet flies each tick, at least 1."""
    bullets_per_agent: int = 0
    """Bullets that one agent may have in the air; 0: no limit."""
    time_limit: int = 0
    """Tick at which the level is lost; 0: `max(0, length - 25) * scroll_period + 100`."""
    on_death: Literal["defeat", "continue"] = "defeat"
    """Whether a death ends the level at once."""

    def __post_init__(self) -> None:
        lowest = {"num_agents": 2, "screen_width": 1, "scroll_period": 1, "shot_cooldown": 0,
                  "bullet_speed": 1, "bullets_per_agent": 0, "time_limit": 0}  # fmt: skip
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {low}.")
        if self.num_agents > 8:
            raise ValueError(f"num_agents is {self.num_agents}; it must be at most 8.")
        if self.on_death not in ("defeat", "continue"):
            raise ValueError(f"on_death is {self.on_death!r}; use 'defeat' or 'continue'.")


@dataclass(kw_only=True)
class Agent:
    """One cat."""

    position: Position
    """Where it stands, or where it left or died."""
    status: Literal["in play", "out", "dead"] = "in play"
    """`out` left through the door."""
    cooldown: int = 0
    """Ticks until it can shoot again."""


@dataclass(kw_only=True, eq=False)
class Bullet:
    """One bullet in the air."""

    row: int
    column: int
    shooter: int
    """Seat of the agent that shot it."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """What one tick brought."""

    terms: list[dict[str, int]]
    """Per agent, every name of `TERMS`: how often, progress in tiles."""
    ended: bool
    """Whether this tick ended the level."""
    outcome: Outcome | None
    """None while the level goes on."""
    cause: Cause | None
    """None while the level goes on."""


def distance(a: Position, b: Position) -> int:
    """Manhattan distance, in tiles."""
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


class Reference:
    """One game on one hand-made map. Its attributes are the whole state.

    Args:
        map_text: The level, in the rule book's text format.
        rules: Everything else.

    Raises:
        ValueError: The map is refused; the message says where and why.
    """

    def __init__(self, map_text: str, rules: Rules) -> None:
        self.rules = rules
        self.tick = 0
        self.left = 0  # the screen's left edge, a column
        self.tiles: list[list[str]] = []  # only '.', '#' and 'a'..'h'
        self.agents: list[Agent] = []
        self.bullets: list[Bullet] = []  # in the air, the oldest first
        self.key: Position | None = None  # where it lies, if it lies on the ground
        self.holder: int | None = None  # who holds it
        self.door: Position = (0, 0)
        self.door_open = False
        self.deaths: list[Literal["shot", "crushed"]] = []  # causes, in order of time
        self.outcome: Outcome | None = None
        self.cause: Cause | None = None
        self._read_map(map_text)
        # "agents start on free tiles of their own": no two agents, key and door share one,
        # since a character of the map says one thing only.
        formula = max(0, self.length - 25) * rules.scroll_period + 100
        self.time_limit = rules.time_limit or formula
        self._terms = self._no_terms()

    # ---- Maps by hand ---------------------------------------------------------------------

    def _read_map(self, map_text: str) -> None:
        lines = map_text.removesuffix("\n").split("\n")
        self.height, self.length = len(lines), len(lines[0])
        if self.length == 0:
            raise ValueError("row 0, column 0: the map is empty; write at least one tile.")
        if self.height > MAX_ROWS or self.length > MAX_COLUMNS:
            raise ValueError(
                f"the map is {self.height} rows by {self.length} columns; "
                f"at most {MAX_ROWS} by {MAX_COLUMNS} are allowed."
            )
        found: dict[str, Position] = {}  # the digits, K, D and O, each at most once
        for row, line in enumerate(lines):
            if len(line) != self.length:
                at = min(len(line), self.length)
                raise ValueError(
                    f"row {row}, column {at}: the row has {len(line)} tiles, row 0 has "
                    f"{self.length}; make them equal."
                )
            for column, char in enumerate(line):
                self._check_tile(row, column, char, found)
            self.tiles.append([char if char in "#abcdefgh" else "." for char in line])
        self._place(found)

    def _check_tile(self, row: int, column: int, char: str, found: dict[str, Position]) -> None:
        where = f"row {row}, column {column}"
        if char not in ".#abcdefgh01234567KDO":
            raise ValueError(f"{where}: {char!r} means nothing in a map.")
        if char in "abcdefgh" and ord(char) - ord("a") >= self.rules.num_agents:
            raise ValueError(f"{where}: nobody has the colour of block {char!r}.")
        if char in "01234567KDO":
            if char in found:
                raise ValueError(f"{where}: a second {char!r}; there can be only one.")
            found[char] = (row, column)
        if char in "01234567" and column >= self.rules.screen_width:
            raise ValueError(f"{where}: agent {char} does not stand on the first screen.")

    def _place(self, found: dict[str, Position]) -> None:
        # "One `D` and one `K`, or one `O` (an open door) and no `K`".
        if sorted(set(found) & set("KDO")) not in (["D", "K"], ["O"]):
            raise ValueError("a map has one D and one K, or one O and neither of them.")
        seats = sorted(int(char) for char in found if char in "01234567")
        if seats != list(range(self.rules.num_agents)):
            raise ValueError(
                f"the map has the agents {seats}; num_agents is {self.rules.num_agents}, so it "
                f"needs 0 to {self.rules.num_agents - 1}."
            )
        self.agents = [Agent(position=found[str(seat)]) for seat in seats]
        self.door_open = "O" in found
        self.door = found["O" if self.door_open else "D"]
        self.key = found.get("K")

    # ---- Questions ------------------------------------------------------------------------

    def key_agent(self) -> int | None:
        """The seat that holds the key, or None."""
        return self.holder

    def alive(self, agent: int) -> bool:
        """Whether the agent is in play: neither out nor dead."""
        return self.agents[agent].status == "in play"

    def _in_level(self, row: int, column: int) -> bool:
        return 0 <= row < self.height and 0 <= column < self.length

    def _on_screen(self, column: int) -> bool:
        # "`left <= column < left + screen_width`"
        return self.left <= column < self.left + self.rules.screen_width

    def _agent_at(self, position: Position) -> int | None:
        """The agent in play that stands there; the out and the dead stand nowhere."""
        for seat, agent in enumerate(self.agents):
            if agent.status == "in play" and agent.position == position:
                return seat
        return None

    def _no_terms(self) -> list[dict[str, int]]:
        return [dict.fromkeys(TERMS, 0) for _ in range(self.rules.num_agents)]

    # ---- One tick -------------------------------------------------------------------------

    def step(self, actions: list[int]) -> Tick:
        """Play one tick.

        Args:
            actions: One of 0..5 for each seat, waiting agents included.

        Raises:
            ValueError: An action is not 0..5, or their number is wrong; nothing has changed.
            RuntimeError: The level has ended.
        """
        if self.outcome is not None:
            raise RuntimeError(f"the level ended in tick {self.tick}; make a new Reference.")
        if len(actions) != self.rules.num_agents:
            raise ValueError(f"{len(actions)} actions; give {self.rules.num_agents}.")
        for seat, action in enumerate(actions):
            if action not in (UP, DOWN, LEFT, RIGHT, SHOOT, IDLE):
                raise ValueError(f"agent {seat}: action {action} is not one of 0..5.")

        self._terms = self._no_terms()
        # Progress is measured "to the objective as it was **when the tick began** (which
        # phase, which tile, who held the key)": keep all of that.
        in_play = [seat for seat in range(self.rules.num_agents) if self.alive(seat)]
        stood = [agent.position for agent in self.agents]
        key, holder, door_open = self.key, self.holder, self.door_open

        self.tick += 1  # "a tick first adds one, so the first is tick 1"
        self._act(actions)
        self._fly()
        self._cool_down()
        self._scroll()
        self._end()

        for seat in in_play:
            self._terms[seat]["alive"] = 1
            if key is not None:
                term, objective = "progress_key", key
            elif door_open:
                term, objective = "progress_exit", self.door
            elif seat == holder:
                term, objective = "progress_unlock", self.door
            else:
                term, objective = "progress_follow", self.door
            # "where it stands (or left, or died)": the position stays that of its last tile.
            after = distance(self.agents[seat].position, objective)
            self._terms[seat][term] = distance(stood[seat], objective) - after

        return Tick(
            terms=self._terms,
            ended=self.outcome is not None,
            outcome=self.outcome,
            cause=self.cause,
        )

    def _act(self, actions: list[int]) -> None:
        """1. Act, one agent after the other."""
        # "The first to act in tick n is seat `(n - 1) mod num_agents`, then upward, wrapping
        # round".
        num_agents = self.rules.num_agents
        first = (self.tick - 1) % num_agents
        for turn in range(num_agents):
            seat = (first + turn) % num_agents
            # "who is out or dead is passed over", also who died a moment ago in this tick.
            if not self.alive(seat):
                continue
            if actions[seat] in DIRECTIONS:
                self._move(seat, actions[seat])
            elif actions[seat] == SHOOT:
                self._shoot(seat)

    def _move(self, seat: int, action: int) -> None:
        agent = self.agents[seat]
        row = agent.position[0] + DIRECTIONS[action][0]
        column = agent.position[1] + DIRECTIONS[action][1]
        # "if that is inside the level and the screen, free of walls, blocks and other agents
        # in play, and not a door that it may not open. Otherwise it stays."
        if not self._in_level(row, column) or not self._on_screen(column):
            return
        if self.tiles[row][column] != "." or self._agent_at((row, column)) is not None:
            return
        if (row, column) == self.door:
            self._enter_door(seat)
            return
        agent.position = (row, column)
        # "that bullet (the oldest there) hits it at once, in that tile, before it could take a
        # key there; its own key drops there."
        for bullet in self.bullets:
            if (bullet.row, bullet.column) == (row, column):
                self._hit(bullet, seat)
                self.bullets.remove(bullet)
                return
        # "Moving onto the key while it lies there takes it."
        if self.key == (row, column):
            self.key = None
            self.holder = seat
            self._terms[seat]["key"] += 1

    def _enter_door(self, seat: int) -> None:
        # "the holder opens it (`unlock`) and is out (`exit`) in the same move; once open,
        # anyone who moves in is out. Key and holder leave together." No look at bullets: "The
        # door's tile is safe even with a bullet in it."
        if not self.door_open:
            if self.holder != seat:
                return
            self.door_open = True
            self.holder = None
            self._terms[seat]["unlock"] += 1
        self.agents[seat].position = self.door
        self.agents[seat].status = "out"
        self._terms[seat]["exit"] += 1

    def _shoot(self, seat: int) -> None:
        agent = self.agents[seat]
        # "if its cooldown is 0 (... a refused shot changes nothing)"
        if agent.cooldown > 0:
            return
        # "With `bullets_per_agent` of its bullets in the air it can't shoot (0: no limit)."
        in_the_air = sum(1 for bullet in self.bullets if bullet.shooter == seat)
        if self.rules.bullets_per_agent > 0 and in_the_air >= self.rules.bullets_per_agent:
            return
        agent.cooldown = self.rules.shot_cooldown
        # "a bullet appears in the tile to its right and is **resolved there at once**"
        row, column = agent.position
        bullet = Bullet(row=row, column=column + 1, shooter=seat)
        if self._flies_on(bullet):
            self.bullets.append(bullet)  # the youngest of all

    def _fly(self) -> None:
        """2. Bullets fly right, every one that is in the air, oldest first."""
        for bullet in list(self.bullets):
            for _ in range(self.rules.bullet_speed):  # "resolved in every tile"
                bullet.column += 1
                if not self._flies_on(bullet):
                    self.bullets.remove(bullet)
                    break

    def _flies_on(self, bullet: Bullet) -> bool:
        """Resolve a bullet in the tile where it is; False: it is gone.

        "A shooter that has died or left is still charged and paid for its bullets": no look
        at the shooter's status.
        """
        row, column = bullet.row, bullet.column
        paid = self._terms[bullet.shooter]
        # "off the screen or the level: gone", in nothing, so `wasted_shot`.
        if not self._in_level(row, column) or not self._on_screen(column):
            paid["wasted_shot"] += 1
            return False
        tile = self.tiles[row][column]
        if tile == "#":  # "Wall: gone."
            paid["wasted_shot"] += 1
            return False
        if tile != ".":
            if ord(tile) - ord("a") == bullet.shooter:
                # "Block of the shooter's colour: block and bullet gone."
                self.tiles[row][column] = "."
                paid["own_block"] += 1
            else:  # "Other block: bullet gone."
                paid["foreign_block"] += 1
            return False
        victim = self._agent_at((row, column))
        if victim is not None:  # "Agent in play: hit, bullet gone."
            self._hit(bullet, victim)
            return False
        return True  # "Bullets pass each other, the key and the door."

    def _hit(self, bullet: Bullet, victim: int) -> None:
        self._die(victim, "shot")
        if bullet.shooter != victim:  # "its bullet kills a team-mate"
            self._terms[bullet.shooter]["friendly_kill"] += 1

    def _die(self, seat: int, cause: Literal["shot", "crushed"]) -> None:
        """3. A hit agent is dead from that moment; who is crushed dies the same way."""
        self.agents[seat].status = "dead"
        self.deaths.append(cause)
        self._terms[seat][cause] += 1
        # "A holder that dies (shot or crushed) drops the key where it stood."
        if self.holder == seat:
            self.holder = None
            self.key = self.agents[seat].position

    def _cool_down(self) -> None:
        """4. Cooldowns above 0 fall by one."""
        for agent in self.agents:
            if agent.cooldown > 0:
                agent.cooldown -= 1

    def _scroll(self) -> None:
        """4. Scroll, if `tick` is a multiple of `scroll_period`."""
        if self.tick % self.rules.scroll_period != 0:
            return
        # "it grows by one every `scroll_period` ticks while `left + screen_width < length`"
        if self.left + self.rules.screen_width >= self.length:
            return
        self.left += 1
        # "agents in play left of the edge are crushed and die"
        for seat, agent in enumerate(self.agents):
            if agent.status == "in play" and agent.position[1] < self.left:
                self._die(seat, "crushed")

    def _end(self) -> None:
        """5. End, the first that holds."""
        self.cause = self._find_cause()
        if self.cause is None:
            return
        self.outcome = "victory" if self.cause == "victory" else "defeat"
        for seat, agent in enumerate(self.agents):
            self._terms[seat][self.outcome] = 1
            # "each agent not out, dead ones too | the level is lost"
            if self.outcome == "defeat" and agent.status != "out":
                self._terms[seat]["stranded"] = 1

    def _find_cause(self) -> Cause | None:
        # "*Victory*: every agent is out."
        if all(agent.status == "out" for agent in self.agents):
            return "victory"
        # "*Defeat*: an agent is dead (`on_death="defeat"`...)": "with deaths, the first one's
        # under `defeat`".
        if self.rules.on_death == "defeat" and self.deaths:
            return self.deaths[0]
        # "nobody is in play": not all are out, so somebody died: "the last one's under
        # `continue` when nobody is left".
        if not any(agent.status == "in play" for agent in self.agents):
            return self.deaths[-1]
        # "the key lies left of the edge (the door being shut)"
        if self.key is not None and self.key[1] < self.left and not self.door_open:
            return "key_lost"
        if self.door[1] < self.left:  # "the door does", shut or open
            return "door_lost"
        if self.tick == self.time_limit:
            return "time"
        return None

    # ---- What is seen ---------------------------------------------------------------------

    def text(self) -> str:
        """The whole level as text, rows joined by newlines, none at the end."""
        shown = [list(row) for row in self.tiles]
        # "agents in play over bullets (`-`) over key and door": the uppermost comes last.
        shown[self.door[0]][self.door[1]] = "O" if self.door_open else "D"
        if self.key is not None:
            shown[self.key[0]][self.key[1]] = "K"
        for bullet in self.bullets:
            shown[bullet.row][bullet.column] = "-"
        for seat, agent in enumerate(self.agents):
            if agent.status == "in play":
                shown[agent.position[0]][agent.position[1]] = str(seat)
        return "\n".join("".join(row) for row in shown)

    def grid(self, agent: int) -> list[list[list[int]]]:
        """The agent's viewport, 5 x 14 x 25, of the current state."""
        view = [[[0] * VIEW_COLUMNS for _ in range(VIEW_ROWS)] for _ in range(5)]
        if not self.alive(agent):
            return view  # "it sees a zero grid"
        me = self.agents[agent].position
        for i in range(VIEW_ROWS):
            for j in range(VIEW_COLUMNS):
                row, column = me[0] - VIEW_ABOVE + i, me[1] - VIEW_LEFT + j
                for channel, value in enumerate(self._seen(agent, row, column)):
                    view[channel][i][j] = value
        return view

    def _seen(self, me: int, row: int, column: int) -> tuple[int, int, int, int, int]:
        """The five channels of one tile, as agent `me` sees it."""
        # "outside the level, or left of the screen's edge (where all other channels read 0;
        # right of the screen is seen as it is)"
        if not self._in_level(row, column) or column < self.left:
            return 1, 0, 0, 0, 0
        tile = self.tiles[row][column]
        solid = own_block = other_block = other_agent = thing = 0
        if tile == "#":
            solid = 1
        elif tile != ".":
            # "its owner's seat relative to mine, `(owner - me) mod num_agents`"
            relative = (ord(tile) - ord("a") - me) % self.rules.num_agents
            own_block, other_block = (1, 0) if relative == 0 else (0, relative)
        seat = self._agent_at((row, column))
        if seat is not None and seat != me:
            other_agent = (seat - me) % self.rules.num_agents
            if seat == self.holder:
                other_agent += 8  # "+ 8 if it holds the key"
        # "4 open door, 3 closed door, 2 key on the ground, 1 bullet; where two meet: the
        # bullet"
        if any((bullet.row, bullet.column) == (row, column) for bullet in self.bullets):
            thing = 1
        elif self.key == (row, column):
            thing = 2
        elif self.door == (row, column):
            thing = 4 if self.door_open else 3
        return solid, own_block, other_block, other_agent, thing

    def global_state(self, agent: int) -> list[float]:
        """The agent's eleven numbers, of the current state, each a float32 in [-1, 1]."""
        rules = self.rules
        values = [0.0] * 11
        # What a waiting agent sees as well: "zeros but for global 5, 6 and 10".
        values[5] = float(self.holder is not None)
        values[6] = float(self.door_open)
        values[10] = sum(a.status == "out" for a in self.agents) / rules.num_agents
        if self.alive(agent):
            row, column = self.agents[agent].position
            # "the objective being the key while it lies on the ground, else the door"
            objective = self.key if self.key is not None else self.door
            values[0] = (column - self.left) / rules.screen_width
            values[1] = row / self.height
            values[2] = (self.tick % rules.scroll_period) / rules.scroll_period
            values[3] = 1 / rules.scroll_period
            values[4] = float(self.holder == agent)
            values[7] = (objective[1] - column) / 25
            values[8] = (objective[0] - row) / 14
            if rules.shot_cooldown > 0:  # "(0 if that is 0)"
                values[9] = self.agents[agent].cooldown / rules.shot_cooldown
        clipped = [max(-1.0, min(1.0, value)) for value in values]
        return list(struct.unpack("11f", struct.pack("11f", *clipped)))
