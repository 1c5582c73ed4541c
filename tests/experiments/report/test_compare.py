"""Two runs beside each other: levels are paired, money is crossed, games are played."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from env.errors import BadInputError
from env.pico_park import PicoParkConfig
from env.replay import load
from experiments import cli
from experiments import recipe as recipes
from experiments.compare_cli import write_comparison
from experiments.episodes import Episodes, load_episodes, returns, save_episodes
from experiments.evaluate import play_levels, success_metrics
from experiments.history import append_row
from experiments.recipes import find_recipe
from experiments.replays import choose, make_replays, save_replays
from experiments.report.comparing import compare
from experiments.statistics import paired_share_difference, wilson
from experiments.study import note_trial
from tests.experiments.report.synthetic import SMALL, Noisy
from tests.experiments.report.test_report import EVIL, read

NUM_LEVELS = 60


def make_run(
    folder: Path,
    noise: float,
    *,
    config: PicoParkConfig = SMALL,
    first: int = 0,
    changes: Mapping[str, Any] | None = None,
    varied: Mapping[str, Any] | None = None,
) -> Path:
    """A trial's folder with the games of a team that errs so often."""
    recipe = recipes.replace(
        dataclasses.replace(find_recipe("smoke"), env=config), dict(changes or {})
    )
    seeds = range(first, first + NUM_LEVELS)
    games = play_levels(Noisy(noise, None, 1), config, seeds, keep_tracks=True)
    folder.mkdir(parents=True)
    note_trial(folder, folder.name, dict(varied or {}), recipe)
    name = "000000001024"
    episodes = Episodes(games=games, config=config, rewards=recipe.rewards, env_steps=1024)
    save_episodes(folder / "episodes" / f"{name}.npz", episodes)
    made = make_replays(games, choose(games), config, recipe.rewards, seeds)
    save_replays(made, folder / "replays" / name)
    for steps, share in ((512, 0.5), (1024, 1.0)):
        success = {key: share * value for key, value in success_metrics(games).items()}
        row = {"env_steps": steps, "time_total_s": 0.01 * steps, "done": steps == 1024}
        append_row(folder, row | success)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("runs")
    good = make_run(root / "good", 0.1, changes={"rewards.alive": 0.01}, varied={"a": 1})
    return good, make_run(root / "bad", 0.5, varied={"a": 2})


def games_of(folder: Path) -> Episodes:
    return load_episodes(next(folder.glob("episodes/*.npz")))


def test_win_rates_are_paired_by_level(runs: tuple[Path, Path]) -> None:
    found = compare(*map(str, runs))
    wins = [games_of(one).games.wins for one in runs]
    for run, won in zip(found.runs, wins, strict=True):
        bounds = wilson(int(won.sum()), NUM_LEVELS)
        assert (run.win_rate.value, run.win_rate.low, run.win_rate.high) == (won.mean(), *bounds)
    assert found.difference == paired_share_difference(*wins)
    assert found.num_common == NUM_LEVELS and found.is_clear
    assert found.counts == {
        "both": int((wins[0] & wins[1]).sum()),
        "first": int((wins[0] & ~wins[1]).sum()),
        "second": int((~wins[0] & wins[1]).sum()),
        "neither": int((~wins[0] & ~wins[1]).sum()),
    }
    assert "on the same levels." in found.verdict


def test_levels_apart_are_all_there_with_what_was_kept(runs: tuple[Path, Path]) -> None:
    found = compare(*map(str, runs))
    records = [games_of(one).games for one in runs]
    apart = np.flatnonzero(records[0].wins != records[1].wins)
    assert sorted(one.seed for one in found.levels) == apart.tolist()
    for level in found.levels:
        for games, ending, length in zip(records, level.endings, level.lengths, strict=True):
            record = games.records[level.seed]
            assert ending == games.cause_names[record["cause"]] and length == record["length"]
        for folder, path, ending in zip(runs, level.replays, level.endings, strict=True):
            if path is not None:
                assert path.is_relative_to(folder)
                replay = load(path)
                assert replay.level.seed == level.seed and replay.record["cause"] == ending
    assert any(one.replays[0] or one.replays[1] for one in found.levels)


def test_levels_are_paired_by_seed_not_by_place(runs: tuple[Path, Path], tmp_path: Path) -> None:
    later = make_run(tmp_path / "later", 0.1, first=20)
    found = compare(str(runs[1]), str(later))
    assert found.num_common == NUM_LEVELS - 20
    wins = games_of(runs[1]).games.wins[20:], games_of(later).games.wins[:-20]
    assert found.difference == paired_share_difference(*wins)
    far = make_run(tmp_path / "far", 0.1, first=500)
    apart = compare(str(runs[1]), str(far))
    assert apart.difference is None and "no held-out level in common" in apart.verdict


