"""Stored episodes: paid anew under any weights, exactly; damage is refused in a sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.play import Games
from env.batch import Level
from env.errors import BadInputError
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from experiments import cli
from experiments.episodes import Episodes, find_episodes, load_episodes, returns, save_episodes
from experiments.evaluate import RandomActor, ScriptedActor, ledger, play_levels
from experiments.history import append_row

CONFIG = PicoParkConfig(preset="gates")
SEEDS = range(40)
ODD = PicoParkRewards(
    victory=1.7, crushed=-0.3, own_block=0.013, wasted_shot=-0.007, alive=0.0011, team_share=0.37
)
"""Weights that no float holds exactly."""
DYADIC = PicoParkRewards(
    victory=2.0, crushed=-0.5, shot=-0.25, friendly_kill=-0.75, key=0.5, exit=0.125,
    progress_key=2**-6, progress_unlock=2**-7, progress_follow=2**-5, progress_exit=2**-6,
    own_block=2**-4, foreign_block=-(2**-8), wasted_shot=-(2**-9), alive=2**-10, team_share=0.25,
)  # fmt: skip
"""Weights that the simulator's float32 adds up without rounding."""


@pytest.fixture(scope="module")
def games() -> Games:
    """Half of the actors know what they do."""
    known = play_levels(ScriptedActor(), CONFIG, SEEDS)
    lost = play_levels(RandomActor(seed=1), CONFIG, SEEDS)
    records = np.concatenate([known.records, lost.records])
    return Games(
        records=records,
        entropy=0.5,
        term_names=known.term_names,
        outcome_names=known.outcome_names,
        cause_names=known.cause_names,
    )


@pytest.fixture
def stored(games: Games, tmp_path: Path) -> Path:
    episodes = Episodes(games=games, config=CONFIG, rewards=PicoParkRewards(), env_steps=800)
    return save_episodes(tmp_path / "episodes" / "000000000800.npz", episodes)


def replayed(rewards: PicoParkRewards) -> tuple[Games, np.ndarray[Any, np.dtype[np.float64]]]:
    """The random team's games, played again under these weights, and what the simulator paid."""
    paid = np.zeros((len(SEEDS), 4))
    records = []
    actor = RandomActor(seed=1)
    sim = PicoPark(len(SEEDS), CONFIG, rewards, seed=0)
    sim.reset(levels=[Level(seed=seed, held_out=True) for seed in SEEDS])
    actor.start(sim, np.ones(len(SEEDS), np.bool_))
    playing = np.arange(len(SEEDS))
    while len(playing):
        actions = np.zeros((len(SEEDS), 4), np.int64)
        actions[playing] = actor.act(sim, playing)
        sim.step(actions)
        paid[playing] += sim.rewards[playing]
        ended = sim.terminated | sim.truncated
        records.append(sim.episodes())
        playing = playing[~ended[playing]]
    found = np.concatenate(records)
    first = [np.flatnonzero(found["game"] == game)[0] for game in range(len(SEEDS))]
    return (
        Games(
            records=found[first],
            entropy=0.0,
            term_names=sim.term_names,
            outcome_names=sim.outcome_names,
            cause_names=sim.cause_names,
        ),
        paid,
    )


def test_rescored_returns_are_those_of_the_same_games_under_those_weights(stored: Path) -> None:
    lost = load_episodes(stored).games
    again, _ = replayed(ODD)
    # The actor draws for games still playing, so its games are the same under any weights.
    other, _ = replayed(PicoParkRewards())
    assert (returns(again, ODD) == returns(other, ODD)).all()
    half = Games(
        records=lost.records[len(SEEDS) :],
        entropy=0.0,
        term_names=lost.term_names,
        outcome_names=lost.outcome_names,
        cause_names=lost.cause_names,
    )
    assert (half.records["terms"] == again.records["terms"]).all()
    assert (returns(half, ODD) == returns(again, ODD)).all()


def test_returns_are_what_the_simulator_paid() -> None:
    again, paid = replayed(DYADIC)
    assert (returns(again, DYADIC) == paid).all(), "exactly, where nothing is rounded"
    again, paid = replayed(ODD)
    assert returns(again, ODD) == pytest.approx(paid, abs=1e-4)


def test_a_return_depends_on_its_own_episode_alone(games: Games) -> None:
    whole = returns(games, ODD)
    for index in (0, 7, 79):
        one = Games(
            records=games.records[index : index + 1],
            entropy=0.0,
            term_names=games.term_names,
            outcome_names=games.outcome_names,
            cause_names=games.cause_names,
        )
        assert (returns(one, ODD)[0] == whole[index]).all()


def test_a_file_gives_back_what_was_stored(stored: Path, games: Games) -> None:
    found = load_episodes(stored)
    assert found.games.records.dtype == games.records.dtype
    assert (found.games.records == games.records).all()
    assert found.games.cause_names == games.cause_names and found.games.entropy == 0.5
    assert (found.config, found.rewards, found.env_steps) == (CONFIG, PicoParkRewards(), 800)
    assert stored.stat().st_size < 100 * len(games.records)


