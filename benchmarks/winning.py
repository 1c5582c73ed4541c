"""Do the cats win? Trained teams on levels that neither training nor any choice has seen.

    python -m benchmarks.winning RUN ... [--check]          # teams of the ladder, a seed each
    python -m benchmarks.winning RUN ... --presets classic  # other presets
    python -m benchmarks.winning RUN --memorised 10000      # trained against held-out levels
    python -m benchmarks.winning RUN --hide                 # what the team uses

RUN is whatever `clowder evaluate` takes. Each preset's 1,000 held-out levels are played sampled and
greedy; the bars are of the lower end of Wilson's 95 % interval, for every RUN. With `--check` it
exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.measure import Bar, machine, report
from experiments.evaluate_cli import EvaluateOptions, evaluate_run
from experiments.shipped import FIRST_LEVEL, NUM_LEVELS, judge

LADDER = {"meadow": 0.98, "gates": 0.98, "curtains": 0.98, "tunnels": 0.95, "gauntlet": 0.85}
"""Least lower bound of the win rate."""
CLASSIC = 0.9
"""The same on `classic`: nine tenths of the scripted team's rate, which is 1."""
GREEDY = 0.05
"""Most that greedy play may win less."""
MEMORISED = 0.02
"""Most that trained levels may be won more often than held-out ones."""
HIDDEN_PRESETS = ("tunnels", "gauntlet")


def _rows(run: str, **options: Any) -> list[dict[str, Any]]:
    return evaluate_run(run, EvaluateOptions(**options))


def ladder(run: str, presets: list[str]) -> list[Bar]:
    """Win rates of each preset, sampled and greedy."""
    rows = judge(run, presets)
    print(f"\n{run}: {NUM_LEVELS:,} held-out levels from {FIRST_LEVEL:,} on")
    bars = []
    for row in rows:
        preset, rate, greedy = (
            row[key] for key in ("preset", "eval/win_rate", "eval/win_rate_greedy")
        )
        low, high = row["eval/win_rate_low"], row["eval/win_rate_high"]
        print(
            f"  {preset:<10} {rate:.3f} ({low:.3f}-{high:.3f})   greedy {greedy:.3f}   crushed "
            f"{row['behaviour/crushed']:.3f}   shot {row['behaviour/shot']:.3f}   time "
            f"{row['behaviour/timeouts']:.3f}",
            flush=True,
        )
        bar = LADDER.get(preset, CLASSIC)
        bars.append(Bar(name=f"{run}, {preset}, lower bound", value=low, bar=bar))
        name = f"{run}, {preset}, sampled less greedy"
        bars.append(Bar(name=name, value=rate - greedy, bar=GREEDY, at_most=True))
    return bars


def memorised(run: str, preset: str, num_levels: int) -> list[Bar]:
    """Win rates of levels that the team was trained on, and of held-out ones."""
    common = {"presets": (preset,), "num_levels": num_levels, "greedy": False}
    (trained,) = _rows(run, levels="trained", **common)
    (held_out,) = _rows(run, first_level=FIRST_LEVEL, **common)
    rates = [row["eval/win_rate"] for row in (trained, held_out)]
    print(
        f"\n{run}, {preset}: {num_levels:,} trained levels {rates[0]:.4f}, as many held-out ones "
        f"{rates[1]:.4f}"
    )
    name = f"{run}, {preset}, trained less held-out"
    return [Bar(name=name, value=rates[0] - rates[1], bar=MEMORISED, at_most=True)]


def hidden(run: str, presets: tuple[str, ...]) -> None:
    """Win rates with one thing after the other hidden."""
    rows = _rows(
        run,
        presets=presets,
        num_levels=NUM_LEVELS,
        first_level=FIRST_LEVEL,
        hide=("all",),
        greedy=False,
    )
    print(f"\n{run}: what is hidden, and what is still won")
    for row in rows:
        low, high = row["eval/win_rate_low"], row["eval/win_rate_high"]
        print(
            f"  {row['preset']:<10} {row['hidden']:<17} {row['eval/win_rate']:.3f} "
            f"({low:.3f}-{high:.3f})   shot {row['behaviour/shot']:.3f}"
        )


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Do the cats win?")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--presets", nargs="+", help="instead of the ladder's")
    parser.add_argument("--memorised", type=int, metavar="N", help="N trained levels, N held-out")
    parser.add_argument("--hide", action="store_true", help="what the team uses")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    arguments = parser.parse_args()
    print(machine())
    presets = arguments.presets or list(LADDER)
    bars: list[Bar] = []
    for run in arguments.runs:
        if arguments.memorised:
            bars += memorised(run, presets[-1], arguments.memorised)
        elif arguments.hide:
            hidden(run, tuple(arguments.presets or HIDDEN_PRESETS))
        else:
            bars += ladder(run, presets)
    return 1 if report(bars) and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
