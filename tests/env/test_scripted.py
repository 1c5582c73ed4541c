"""The scripted team wins, the same way every time, with teams of any size."""

from __future__ import annotations

import numpy as np
import pytest

from env.pico_park import PicoPark, PicoParkConfig
from env.scripted import SHOOT, ScriptedTeam
from env.scripted_ground import Course, distance_layers

NUM_LEVELS = 40


def play(
    config: PicoParkConfig, num_levels: int = NUM_LEVELS, first_seed: int = 10_000
) -> list[np.void]:
    """The first episode on each of some held-out levels."""
    sim = PicoPark(num_levels, config)
    sim.reset(level_seeds=range(first_seed, first_seed + num_levels), held_out=True)
    team = ScriptedTeam(config.num_agents, config)
    playing = np.ones(num_levels, np.bool_)
    while playing.any():
        sim.step(team.actions(sim, playing))
        playing &= ~sim.terminated
    first = {int(episode["game"]): episode for episode in reversed(sim.episodes())}
    return [first[game] for game in range(num_levels)]


def play_map(text: str, **config: int) -> tuple[str, list[list[int]]]:
    """Plays a map by hand; the cause of its end, and the actions of every tick."""
    sim = PicoPark(1, PicoParkConfig(**config))
    sim.reset(maps=[text])
    team = ScriptedTeam(sim.num_agents, sim.config)
    history: list[list[int]] = []
    while not sim.terminated[0]:
        actions = team.actions(sim)
        history.append(actions[0].tolist())
        sim.step(actions)
    return sim.cause_names[sim.episodes()[0]["cause"]], history


def num_wins(episodes: list[np.void]) -> int:
    return sum(bool(episode["exits"] == episode["terms"].shape[0]) for episode in episodes)


@pytest.mark.parametrize(
    ("preset", "least"),
    [
        ("meadow", 39),
        ("gates", 39),
        ("curtains", 39),
        ("tunnels", 38),
        ("gauntlet", 34),
        ("lanes", 38),
    ],
)
def test_it_wins_held_out_levels(preset: str, least: int) -> None:
    assert num_wins(play(PicoParkConfig(preset=preset))) >= least


def test_it_wins_under_the_classic_rules_for_bullets() -> None:
    episodes = play(PicoParkConfig(preset="classic"), num_levels=20)
    assert num_wins(episodes) >= 19


@pytest.mark.parametrize("num_agents", [2, 8])
def test_it_leads_teams_of_other_sizes(num_agents: int) -> None:
    config = PicoParkConfig(preset="gates", num_agents=num_agents)
    assert num_wins(play(config, num_levels=20)) >= 19


def test_it_never_shoots_a_team_mate_nor_in_vain() -> None:
    episodes = play(PicoParkConfig(preset="tunnels"))
    assert sum(int(episode["friendly_kills"]) for episode in episodes) == 0
    assert sum(int(episode["foreign_blocks"]) for episode in episodes) == 0
    assert sum(int(episode["wasted_shots"]) for episode in episodes) == 0


def test_equal_levels_give_equal_histories() -> None:
    config = PicoParkConfig(preset="gauntlet")
    once, again = play(config, num_levels=10), play(config, num_levels=10)
    assert [episode.tobytes() for episode in once] == [episode.tobytes() for episode in again]


def test_the_batch_does_not_change_what_a_game_does() -> None:
    together = play(PicoParkConfig(), num_levels=4, first_seed=50)
    alone = [play(PicoParkConfig(), num_levels=1, first_seed=50 + i)[0] for i in range(4)]
    for one, other in zip(together, alone, strict=True):
        assert one["length"] == other["length"]
        assert np.array_equal(one["terms"], other["terms"])


def test_it_goes_on_into_the_next_level() -> None:
    sim = PicoPark(4, PicoParkConfig(preset="meadow"), seed=3)
    sim.reset()
    team = ScriptedTeam(4, sim.config)
    for _ in range(300):
        sim.step(team.actions(sim))
    episodes = list(sim.episodes())
    assert len(episodes) >= 12
    assert num_wins(episodes) >= len(episodes) - 1


def test_it_takes_over_a_game_in_the_middle() -> None:
    sim = PicoPark(8, PicoParkConfig(preset="gates"))
    sim.reset(level_seeds=range(8), held_out=True)
    first = ScriptedTeam(4, sim.config)
    for _ in range(25):
        sim.step(first.actions(sim))
    second = ScriptedTeam(4, sim.config)
    for _ in range(150):
        sim.step(second.actions(sim))
    assert num_wins(list(sim.episodes())[:8]) >= 7


def test_two_colours_in_one_lane() -> None:
    cause, history = play_map("0....#...\n1...abK.D\n.....#...\n", num_agents=2)
    assert cause == "victory"
    assert [sum(tick[seat] == SHOOT for tick in history) for seat in (0, 1)] == [1, 1]


def test_a_map_with_an_open_door_needs_no_key() -> None:
    cause, history = play_map("01...O.\n.......\n", num_agents=2)
    assert cause == "victory"
    assert len(history) <= 7


def test_lanes_prefer_free_gaps_and_meet_a_key_inside() -> None:
    free = Course("0..#.....\n1..aK...D\n...#.....\n......#..\n......#..\n")
    assert [obstacle.row for obstacle in free.obstacles] == [1, 1]
    walled = Course("0..#a#...\n1..aKa..D\n...bbb...\n")
    assert [(obstacle.first, obstacle.last, obstacle.row) for obstacle in walled.obstacles] == [
        (3, 5, 1)
    ]


def test_distance_layers_sort_neighbours_by_their_way() -> None:
    stride = 6  # two rows of five cells and their line breaks
    free = 0b011111_011111
    layers = distance_layers(1, 1 << 4, free, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 7, stride)
    assert layers == [1 << 2, 1 << 1, 1 << 0 | 1 << 7]
    assert distance_layers(1, 1 << 4, 0b000111, 1 << 0 | 1 << 2, stride) == []
