"""The table of claims: what counts, and what is said of too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.claims import CLAIMS, GAP, Comparison, judge, main, read_runs
from experiments.recipes import claims, claims_segments

HEAD = "variant,seed,state,eval/win_rate,eval/win_rate_trained\n"


def table(path: Path, **rates: list[float]) -> Path:
    """A report's trials.csv with the win rates of each variant's seeds."""
    lines = [
        f"{name.replace('_', ' ')},{seed},done,{rate},0.9\n"
        for name, given in rates.items()
        for seed, rate in enumerate(given)
    ]
    path.write_text(HEAD + "".join(lines))
    return path


@pytest.mark.parametrize(
    ("base", "verdict"),
    [
        ([0.8, 0.85, 0.8, 0.75, 0.9], "holds"),
        ([0.1, 0.15, 0.1, 0.05, 0.1], "the opposite"),
        ([0.8, 0.1, 0.5, 0.2, 0.9], "not shown"),
        ([0.3, 0.35, 0.25, 0.35, 0.38], "not shown"),
    ],
)
def test_the_interval_of_paired_differences_decides(
    tmp_path: Path, base: list[float], verdict: str
) -> None:
    runs = read_runs([table(tmp_path / "t.csv", base=base, team_only=[0.3, 0.35, 0.3, 0.25, 0.4])])
    assert judge(CLAIMS[0], runs).endswith(f"| {verdict} |")


def test_seeds_are_paired_by_their_numbers_and_too_few_are_no_test(tmp_path: Path) -> None:
    one = table(tmp_path / "one.csv", base=[0.8] * 5, team_only=[0.2] * 4)
    assert "not tested: 4 seeds" in judge(CLAIMS[0], read_runs([one]))
    text = one.read_text() + "team only,9,done,.2,.2\nteam only,4,unfinished,.2,.2\n"
    one.write_text(text)
    assert "not tested: 4 seeds" in judge(CLAIMS[0], read_runs([one]))


def test_memorising_is_the_trained_levels_less_the_held_out(tmp_path: Path) -> None:
    runs = read_runs([table(tmp_path / "t.csv", few=[0.4] * 5, base=[0.8] * 5)])
    found = judge(Comparison(claim="f", more="few", less="base", metric=GAP), runs)
    assert found == "| f | few > base | memorised | 50 % | 10 % | 40 | holds |"


def test_every_claim_compares_variants_that_the_recipes_train() -> None:
    trained = {
        one.partition(":")[0]
        for recipe in (claims(), claims_segments())
        for one in recipe.sweep.variants
    }
    assert {name for one in CLAIMS for name in (one.more, one.less)} <= trained
    assert {one.claim[0] for one in CLAIMS} == set("abcdefghi")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no\.csv can't be read .* name a report's trials\.csv"):
        main([str(tmp_path / "no.csv")])
