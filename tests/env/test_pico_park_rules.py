"""The rule book, case by case, on maps by hand. The random comparison is in
test_against_reference.py; these are the cases that have a name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env import BadInputError, Level, PicoPark, PicoParkConfig, PicoParkRewards

UP, DOWN, LEFT, RIGHT, SHOOT, IDLE = range(6)


def game(text: str, **config: Any) -> PicoPark:
    lines = [line.strip() for line in text.strip().splitlines()]
    agents = sum(c.isdigit() for line in lines for c in line)
    settings = {"num_agents": agents, "scroll_period": 100, "preset": "gates", **config}
    sim = PicoPark(1, PicoParkConfig(**settings), seed=0)
    sim.reset(maps=["\n".join(lines)])
    return sim


def step(sim: PicoPark, *actions: int) -> None:
    sim.step(np.array([actions]))


def term(sim: PicoPark, name: str) -> list[float]:
    return sim.terms[0, :, sim.term_names.index(name)].tolist()


def cause(sim: PicoPark) -> str:
    return sim.cause_names[sim.episodes()[-1]["cause"]]


# -- defects of the game's first implementation, which agents found and used


def test_a_shot_next_to_a_foreign_block_does_not_pass_it() -> None:
    sim = game("0ba....KD\n1........")
    step(sim, SHOOT, IDLE)
    assert sim.text(0).startswith("0ba....KD")
    assert term(sim, "foreign_block") == [1, 0]


def test_a_shot_next_to_a_team_mate_hits_it() -> None:
    sim = game("01.....KD")
    step(sim, SHOOT, IDLE)
    assert term(sim, "friendly_kill") == [1, 0] and term(sim, "shot") == [0, 1]
    assert sim.terminated[0] and cause(sim) == "shot"


def test_a_team_mate_stepping_left_does_not_swap_places_with_a_bullet() -> None:
    # Seat 1 acts after seat 0 in tick 1: the bullet stands at column 1 when it steps there.
    sim = game("0.1....KD")
    step(sim, SHOOT, LEFT)
    assert term(sim, "shot") == [0, 1] and cause(sim) == "shot"


def test_a_team_mate_stepping_left_into_a_bullet_in_flight_is_hit() -> None:
    sim = game("0....1...KD", bullet_speed=1)
    step(sim, SHOOT, IDLE)  # the bullet ends the tick at column 2
    step(sim, IDLE, LEFT)  # seat 1 at 4, bullet at 3
    step(sim, IDLE, LEFT)  # seat 1 steps onto 3
    assert term(sim, "shot") == [0, 1]


def test_the_view_has_exactly_its_rows_and_leaves_its_neighbours_alone() -> None:
    rows = ["." * 40 for _ in range(30)]
    rows[29] = "b" * 40
    rows[15] = "0" + "." * 37 + "KD"
    rows[16] = "1" + "." * 39
    sim = game("\n".join(rows))
    grid = sim.grid[0, 0]
    assert grid.shape == (5, 14, 25)
    assert grid[2].sum() == 0  # the row of blocks is 14 below: outside the 6 that are seen
    assert grid[1].sum() == 0 and grid[0][:, 12:].sum() == 0 and grid[0][:, :12].all()


def test_the_last_agents_view_at_the_bottom_right_corner_reads_wall() -> None:
    rows = ["." * 6 for _ in range(5)]
    rows[0] = "0KD..."
    rows[4] = ".....1"
    sim = game("\n".join(rows))
    solid = sim.grid[0, 1, 0]
    assert solid[8:].all() and solid[:, 13:].all()
    assert not solid[3:8, 7:13].any()


def test_no_cap_on_the_number_of_blocks() -> None:
    rows = ["0" + "ab" * 200 + "KD.", "1" + "ba" * 200 + "..."] + ["ab" * 200 + "...."] * 30
    sim = game("\n".join(rows))
    text = sim.text(0)
    assert sum(text.count(c) for c in "ab") == 64 * 200


def test_flags_are_ones_and_categories_are_small_numbers() -> None:
    sim = game("0a1bK.D\n......2\nc......", on_death="continue")
    grid = sim.grid[0, 0]
    assert set(np.unique(grid[0])) == {0, 1} and grid[1].max() == 1
    assert grid[2].max() == 2 and grid[3].max() == 2
    assert sorted(set(np.unique(grid[4]))) == [0, 2, 3]


def test_games_have_streams_of_their_own() -> None:
    sim = PicoPark(16, seed=3)
    sim.reset()
    first = sim.text(5)
    alone = PicoPark(16, seed=3)
    alone.reset()
    for _ in range(50):  # other games' ends must not change game 5's next levels
        alone.queue_levels(0, [])
    assert alone.text(5) == first
    assert len({sim.text(i) for i in range(16)}) == 16


# -- order of a tick


def test_acting_order_rotates() -> None:
    for ticks in range(3):
        sim = game("0.1....KD\n2........", on_death="continue")
        for _ in range(ticks):
            step(sim, IDLE, IDLE, IDLE)
        step(sim, RIGHT, LEFT, IDLE)
        first = [0, 1, 2][ticks]
        middle = sim.text(0)[1]
        assert middle == ("1" if first == 1 else "0")


def test_shots_follow_the_cooldown() -> None:
    sim = game("0..........................KD\n1............................")
    shots = []
    for _ in range(8):
        before = sim.text(0).count("-")
        step(sim, SHOOT, IDLE)
        shots.append(sim.text(0).count("-") > before)
    assert shots[:7] == [True, False, False, True, False, False, True]


def test_bullets_per_agent_limits_those_in_the_air() -> None:
    sim = game(
        "0....................KD\n1......................",
        bullets_per_agent=1, bullet_speed=1, shot_cooldown=0,
    )  # fmt: skip
    for _ in range(3):
        step(sim, SHOOT, IDLE)
    assert sim.text(0).count("-") == 1


def test_who_moves_into_a_bullet_dies_before_taking_the_key() -> None:
    sim = game("0..K1.....D", bullet_speed=1, on_death="continue")
    step(sim, SHOOT, IDLE)  # bullet at 2
    step(sim, IDLE, IDLE)  # bullet at 3, on the key
    step(sim, IDLE, LEFT)
    assert term(sim, "shot") == [0, 1] and term(sim, "key") == [0, 0]
    assert sim.text(0)[3] == "K"


def test_a_dead_holder_drops_the_key_where_it_stood() -> None:
    sim = game("0.K1......D", on_death="continue")
    step(sim, IDLE, LEFT)
    assert term(sim, "key") == [0, 1]
    step(sim, SHOOT, IDLE)
    assert sim.text(0)[2] == "K" and not sim.alive[0, 1]


def test_the_holder_opens_the_door_and_leaves_in_one_move() -> None:
    sim = game("K0D\n1..")
    step(sim, LEFT, IDLE)
    step(sim, RIGHT, IDLE)
    step(sim, RIGHT, UP)
    assert term(sim, "unlock") == [1, 0] and term(sim, "exit") == [1, 0]
    assert "O" in sim.text(0) and "K" not in sim.text(0)
    step(sim, IDLE, RIGHT)
    step(sim, IDLE, RIGHT)
    assert sim.terminated[0] and cause(sim) == "victory"


def test_a_shut_door_is_closed_to_others_and_an_open_one_is_not() -> None:
    sim = game("0D.\n1.K")
    step(sim, RIGHT, IDLE)
    assert sim.text(0).startswith("0D")
    sim = game("0O\n1.")
    step(sim, RIGHT, IDLE)
    assert sim.alive[0].tolist() == [False, True]


def test_the_doors_tile_is_safe() -> None:
    sim = game("0.O1", bullet_speed=1, on_death="continue")
    step(sim, SHOOT, IDLE)  # bullet in the door's tile
    assert sim.text(0)[2] == "-"
    step(sim, IDLE, LEFT)
    assert term(sim, "exit") == [0, 1] and term(sim, "shot") == [0, 0]


def test_the_screen_crushes_and_the_clock_ends() -> None:
    sim = game("0" + "." * 28 + "KD\n.1" + "." * 29, scroll_period=2, on_death="continue")
    step(sim, IDLE, IDLE)
    step(sim, IDLE, IDLE)
    assert term(sim, "crushed") == [1, 0] and sim.alive[0].tolist() == [False, True]
    sim = game("0.K\n1.D", time_limit=3)
    for _ in range(3):
        step(sim, IDLE, IDLE)
    assert sim.terminated[0] and not sim.truncated[0] and cause(sim) == "time"
    assert term(sim, "stranded") == [1, 1] and term(sim, "defeat") == [1, 1]


def test_key_and_door_can_be_lost() -> None:
    far = "." * 28
    sim = game(f"K.0{far}D\n..1{far}.", scroll_period=1)
    for _ in range(3):
        step(sim, RIGHT, RIGHT)
        if sim.terminated[0]:
            break
    assert cause(sim) == "key_lost"
    sim = game(f"D.0{far}K\n..1{far}.", scroll_period=1)
    step(sim, RIGHT, RIGHT)
    assert sim.terminated[0] and cause(sim) == "door_lost"


def test_victory_pays_everyone_first_out_and_last_out_alike() -> None:
    rewards = PicoParkRewards(victory=2, exit=0.5, progress_exit=0, team_share=0)
    sim = PicoPark(1, PicoParkConfig(num_agents=2, preset="gates"), rewards, seed=0)
    sim.reset(maps=["0O..1"])
    totals = np.zeros(2)
    for actions in ([RIGHT, LEFT], [IDLE, LEFT], [IDLE, LEFT]):
        sim.step(np.array([actions]))
        totals += sim.rewards[0]
    assert sim.terminated[0]
    np.testing.assert_allclose(totals, [2.5, 2.5])


def test_progress_is_measured_to_the_objective_of_the_ticks_beginning() -> None:
    sim = game("0K..D\n1....")
    step(sim, RIGHT, IDLE)
    assert term(sim, "progress_key") == [1, 0]
    step(sim, RIGHT, RIGHT)
    assert term(sim, "progress_unlock") == [1, 0] and term(sim, "progress_follow") == [0, 1]


def test_team_share_spreads_over_waiting_ones_too() -> None:
    rewards = PicoParkRewards(team_share=1.0, progress_exit=0.0, exit=1.0)
    sim = PicoPark(1, PicoParkConfig(num_agents=2, preset="gates"), rewards, seed=0)
    sim.reset(maps=["0O..1"])
    sim.step(np.array([[RIGHT, IDLE]]))
    np.testing.assert_allclose(sim.rewards[0], [0.5, 0.5])


def test_waiting_agents_see_almost_nothing() -> None:
    sim = game("0O...\n....1")
    step(sim, RIGHT, IDLE)
    assert not sim.alive[0, 0] and sim.grid[0, 0].sum() == 0
    expected = np.zeros(11, np.float32)
    expected[6], expected[10] = 1, 0.5
    np.testing.assert_array_equal(sim.global_state[0, 0], expected)


def test_globals_by_hand() -> None:
    sim = game("0...\n1..K\n...D", scroll_period=8)
    step(sim, SHOOT, RIGHT)
    np.testing.assert_allclose(
        sim.global_state[0, 1],
        [1 / 25, 1 / 3, 1 / 8, 1 / 8, 0, 0, 0, 2 / 25, 0, 0, 0],
        rtol=1e-6,
    )
    assert sim.global_state[0, 0, 9] == np.float32(2 / 3)


# -- maps


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("01KK.D", "row 0, column 3 .*second key"),
        ("01K.DD", "second door"),
        ("01K...", "no door"),
        ("01...D", "no key"),
        ("01K..O", "open already"),
        ("0.K..D", "has 1 agents, but num_agents is 2"),
        ("00K..D", "stands on the map twice"),
        ("02K..D", "without gaps"),
        ("01K..D\n...", "row 1, column 3 .*first row is longer"),
        ("01K..D\n.......", "row 1, column 6 .*first row is shorter"),
        ("01KcaD", "row 0, column 3 .*nobody has this block's colour"),
        ("01K?.D", "row 0, column 3 .*none of"),
        ("01-K.D", "none of"),
        ("0" + "." * 24 + "1KD", "first screen"),
        ("", "empty"),
        ("\n".join(["01KD"] + ["...."] * 64), "65 rows"),
    ],
)
def test_bad_maps_are_refused_with_place_and_reason(text: str, reason: str) -> None:
    sim = PicoPark(1, PicoParkConfig(num_agents=2), seed=0)
    sim.reset()
    before = sim.state_hash(0)
    with pytest.raises(BadInputError, match=reason):
        sim.reset(maps=[text])
    assert sim.state_hash(0) == before


def test_a_map_prints_as_it_was_written() -> None:
    text = "0.a#.....K\n1..b....D."
    sim = game(text)
    assert sim.text(0) == text + "\n"


# -- configs and rewards


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"num_agents": 1}, "num_agents is 1; it must lie between 2 and 8"),
        ({"num_agents": 9}, "num_agents is 9"),
        ({"num_agents": 4.0}, "whole number"),
        ({"height": 65}, "height is 65"),
        ({"scroll_period": 0}, "scroll_period is 0"),
        ({"bullet_speed": 0}, "bullet_speed is 0"),
        ({"preset": "tunels"}, "did you mean 'tunnels'"),
        ({"on_death": "retry"}, "unknown on_death"),
        ({"gap_min": 3, "gap_max": 2}, "gap_max is 2"),
        ({"share_open": -1}, "share_open is -1"),
        ({"length": 1 << 40}, "beyond 32 bits"),
    ],
)
def test_configs_refuse_nonsense_in_one_sentence(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        PicoParkConfig(**settings)


def test_a_difficulty_that_cannot_be_met_is_refused() -> None:
    config = PicoParkConfig(
        preset="tunnels", share_open=1, share_gate=0, share_curtain=0, share_tunnel=0
    )
    with pytest.raises(BadInputError, match="no level of this difficulty"):
        PicoPark(1, config)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf"), 1e30, True, "1"])
def test_weights_must_be_finite_numbers(weight: Any) -> None:
    with pytest.raises(BadInputError, match=r"rewards\.own_block"):
        PicoParkRewards(own_block=weight)


def test_team_share_must_be_a_share() -> None:
    with pytest.raises(BadInputError, match="team_share"):
        PicoParkRewards(team_share=1.5)


def test_reward_terms_are_the_c_codes_terms() -> None:
    assert PicoParkRewards.terms() == PicoPark(1, seed=0).term_names


def test_blog_preset_says_what_the_first_author_ended_with() -> None:
    blog = PicoParkRewards.preset("blog")
    assert (blog.victory, blog.stranded, blog.wasted_shot, blog.team_share) == (1, -0.5, -0.02, 0)
    with pytest.raises(BadInputError, match="did you mean 'blog'"):
        PicoParkRewards.preset("blogg")


def test_weights_never_change_the_game() -> None:
    actions = np.random.default_rng(0).integers(0, 6, (100, 4, 4))
    sims = [PicoPark(4, seed=1), PicoPark(4, rewards=PicoParkRewards(own_block=5.0), seed=1)]
    for sim in sims:
        sim.reset()
    for row in actions:
        for sim in sims:
            sim.step(row)
        hashes = [[sim.state_hash(i) for i in range(4)] for sim in sims]
        assert hashes[0] == hashes[1]


def test_overrides_may_spoil_presets_that_nobody_asks_for() -> None:
    sim = PicoPark(1, PicoParkConfig(preset="gauntlet", gap_max=1), seed=0)
    sim.reset()
    before = sim.state_hash(0)
    with pytest.raises(BadInputError, match="gap_max is 1; it must lie between 4 and 64"):
        sim.queue_levels(0, [Level(difficulty="meadow")])
    with pytest.raises(BadInputError, match="gap_max is 1"):
        sim.reset(levels=[Level(difficulty="meadow")])
    assert sim.state_hash(0) == before


def test_refused_actions_are_named_with_their_own_value() -> None:
    sim = PicoPark(2, seed=0)
    sim.reset()
    for value in (-7, 6, 1 << 40):
        actions = np.zeros((2, 4), np.int64)
        actions[1, 2] = value
        with pytest.raises(BadInputError, match=rf"env 1, agent 2: action {value} is not one"):
            sim.step(actions)


@pytest.mark.parametrize(
    "fields",
    [{"seed": 1.5}, {"difficulty": 2.7}, {"difficulty": -1}, {"seed": -1}, {"seed": 1 << 63},
     {"map": "01KD", "seed": 1}, {"map": "01KD", "held_out": True},
     {"map": "01KD", "difficulty": 1}],
)  # fmt: skip
def test_levels_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        Level(**fields)


def test_levels_take_numpys_integers() -> None:
    sim = PicoPark(1, seed=0)
    sim.reset(levels=[Level(seed=np.int64(5), held_out=True)])  # type: ignore[arg-type]
    assert sim.level(0).seed == 5 and sim.level(0).held_out
