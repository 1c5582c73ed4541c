"""The slow reference of Pico Park against outcomes worked out by hand from the rule book."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pico_park_reference import (
    DOWN,
    IDLE,
    LEFT,
    RIGHT,
    SHOOT,
    TERMS,
    UP,
    Bullet,
    Reference,
    Rules,
    Tick,
)


def game(*rows: str, **rules: Any) -> Reference:
    """A game for two on the map of these rows, scrolling every 100 ticks unless told."""
    return Reference("\n".join(rows), Rules(**{"num_agents": 2, "scroll_period": 100} | rules))


def counted(tick: Tick, agent: int) -> dict[str, int]:
    """The agent's terms that are not 0, but for `alive`."""
    return {term: n for term, n in tick.terms[agent].items() if n != 0 and term != "alive"}


def events(tick: Tick, agent: int) -> dict[str, int]:
    """The same without progress."""
    return {t: n for t, n in counted(tick, agent).items() if not t.startswith("progress")}


# ---- Maps by hand ---------------------------------------------------------------------------


def test_a_map_prints_as_it_was_written() -> None:
    rows = ("0.#.K", "1ab.D")
    assert game(*rows).text() == "\n".join(rows)
    assert Reference("01.O\n", Rules(num_agents=2, scroll_period=5)).text() == "01.O"
    assert game(*rows).time_limit == 100
    assert game("01KD" + "." * 26, scroll_period=7).time_limit == 5 * 7 + 100


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (("01KD", "..."), "row 1, column 3"),
        (("01KD", "..-."), "row 1, column 2"),
        (("01KD", "..K."), "row 1, column 2: a second 'K'"),
        (("01KDc",), "row 0, column 4: nobody has the colour"),
        (("01.D",), "one D and one K"),
        (("01KO",), "one D and one K"),
        (("02KD",), r"agents \[0, 2\]"),
        (("0KD" + "." * 22 + "1",), "row 0, column 25: agent 1"),
        (("",), "row 0, column 0"),
    ],
)
def test_a_bad_map_is_refused(rows: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        game(*rows)


def test_a_bad_action_changes_nothing() -> None:
    g = game("01.KD")
    with pytest.raises(ValueError, match="agent 1: action 6"):
        g.step([RIGHT, 6])
    assert g.tick == 0


# ---- Acting ---------------------------------------------------------------------------------


def test_the_first_to_act_changes_every_tick() -> None:
    rows = ("0.", ".1", "KD")
    g = game(*rows)
    g.step([RIGHT, UP])  # tick 1: agent 0 first
    assert g.text() == ".0\n.1\nKD"
    g = game(*rows)
    g.step([IDLE, IDLE])
    g.step([RIGHT, UP])  # tick 2: agent 1 first
    assert g.text() == "01\n..\nKD"
    # Tick 3 is seat 0's again: it frees the tile that seat 1 then moves into.
    g.step([DOWN, LEFT])
    assert g.text() == "1.\n0.\nKD"


def test_what_a_move_is_stopped_by() -> None:
    g = game("0aD.", "1#.K", screen_width=2)
    for action in (UP, LEFT, RIGHT, DOWN):  # level, level, own block, agent
        g.step([action, IDLE])
        assert g.text() == "0aD.\n1#.K"
    g.step([IDLE, RIGHT])  # wall
    assert g.text() == "0aD.\n1#.K"
    g = game(".0.D", "1..K", screen_width=2)
    g.step([RIGHT, IDLE])  # the screen ends there
    assert g.agents[0].position == (0, 1)
    g = game("0D.", "1.K")
    g.step([RIGHT, IDLE])  # a shut door, without the key
    assert g.text() == "0D.\n1.K"


def test_shots_come_in_ticks_1_4_7() -> None:
    g = game("0....................KD", "1......................")
    fired = []
    for tick in range(1, 9):
        before = len(g.bullets)
        g.step([SHOOT, IDLE])
        if len(g.bullets) > before:
            fired.append(tick)
    assert fired == [1, 4, 7]
    # Shot in tick 7 it appeared in column 1 and flew 2 in ticks 7 and 8; the others likewise.
    assert [b.column for b in g.bullets] == [17, 11, 5]


def test_the_limit_of_bullets_in_the_air() -> None:
    g = game("0....#KD", "1.......", shot_cooldown=0, bullets_per_agent=1, bullet_speed=1)
    columns = []
    for _ in range(5):
        tick = g.step([SHOOT, IDLE])
        columns.append([b.column for b in g.bullets])
    # It appears in 1 and flies to 2, 3, 4, then ends in the wall in tick 4: free in tick 5.
    assert columns == [[2], [3], [4], [], [2]]
    assert events(tick, 0) == {}


# ---- Bullets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "term", "after"),
    [
        ("0a.KD", "own_block", "0..KD"),
        ("0b.KD", "foreign_block", "0b.KD"),
        ("0#.KD", "wasted_shot", "0#.KD"),
        ("KD.a0", "wasted_shot", "KD.a0"),
    ],
)
def test_a_shot_at_what_stands_next_is_resolved_at_once(row: str, term: str, after: str) -> None:
    g = game(row, "....1")
    tick = g.step([SHOOT, IDLE])
    assert g.text() == f"{after}\n....1"
    assert counted(tick, 0) == {term: 1}
    assert g.agents[0].cooldown == 2


