"""The report as files: a page that needs nothing, plays what it says, and names what went wrong."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shlex
import shutil
import zlib
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

import experiments.report
from env.errors import BadInputError
from env.player import page_data
from env.replay import load
from experiments import cli
from experiments import recipe as recipes
from experiments.recipes import find_recipe
from experiments.report import Report, make_report
from experiments.report.head import command
from experiments.report.markup import Markup, join, tag
from experiments.report.page import MAX_PAGE_BYTES
from experiments.report.watching import MAX_GAMES
from experiments.study import load_study
from tests.experiments.report.conftest import BLOCKS
from tests.experiments.report.synthetic import Outcome, Pool, make_study, random_search

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'&amp; $\\frac{ @DATA@ \u2028."


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, its text, its buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attrs)))
        self._inside = name

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            if self._inside == "script" and data.strip():
                self.scripts.append(data)
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

    def buttons(self, section: str) -> list[int]:
        """The games of a section's buttons, in its order."""
        places = [i for i, (name, attrs) in enumerate(self.tags) if name == "section"]
        start = next(i for i in places if self.tags[i][1].get("id") == section)
        end = next((i for i in places if i > start), len(self.tags))
        return [
            int(attrs["data-game"] or 0)
            for _, attrs in self.tags[start:end]
            if "data-game" in attrs
        ]


def read(page: Path) -> Reader:
    return Reader(page.read_text())


def trial_of(game: Mapping[str, Any]) -> Path:
    """Folder of the trial that played it."""
    return Path(game["path"]).parents[2]


def config_of(game: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trial_of(game) / "trial.json").read_text())["config"]
    return found