def test_different_games_are_not_paired(runs: tuple[Path, Path], tmp_path: Path) -> None:
    longer = make_run(
        tmp_path / "longer", 0.1, config=dataclasses.replace(SMALL, length=20), varied={"a": 3}
    )
    found = compare(str(runs[0]), str(longer))
    assert found.difference is None and not found.levels
    assert "they play different games: no difference can be told" in found.verdict
    assert found.changes["env.length"] == (18, 20)
    page = write_comparison(found, tmp_path / "page").read_text()
    assert "Levels that one wins" not in page


def test_games_are_paid_under_both_weights(runs: tuple[Path, Path]) -> None:
    found = compare(*map(str, runs))
    episodes = [games_of(one) for one in runs]
    expected = [[returns(of.games, by.rewards).mean() for by in episodes] for of in episodes]
    assert np.array(found.returns()) == pytest.approx(np.array(expected))
    ledgers = found.ledgers()
    assert sum(row[2] for row in ledgers.values()) == pytest.approx(expected[0][0])
    assert sum(row[3] for row in ledgers.values()) == pytest.approx(expected[1][1])
    alive = episodes[0].games.records["terms"][..., episodes[0].games.term_names.index("alive")]
    assert ledgers["alive"][:2] == pytest.approx(
        (alive.mean(), found.runs[1].episodes.games.records["terms"][..., -1].mean())
    )
    assert found.changes == {"rewards.alive": (0.01, 0.0)}


def test_without_a_trials_folder_the_episodes_will_do(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bare" / "episodes"
    bare.mkdir(parents=True)
    (bare / "000000001024.npz").write_bytes(next(runs[1].glob("episodes/*.npz")).read_bytes())
    found = compare(str(runs[0]), str(bare.parent))
    assert found.runs[1].name == "bare" and found.runs[1].trial is None
    assert found.changes == {"rewards.alive": (0.01, 0.0)}
    assert write_comparison(found, tmp_path / "page").exists()


def test_the_page_sets_them_side_by_side(runs: tuple[Path, Path], tmp_path: Path) -> None:
    found = compare(*map(str, runs))
    path = write_comparison(found, tmp_path)
    page = read(path)
    for text in (
        found.verdict, "a=1 s0", "a=2 s0", "Levels that one wins and the other loses",
        "What they do", "Under each other's weights", "Settings that differ", "While training",
    ):  # fmt: skip
        assert text in page.text
    assert (tmp_path / "curves.png").exists()
    games = page.data["games"]
    assert games and len(page.buttons("levels")) == len(games)
    for game in games:
        played = json.loads(zlib.decompress(base64.b64decode(game["packed"])))
        assert int(played["level"]["seed"]) in [one.seed for one in found.levels]


def test_names_come_from_strangers(tmp_path: Path) -> None:
    evil = [
        make_run(tmp_path / name, noise, varied={"variant": EVIL})
        for name, noise in (("one", 0.1), ("two", 0.5))
    ]
    found = compare(*map(str, evil))
    assert len({one.name for one in found.runs}) == 2
    page = read(write_comparison(found, tmp_path / "page"))
    names = [name for name, _ in page.tags]
    assert names.count("script") == 2 and "img" not in names


# -- the verb


def test_the_verb_prints_a_table_and_writes_a_page(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(one) for one in runs]
    assert cli.main(["compare", *names, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for text in ("A wins", "win rate", "under the other's weights", "rewards.alive: 0.01 and 0.0"):
        assert text in shown
    assert shown.endswith(f"page      {tmp_path / 'compare.html'}\n")
    before = len(list(tmp_path.iterdir()))
    assert cli.main(["compare", *names, "--show", "terminal"]) == 0
    assert "page" not in capsys.readouterr().out and len(list(tmp_path.iterdir())) == before
    assert cli.main(["compare", *names, "--show", "terminal", "--json", "true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_common_levels"] == NUM_LEVELS
    wins = [games_of(one).games.wins for one in runs]
    assert found["only_first"] == np.flatnonzero(wins[0] & ~wins[1]).tolist()
    assert found["only_second"] == np.flatnonzero(~wins[0] & wins[1]).tolist()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{0}"], "name a second one"),
        (["{0}", "--show", "file"], "name a second one"),
        (["{0}", "{0}"], "are the same run"),
        (["{0}", "pico_park"], "there are no episodes"),
        (["{0}", "{1}", "--show", "wall"], "unknown --show 'wall'"),
        (["{0}", "{1}", "{1}"], "belongs to no flag"),
    ],
)
def test_mistakes_are_one_sentence(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    assert cli.main(["compare", *(one.format(*runs) for one in words)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and reason in err and err.count("\n") == 1


def test_a_run_without_games_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no episodes"):
        compare(str(runs[0]), str(tmp_path))