def test_a_bullet_off_the_screen_is_wasted_though_the_level_goes_on() -> None:
    g = game("0......KD", "1........", screen_width=4)
    assert counted(g.step([SHOOT, IDLE]), 0) == {}  # column 3, the last on the screen
    assert counted(g.step([IDLE, IDLE]), 0) == {"wasted_shot": 1}


def test_point_blank_kills_before_the_victim_acts() -> None:
    g = game("01.KD")
    tick = g.step([SHOOT, RIGHT])
    assert g.text() == "0..KD"
    assert counted(tick, 0) == {"friendly_kill": 1, "defeat": 1, "stranded": 1}
    assert counted(tick, 1) == {"shot": 1, "defeat": 1, "stranded": 1}
    assert (tick.ended, tick.outcome, tick.cause) == (True, "defeat", "shot")
    assert not g.alive(1)
    with pytest.raises(RuntimeError):
        g.step([IDLE, IDLE])


def test_stepping_left_into_a_bullet_is_death_and_no_swap() -> None:
    # Tick 1: agent 0's bullet appears in column 1, flies to 3 (speed 2). Tick 2: agent 1 acts
    # first and steps left from 4 into it. It held the key, which drops in column 3.
    g = game("0...1.D", "...K...", on_death="continue")
    g.key, g.holder = None, 1
    g.step([SHOOT, IDLE])
    assert g.text() == "0..-1.D\n......."
    tick = g.step([IDLE, LEFT])
    assert g.text() == "0..K..D\n......."
    assert g.key_agent() is None
    # Progress: from distance 2 to distance 3 of the closed door, as the holder it was.
    assert counted(tick, 1) == {"shot": 1, "progress_unlock": -1}
    assert counted(tick, 0) == {"friendly_kill": 1}
    assert not tick.ended


def test_a_bullet_hits_before_the_key_is_taken() -> None:
    g = game("0..K1.D", on_death="continue")
    g.step([SHOOT, IDLE])
    assert g.text() == "0..-1.D"  # the bullet over the key
    tick = g.step([IDLE, LEFT])
    assert g.text() == "0..K..D"
    assert counted(tick, 1) == {"shot": 1, "progress_key": 1}


def test_the_oldest_of_two_bullets_in_a_tile_hits() -> None:
    rows = ("0.....KD", "1.......", "2.......")
    g = game(*rows, num_agents=3, on_death="continue")
    g.bullets = [Bullet(row=0, column=1, shooter=2), Bullet(row=0, column=1, shooter=1)]
    tick = g.step([RIGHT, IDLE, IDLE])
    assert events(tick, 2) == {"friendly_kill": 1}
    assert events(tick, 1) == {}
    assert [(b.shooter, b.column) for b in g.bullets] == [(1, 3)]


def test_a_shooter_that_is_dead_or_out_is_still_paid() -> None:
    # Agent 1 shoots, then agent 0 shoots it dead (tick 2: seat 1 acts first); its bullet
    # destroys its own block later.
    g = game("01...b.KD", on_death="continue")
    g.step([IDLE, IDLE])
    tick = g.step([SHOOT, SHOOT])
    assert counted(tick, 1) == {"shot": 1}
    assert g.text() == "0...-b.KD"
    tick = g.step([IDLE, IDLE])
    assert counted(tick, 1) == {"own_block": 1}
    assert g.text() == "0......KD"
    g = game("0......#", "O......1")
    g.step([SHOOT, IDLE])  # bullet to column 3
    assert events(g.step([DOWN, IDLE]), 0) == {"exit": 1}  # and to 5
    assert counted(g.step([IDLE, IDLE]), 0) == {"wasted_shot": 1}


# ---- Key and door ---------------------------------------------------------------------------


def test_key_unlock_and_exit_with_their_progress() -> None:
    g = game("0KD", "1..")
    tick = g.step([RIGHT, IDLE])
    assert counted(tick, 0) == {"key": 1, "progress_key": 1}
    assert counted(tick, 1) == {}
    assert g.key_agent() == 0 and g.text() == ".0D\n1.."
    tick = g.step([IDLE, RIGHT])
    assert counted(tick, 1) == {"progress_follow": 1}
    tick = g.step([RIGHT, RIGHT])  # seat 0 first
    assert counted(tick, 0) == {"unlock": 1, "exit": 1, "progress_unlock": 1}
    assert counted(tick, 1) == {"progress_follow": 1}
    assert g.text() == "..O\n..1" and g.key_agent() is None
    tick = g.step([RIGHT, UP])
    assert counted(tick, 1) == {"exit": 1, "progress_exit": 1, "victory": 1}
    assert counted(tick, 0) == {"victory": 1}
    assert tick.terms[0]["alive"] == 0 and tick.terms[1]["alive"] == 1
    assert (tick.outcome, tick.cause) == ("victory", "victory")