@pytest.fixture(scope="module")
def report(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return make_report(load_study(str(grid)), tmp_path_factory.mktemp("report"))


# -- the page


def test_the_page_needs_nothing_else(report: Report) -> None:
    page = report.page.read_text()
    assert len(page.encode()) < MAX_PAGE_BYTES
    # The player's own page, which is packed, is held to the same by its own test.
    for word in ("http:", "https:", "//", "fetch(", "localStorage", "@import", "url(http"):
        outside = re.sub(r'"(packed|player)":"[^"]*"|data:image/png;base64,[^"]*', "", page)
        assert word not in re.sub(r"^\s*//.*$", "", outside, flags=re.M), word
    for name, attrs in read(report.page).tags:
        assert "src" not in attrs, name
        link = attrs.get("href") or "#"
        assert link.startswith(("#", "data:image/png")), (name, link)


def test_figures_and_tables_lie_beside_it(report: Report) -> None:
    names = {one.name for one in report.page.parent.iterdir()}
    figures = {one for one in names if one.endswith(".png")}
    assert figures >= {
        "importance.png", "ranking.png", "curves.png", "profiles.png", "improvement.png",
        "pareto.png", "ledger.png", "ledger-training.png", "rescoring.png",
        "response-1-rewards.own_block.png", "response-2-rewards.alive.png",
    }  # fmt: skip
    assert names - figures == {"report.html", "trials.csv", "marl_eval.json"}
    for name in figures:
        with Image.open(report.page.parent / name) as image:
            assert image.width > 600 and image.height > 100


def test_which_weight_matters_stands_at_the_top(report: Report) -> None:
    text = read(report.page).text
    assert "6 variants with 3 seeds" in text and "40 held-out levels" in text
    assert "rewards.own_block matters most: it explains" in text
    assert text.index("Which weight matters") < text.index("What the cats do at each value")
    assert report.summary["fields"][0]["name"] == "rewards.own_block"


def test_the_second_click_plays_what_cats_do_at_the_wrong_value(report: Report) -> None:
    page = read(report.page)
    game = page.data["games"][page.buttons("matter")[0]]
    assert config_of(game)["rewards.own_block"] == 0
    played = json.loads(zlib.decompress(base64.b64decode(game["packed"])))
    replay = load(Path(game["path"]))
    assert played == json.loads(json.dumps(page_data(replay) | {"title": game["title"]}))
    assert played["record"]["cause"] == "time", "as most games end there"


def test_every_bin_has_a_game_of_its_own(report: Report) -> None:
    page = read(report.page)
    games = [page.data["games"][i] for i in page.buttons("along")]
    blocks = [config_of(one)["rewards.own_block"] for one in games]
    assert set(blocks) == set(BLOCKS)
    firsts = [block for i, block in enumerate(blocks) if block not in blocks[:i]]
    assert firsts == list(BLOCKS), "in the order of the bins"
    assert len(page.data["games"]) <= MAX_GAMES


def test_a_typical_game_is_one_of_a_trial_near_the_middle(grid: Path, report: Report) -> None:
    page = read(report.page)
    game = page.data["games"][page.buttons("matter")[0]]
    trials = [one for one in load_study(str(grid)).trials if one.config["rewards.own_block"] == 0]
    rates = sorted(one.final["eval/win_rate"] for one in trials)
    (mine,) = (one for one in trials if one.folder == trial_of(game))
    assert mine.final["eval/win_rate"] == rates[(len(rates) - 1) // 2]


def test_the_ranking_has_a_row_a_variant(report: Report) -> None:
    ranking = read(report.page).data["ranking"]
    rows = ranking["rows"]
    assert [one["rank"] for one in rows] == [1, 2, 3, 4, 5, 6]
    assert all(len(one["cells"]) == len(ranking["heads"]) - 5 for one in rows)
    assert [one["name"] for one in rows] == [one["variant"] for one in report.summary["ranking"]]
    assert all(len(one["seeds"]) == 3 for one in rows)


def test_the_same_study_gives_the_same_page(grid: Path, report: Report, tmp_path: Path) -> None:
    again = make_report(load_study(str(grid)), tmp_path)
    assert again.page.read_text() == report.page.read_text()


# -- what went wrong


def test_failed_and_unfinished_trials_are_named(pool: Pool, tmp_path: Path) -> None:
    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        if index == 2:
            return Outcome(win_rate=0.2, is_done=False, error="its runners crashed 3 times.")
        return Outcome(win_rate=0.2 * index, is_done=index != 3)

    configs = [{"rewards.own_block": 0.02 * i} for i in range(5)]
    folder = make_study(tmp_path, pool, configs, come_to, is_finished=False)
    made = make_report(load_study(str(folder)))
    assert made.page == folder / "report" / "report.html"
    text = read(made.page).text
    assert "This study is not finished: 3 of 5 trials are done. Only those are compared." in text
    assert "Failed: own_block=0.04 s0: its runners crashed 3 times." in text
    assert "Left out, as they aren't done: own_block=0.06 s0 at 512 env steps." in text
    rows = list(csv.DictReader(io.StringIO(made.csv)))
    assert [one["state"] for one in rows] == ["done", "done", "failed", "unfinished", "done"]


def test_hacked_rewards_are_quoted_and_shown(pool: Pool, tmp_path: Path) -> None:
    verdicts = ("no", "the return rises by alive; see time-typical", "no longer, since 9; by alive")

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        return Outcome(win_rate=0.3, hacked=verdicts[index])

    configs = [{"rewards.own_block": 0.02 * i} for i in range(3)]
    page = read(make_report(load_study(str(make_study(tmp_path, pool, configs, come_to)))).page)
    assert "Hacked reward? On 1 of 3 trials, and no longer on 1." in page.text
    assert "own_block=0.02 s0 : the return rises by alive; see time-typical" in page.text
    first = next(attrs for _, attrs in page.tags if "data-game" in attrs)
    game = page.data["games"][int(first["data-game"] or 0)]
    assert Path(game["path"]).name == "time-typical.replay"
    assert config_of(game) == configs[1]
    flags = {one["name"]: one["hacked"] for one in page.data["ranking"]["rows"]}
    assert flags == {"own_block=0": "", "own_block=0.02": "yes", "own_block=0.04": "no longer"}


def test_the_button_of_a_verdict_plays_the_evaluation_that_it_is_of(
    pool: Pool, tmp_path: Path
) -> None:
    verdict = "the return rises by alive; see time-typical at {:,} env steps"
    steps = (1024, 512)
    folder = make_study(
        tmp_path,
        pool,
        [{"rewards.own_block": 0.02 * i} for i in range(2)],
        lambda config, i: Outcome(win_rate=0.3, hacked=verdict.format(steps[i])),
    )
    for last in folder.glob("*/replays/000000001024"):
        shutil.copytree(last, last.with_name("000000000512"))
    page = read(make_report(load_study(str(folder))).page)
    paths = [Path(one["path"]) for one in page.data["games"]]
    shown = [paths[int(attrs["data-game"] or 0)] for _, attrs in page.tags if "data-game" in attrs]
    names = {(one.parent.name, one.name) for one in shown[:2]}
    assert names == {(f"{one:012d}", "time-typical.replay") for one in steps}


def test_damaged_replays_and_episodes_are_left_out(pool: Pool, tmp_path: Path) -> None:
    configs = [{"rewards.own_block": 0.05 * i} for i in range(3)]
    folder = make_study(tmp_path, pool, configs, lambda c, i: Outcome(win_rate=0.3 * i))
    for path in folder.rglob("*.replay"):
        path.unlink()  # a link: writing would damage the pool's
        path.write_bytes(b"CLOWDER\x01 and no more")
    for path in folder.rglob("*.npz"):
        path.write_bytes(b"PK and no more")
    made = make_report(load_study(str(folder)))
    page = read(made.page)
    assert page.data["games"] == [] and not page.buttons("along")
    assert not (made.page.parent / "rescoring.png").exists()
    assert "Episodes that can't be read aren't paid anew: " in page.text
    assert str(next(folder.rglob("*.npz"))) in page.text
    assert made.summary["warnings"]


@pytest.mark.parametrize("timestamp", ["now", 1e300, float("nan"), True])
def test_a_time_that_is_none_is_left_out(pool: Pool, tmp_path: Path, timestamp: Any) -> None:
    folder = make_study(
        tmp_path, pool, [{}], lambda c, i: Outcome(win_rate=0.3, changes={"timestamp": timestamp})
    )
    assert make_report(load_study(str(folder))).page.is_file()


def test_cells_are_no_formulas(pool: Pool, tmp_path: Path) -> None:
    names = ("=1+1", "+a", "-b", "@c", "d")
    variants = tuple(f"{one}: rewards.alive=0.0{i}" for i, one in enumerate(names))
    folder = make_study(
        tmp_path,
        pool,
        [{"variant": one} for one in names],
        lambda c, i: Outcome(win_rate=0.3),
        recipe=recipes.replace(find_recipe("smoke"), {"sweep.variants": variants}),
    )
    rows = list(csv.DictReader(io.StringIO(make_report(load_study(str(folder))).csv)))
    assert [one["variant"] for one in rows] == ["'=1+1", "'+a", "'-b", "'@c", "d"]


def test_names_come_from_strangers(pool: Pool, tmp_path: Path) -> None:
    recipe = recipes.replace(
        find_recipe("smoke"),
        {
            "sweep.space": (),
            "sweep.variants": ("base:", f"{EVIL}: rewards.own_block=0"),
            "run.study": "a<b>c",
        },
    )
    configs = [{"variant": name, "run.seed": seed} for name in ("base", EVIL) for seed in (0, 1)]

    def come_to(config: Mapping[str, Any], index: int) -> Outcome:
        rate = 0.8 if config["variant"] == "base" else 0.1
        return Outcome(win_rate=rate + 0.05 * (index % 2), hacked=EVIL if index == 3 else "no")

    folder = make_study(tmp_path, pool, configs, come_to, recipe=recipe)
    (folder / "abc_00004").mkdir()
    (folder / "abc_00004" / "trial.json").write_text(
        (folder / "abc_00003" / "trial.json").read_text()
    )
    (folder / "abc_00004" / "stopped.json").write_text(json.dumps({"reason": EVIL}))
    page = read(make_report(load_study(str(folder))).page)
    names = [name for name, _ in page.tags]
    assert names.count("script") == 2 and "img" not in names
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert "a<b>c" in page.text
    assert EVIL in [one["name"] for one in page.data["ranking"]["rows"]]
    assert "<script>alert(1)</script>" in page.text, "as a text"
    assert "\n".join(page.scripts).count("\\u003cscript>alert(1)") >= 1


def test_whatever_is_no_markup_is_a_text() -> None:
    assert (
        tag("b", "<i>", class_="a", title='"x"')
        == '<b class="a" title="&quot;x&quot;">&lt;i&gt;</b>'
    )
    assert join("&", Markup("<br>"), None, ["a", ["<"]]) == "&amp;<br>a&lt;"
    assert tag("i", class_="mark", hidden=False) == '<i class="mark"></i>'


# -- small and large


def test_one_trained_run_has_a_report_too(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study(
        tmp_path, pool, [{}], lambda c, i: Outcome(win_rate=0.7), name="train-20260101-000000"
    )
    for name in (folder, folder / "abc_00000"):
        assert cli.main(["report", str(name)]) == 0
        page = read(Path(capsys.readouterr().out.split(maxsplit=1)[1].strip()))
        assert "1 variant with 1 seed" in page.text
        assert "says nothing of another seed" in page.text
        assert "Which weight matters" not in page.text
        assert page.data["games"]
    assert (folder / "abc_00000" / "report" / "report.html").exists()


def test_a_thousand_trials_are_a_small_page(tmp_path: Path) -> None:
    """What it takes in seconds is measured by `benchmarks/report.py`."""
    made = make_report(load_study(str(random_search(tmp_path, 1000))))
    assert made.page.stat().st_size < MAX_PAGE_BYTES
    page = read(made.page)
    assert len(page.data["ranking"]["rows"]) == 1000
    assert len(page.data["games"]) == MAX_GAMES
    assert made.summary["fields"][0]["name"] == "rewards.own_block"
    assert len(made.csv.splitlines()) == 1001
    fields = made.summary["fields"]
    num_bins = sum(len(one["bins"]) for one in fields)
    assert len(page.buttons("along")) >= num_bins, "a game for every bin, few as they are"


# -- for other programs


def test_trials_are_rows_of_a_csv(grid: Path, report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(report.csv)))
    assert report.csv == (report.page.parent / "trials.csv").read_text()
    trials = load_study(str(grid)).trials
    assert len(rows) == len(trials) == 18
    for row, trial in zip(rows, trials, strict=True):
        assert row["trial_id"] == trial.trial_id and int(row["seed"]) == trial.seed
        assert float(row["rewards.own_block"]) == trial.config["rewards.own_block"]
        assert float(row["eval/win_rate"]) == trial.final["eval/win_rate"]
        assert row["state"] == "done" and row["env_steps"] == "4000"
    assert {row["rank"] for row in rows} == set("123456")


def test_marl_eval_finds_its_form(grid: Path, report: Report) -> None:
    data = json.loads((report.page.parent / "marl_eval.json").read_text())
    assert list(data) == ["pico_park"] and list(data["pico_park"]) == ["meadow"]
    variants = data["pico_park"]["meadow"]
    assert len(variants) == 6
    trials = {(one.variant, one.seed): one for one in load_study(str(grid)).trials}
    for name, runs in variants.items():
        assert list(runs) == ["seed_0", "seed_1", "seed_2"]
        for seed, run in enumerate(runs.values()):
            trial = trials[name, seed]
            assert list(run) == ["step_1", "step_2", "step_3", "step_4", "absolute_metrics"]
            for row, step in zip(trial.evaluations, list(run.values())[:-1], strict=True):
                assert step["step_count"] == row["env_steps"]
                assert step["elapsed_time"] == row["time_total_s"]
                assert step["win_rate"] == [row["eval/win_rate"]]
                assert step["return"] == [row["reward/return"]]
            assert run["absolute_metrics"]["win_rate"] == [trial.final["eval/win_rate"]]
            assert set(run["absolute_metrics"]) == set(run["step_1"]) - {
                "step_count",
                "elapsed_time",
            }


def test_the_command_line_in_the_page_makes_the_same_recipe() -> None:
    changes = {
        "rewards.own_block": 0.07,
        "sweep.space": ("rewards.alive=0,0.02", "rewards.key"),
        "sweep.variants": ("base:", "no memory: model.lstm=false"),
        "model.lstm": False,
        "env.length": None,
        "run.storage": "/elsewhere",
    }
    recipe = recipes.replace(find_recipe("smoke"), changes)
    words = shlex.split(command("sweep", recipe))
    assert words[:3] == ["clowder", "sweep", "smoke"]
    again, _ = cli.parse_recipe("sweep", words[2:])
    assert again == recipes.replace(recipe, {"run.storage": "results"})
    dashed = recipes.replace(recipe, {"sweep.variants": ("base:", "--b: model.lstm=false")})
    again, _ = cli.parse_recipe("sweep", shlex.split(command("sweep", dashed))[2:])
    assert again == recipes.replace(dashed, {"run.storage": "results"})
    foreign = recipes.replace(recipe, {"name": "mine"})
    assert command("sweep", foreign).startswith("#")


# -- the verb


def test_the_verb_writes_and_prints(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert cli.main(["report", str(grid), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"report    {out / 'report.html'}\n"
    assert cli.main(["report", str(grid), "--out", str(out), "--json", "true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "finished" and found["num_compared"] == 18
    assert cli.main(["report", str(grid), "--out", str(out), "--csv", "true"]) == 0
    assert capsys.readouterr().out == (out / "trials.csv").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{folder}"], "there are no trials in"),
        (["{folder}/nowhere"], "there is no study"),
        (["{folder}", "--show", "wall"], "unknown --show 'wall'"),
        (["{folder}", "--shwo", "file"], "did you mean '--show'"),
    ],
)
def test_mistakes_are_one_sentence(
    pool: Pool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # where nobody has trained anything
    folder = make_study(tmp_path, pool, [], lambda config, index: Outcome(win_rate=0))
    assert cli.main(["report", *(one.format(folder=folder) for one in words)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and reason in err and err.count("\n") == 1
    assert not (folder / "report").exists()


def test_a_sweep_ends_well_though_its_report_does_not(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(str(grid))
    logged: list[Any] = []
    result = SimpleNamespace(
        recipe=study.recipe,
        folder=study.folder,
        trials=study.trials,
        tracker=SimpleNamespace(log_artifact=lambda *words: logged.append(words)),
    )

    def said() -> str:
        out = io.StringIO()
        cli._report(result, Console(file=out, width=200))
        return out.getvalue()

    assert said() == f"report    {grid / 'report' / 'report.html'}\n"
    assert logged == [("parent", grid / "report")]

    def fail(study: Any) -> Report:
        raise BadInputError("the disk is full.")

    monkeypatch.setattr(experiments.report, "make_report", fail)
    assert said() == (
        f"report    can't be made (the disk is full.); try again with clowder report {grid}\n"
    )
    assert len(logged) == 1