def test_the_ledger_adds_up_to_the_mean_return(games: Games) -> None:
    by_term = ledger(games, ODD)
    assert by_term["reward/return"] == pytest.approx(returns(games, ODD).mean())


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with other arrays, or other fields of its header."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays["header"]))
    header.update({name: value for name, value in changes.items() if name in header})
    arrays["header"] = np.array(json.dumps(header))
    arrays |= {name: value for name, value in changes.items() if name not in header}
    arrays = {name: value for name, value in arrays.items() if value is not None}
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format 99"),
        ({"game": "chess"}, "chess"),
        ({"term_names": ["victory"]}, "another version"),
        ({"config": {"preset": "nowhere"}}, "nowhere"),
        ({"rewards": {"victory": "all"}}, "victory is 'all'"),
        ({"record.cause": np.full(80, 77)}, "causes are none"),
        ({"record.terms": np.zeros((80, 2, 17), np.int64)}, "shape"),
        ({"record.length": np.zeros(80, np.float32)}, "float32"),
        ({"record.length": np.zeros(3, np.int64)}, "shape"),
        ({"record.terms": np.zeros((0, 4, 17), np.int64)}, "shape"),
        ({"record.terms": np.int64(3)}, "shape"),
        ({"cause_names": ["[/x]"] * 10}, "causes are not this game's"),
        ({"outcome_names": ["victory"]}, "outcomes are not this game's"),
        ({"record.level_seed": None}, "lacks level_seed"),
        ({"record.active_ticks": None, "record.cause": None}, "lacks .*cause"),
    ],
)
def test_what_makes_no_sense_is_refused(stored: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words) as raised:
        load_episodes(rewritten(stored, **changes))
    assert str(stored) in str(raised.value)


def test_wide_columns_stay_whole_numbers(games: Games, tmp_path: Path) -> None:
    records = games.records.copy()
    records["length"][:2] = [-1, 2**40]
    wide = Episodes(
        games=Games(
            records=records,
            entropy=0.5,
            term_names=games.term_names,
            outcome_names=games.outcome_names,
            cause_names=games.cause_names,
        ),
        config=CONFIG,
        rewards=ODD,
        env_steps=1,
    )
    found = load_episodes(save_episodes(tmp_path / "1.npz", wide))
    assert (found.games.records == records).all()


def test_of_trials_that_came_as_far_the_best_is_taken(stored: Path, tmp_path: Path) -> None:
    for name, objective in (("b", 0.4), ("c", 0.9), ("d", float("nan")), ("e", "high")):
        path = tmp_path / "sweep" / name / "episodes" / stored.name
        path.parent.mkdir(parents=True)
        path.write_bytes(stored.read_bytes())
        append_row(path.parent.parent, {"env_steps": 800, "eval/objective": objective})
    assert find_episodes(str(tmp_path / "sweep")).parent.parent.name == "c"


def test_nothing_in_a_file_is_executed(stored: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (stored.parent / "executed",))

    np.savez_compressed(stored, header=np.array([Bomb()], dtype=object))
    with pytest.raises(BadInputError, match="allow_pickle=False"):
        load_episodes(stored)
    assert not (stored.parent / "executed").exists()


def test_damage_is_a_sentence_or_changes_nothing(stored: Path, games: Games) -> None:
    whole = stored.read_bytes()
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        stored.write_bytes(damaged)
        try:
            found = load_episodes(stored)
        except BadInputError:
            num_refused += 1
        else:  # a time or a flag of the archive, which nobody reads
            assert (found.games.records == games.records).all()
    assert num_refused > 200


def test_the_newest_episodes_of_a_folder_are_found(stored: Path, tmp_path: Path) -> None:
    older = stored.with_name("000000000400.npz")
    older.write_bytes(stored.read_bytes())
    assert find_episodes(str(tmp_path)) == stored
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no episodes"):
        find_episodes(str(tmp_path / "empty"))


# -- the verb


def test_the_verb_pays_anew(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["rescore", str(stored), "--rewards.alive", "0.02", "--rewards.victory", "1"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "rewards.victory 2 -> 1; rewards.alive 0 -> 0.02" in shown
    assert cli.main([*words, "--json", "true"]) == 0
    found = json.load(io.StringIO(capsys.readouterr().out))
    assert found["num_episodes"] == 80 and 0.4 < found["win_rate"] < 0.6
    terms = found["terms"]
    assert terms["alive"]["trained"] == 0
    assert terms["alive"]["rescored"] == pytest.approx(0.02 * terms["alive"]["amount"])
    assert terms["victory"]["rescored"] == pytest.approx(terms["victory"]["trained"] / 2)
    assert sum(one["rescored"] for one in terms.values()) == pytest.approx(
        found["returns"]["rescored"]["all"]
    )


def test_the_verb_begins_with_named_weights(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["rescore", str(stored), "--preset", "blog"]) == 0
    assert "rewards.victory 2 -> 1" in capsys.readouterr().out
    assert cli.main(["rescore", str(stored), "--preset", "other"]) == 2
    assert "other" in capsys.readouterr().err
    assert cli.main(["rescore", str(stored)]) == 0
    assert "as trained" in capsys.readouterr().out


def test_a_folders_name_is_no_markup(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "[b]x[" / "i]"
    odd.mkdir(parents=True)
    path = odd / stored.name
    path.write_bytes(stored.read_bytes())
    assert cli.main(["rescore", str(path)]) == 0
    assert "[b]x[/i]" in capsys.readouterr().out


def test_a_flag_without_its_value_is_one_sentence(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["rescore", str(stored), "--preset"]) == 2
    assert capsys.readouterr().err == "clowder: --preset lacks its value; give one.\n"