def test_both_leave_in_the_tick_that_opens_the_door() -> None:
    g = game("0D1", "K..")
    g.key, g.holder = None, 0
    tick = g.step([RIGHT, LEFT])
    assert counted(tick, 0) == {"unlock": 1, "exit": 1, "progress_unlock": 1, "victory": 1}
    assert counted(tick, 1) == {"exit": 1, "progress_follow": 1, "victory": 1}


def test_the_door_is_safe_with_a_bullet_in_it() -> None:
    g = game("0..O...", "...1...")
    g.step([SHOOT, IDLE])
    assert g.text() == "0..-...\n...1..."
    tick = g.step([IDLE, UP])
    assert counted(tick, 1) == {"exit": 1, "progress_exit": 1}
    assert g.text() == "0..O.-.\n......."


def test_a_dropped_key_can_be_taken_in_the_same_tick() -> None:
    # Tick 1: seat 0 shoots the holder 1 dead, seat 2 then moves onto the key.
    g = game("01.K.", "..2.D", num_agents=3, on_death="continue")
    g.key, g.holder = None, 1
    g.agents[2].position = (1, 1)
    tick = g.step([SHOOT, IDLE, UP])
    assert events(tick, 2) == {"key": 1}
    assert counted(tick, 2)["progress_follow"] == -1
    assert g.key_agent() == 2


# ---- Scroll and end -------------------------------------------------------------------------


def test_a_crushed_holder_loses_the_key() -> None:
    rows = ("0....", ".1.KD")
    for on_death, cause in (("defeat", "crushed"), ("continue", "key_lost")):
        g = game(*rows, screen_width=4, scroll_period=2, on_death=on_death)
        g.key, g.holder = None, 0
        assert not g.step([IDLE, IDLE]).ended
        tick = g.step([IDLE, IDLE])
        assert g.left == 1 and g.key == (0, 0)
        assert events(tick, 0) == {"crushed": 1, "defeat": 1, "stranded": 1}
        assert events(tick, 1) == {"defeat": 1, "stranded": 1}
        assert tick.cause == cause


def test_a_lost_door_and_the_end_of_the_scroll() -> None:
    g = game("D.01K", screen_width=4, scroll_period=1)
    assert g.step([IDLE, IDLE]).cause == "door_lost"
    g = game("..01KD", screen_width=5, scroll_period=1)
    for _ in range(4):
        assert not g.step([IDLE, IDLE]).ended
    assert g.left == 1


def test_the_cause_is_the_first_death_or_the_last() -> None:
    # Tick 1: seat 0 shoots seat 1, then the scroll crushes seat 0.
    rows = ("0.1.", "..KD")
    tick = game(*rows, screen_width=3, scroll_period=1).step([SHOOT, IDLE])
    assert tick.cause == "shot"
    tick = game(*rows, screen_width=3, scroll_period=1, on_death="continue").step([SHOOT, IDLE])
    assert tick.cause == "crushed"
    assert events(tick, 0) == {"friendly_kill": 1, "crushed": 1, "defeat": 1, "stranded": 1}
    # Under "continue" the one left may leave, but the level is lost; it isn't stranded.
    g = game("01", "O.", on_death="continue")
    assert not g.step([SHOOT, IDLE]).ended
    tick = g.step([DOWN, IDLE])
    assert (tick.outcome, tick.cause) == ("defeat", "shot")
    assert counted(tick, 0) == {"exit": 1, "progress_exit": 1, "defeat": 1}
    assert counted(tick, 1) == {"defeat": 1, "stranded": 1}


def test_the_clock() -> None:
    g = game("0.O.1", time_limit=2)
    assert not g.step([RIGHT, IDLE]).ended
    tick = g.step([IDLE, LEFT])
    assert (tick.outcome, tick.cause) == ("defeat", "time")
    g = game("0.O.1", time_limit=2)
    g.step([RIGHT, LEFT])
    assert g.step([RIGHT, LEFT]).cause == "victory"


# ---- Observation ----------------------------------------------------------------------------


def test_grid_and_global() -> None:
    g = game("..0b..", ".1aK#D", screen_width=5, scroll_period=4)
    g.step([SHOOT, RIGHT])  # the bullet ends in block b at once; agent 1 stops at block a
    view = g.grid(0)
    assert (len(view), len(view[0]), len(view[0][0])) == (5, 14, 25)
    assert [view[0][7][10 + j] for j in range(6)] == [0, 0, 0, 0, 0, 0]
    assert [view[0][8][10 + j] for j in range(7)] == [0, 0, 0, 0, 1, 0, 1]
    assert view[0][6] == [1] * 25
    assert view[2][7][13] == 1 and view[1][8][12] == 1
    assert view[3][8][11] == 1 and view[3][7][12] == 0
    assert view[4][8][13] == 2 and view[4][8][15] == 3
    other = g.grid(1)
    assert other[3][6][13] == 1 and other[2][7][13] == 1 and other[1][6][14] == 1
    expected = [2 / 5, 0, 1 / 4, 1 / 4, 0, 0, 0, 1 / 25, 1 / 14, 2 / 3, 0]
    assert g.global_state(0) == pytest.approx(expected, abs=1e-7)
    g.key, g.holder = None, 1
    assert g.grid(0)[3][8][11] == 9 and g.grid(0)[4][8][13] == 0
    assert g.global_state(0)[4:9] == pytest.approx([0, 1, 0, 3 / 25, 1 / 14], abs=1e-7)
    assert g.global_state(1)[4] == 1
    for _ in range(3):
        g.step([IDLE, IDLE])
    assert g.left == 1  # column 0 is left of the edge now
    assert [g.grid(0)[0][7][j] for j in (9, 10, 11)] == [1, 1, 0]


def test_who_waits_sees_nothing_but_three_numbers() -> None:
    g = game("01..", "O...")
    g.step([DOWN, IDLE])
    assert sum(sum(map(sum, channel)) for channel in g.grid(0)) == 0
    assert g.global_state(0) == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0.5]
    assert not g.alive(0) and g.alive(1)
    assert g.grid(1)[4][8][11] == 4


# ---- Random play ----------------------------------------------------------------------------


def random_map(rng: random.Random, num_agents: int) -> str:
    """A crowded little map, most of it impossible to win."""
    height, length = rng.randint(3, 5), rng.randint(10, 18)
    tiles = rng.choices("...." + "#" + "abcdefgh"[:num_agents], k=height * length)
    agents = rng.sample([r * length + c for r in range(height) for c in range(8)], num_agents)
    rest = [i for i in range(height * length) if i not in agents]
    for seat, index in enumerate(agents):
        tiles[index] = str(seat)
    key, door = rng.sample(rest, 2)
    if rng.random() < 0.2:
        tiles[door] = "O"
    else:
        tiles[key], tiles[door] = "K", "D"
    return "\n".join("".join(tiles[r * length : (r + 1) * length]) for r in range(height))


@pytest.mark.parametrize("seed", range(200))
def test_random_play_keeps_the_promises(seed: int) -> None:
    rng = random.Random(seed)
    rules = Rules(
        num_agents=rng.randint(2, 8),
        screen_width=rng.randint(8, 20),
        scroll_period=rng.randint(1, 9),
        shot_cooldown=rng.randint(0, 3),
        bullet_speed=rng.randint(1, 3),
        bullets_per_agent=rng.randint(0, 2),
        on_death=rng.choice(["defeat", "continue"]),
    )
    g = Reference(random_map(rng, rules.num_agents), rules)
    kills = shots = 0
    while g.outcome is None:
        tick = g.step(rng.choices(range(6), weights=[2, 2, 1, 4, 2, 1], k=rules.num_agents))
        standing = [a.position for a in g.agents if a.status == "in play"]
        flying = [(b.row, b.column) for b in g.bullets]
        # Everything in play has a free tile of its own, on the screen; so has each bullet,
        # and bullets in one row are at least `bullet_speed` apart.
        for row, column in flying:
            near = {(row, column + n) for n in range(1, rules.bullet_speed)}
            assert not near & set(flying)
        assert len(set(standing + flying)) == len(standing) + len(flying)
        right = g.left + rules.screen_width
        for row, column in standing + flying:
            assert g.tiles[row][column] == "." and g.left <= column < min(right, g.length)
        assert g.door not in standing
        assert sum([g.key is not None, g.holder is not None, g.door_open]) == 1
        assert g.holder is None or g.alive(g.holder)
        # Nobody is ever hit by a bullet of its own: each death by a bullet is a team-mate's.
        kills += sum(t["friendly_kill"] for t in tick.terms)
        shots += sum(t["shot"] for t in tick.terms)
        assert kills == shots
        assert tick.ended == (g.outcome is not None) == (tick.cause is not None)
        for seat in range(rules.num_agents):
            assert set(tick.terms[seat]) == set(TERMS)
            assert all(-1.0 <= value <= 1.0 for value in g.global_state(seat))
            assert g.alive(seat) == (g.agents[seat].status == "in play")
    assert g.tick <= g.time_limit
