"""Does it learn? Held-out win rates of a trained team, of random play and of the same network
before training, with intervals, and the learning curves as a picture.

    python -m benchmarks.learning meadow                 # on the batched path, ~2 minutes
    python -m benchmarks.learning meadow stock           # and on RLlib's own, ~25 minutes more
    python -m benchmarks.learning meadow --env-steps 300000     # quick, for CI
    python -m benchmarks.learning --runs FOLDER ...      # judge and draw finished runs

Exits with 1 unless every trained team's interval lies above the others'.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from experiments import recipe as recipes
from experiments.recipe import Recipe
from experiments.recipes import find_recipe
from experiments.shipped import FIRST_LEVEL, NUM_LEVELS


def train(recipe: Recipe) -> Path:
    """Trains in the recipe's storage and returns the experiment's folder."""
    from experiments import runner

    result = runner.run(recipe, is_sweep=False, resume="auto", command="the same command")
    if any(trial.error for trial in result.trials):
        sys.exit(f"training failed: {result.trials[0].error}")
    result.tracker.close()
    return result.folder


def judge(folder: Path) -> dict[str, tuple[float, float, float]]:
    """Win rate, lower and upper bound over held-out levels that training never evaluated on."""
    import torch

    from experiments.evaluate import (
        NetworkActor,
        RandomActor,
        held_out_seeds,
        play_levels,
        success_metrics,
    )
    from experiments.policy import build_module, load_policy
    from experiments.runs import newest_policy

    policy = load_policy(newest_policy(folder))
    torch.manual_seed(0)
    untrained = build_module(policy.recipe).eval()
    actors = {
        "trained": NetworkActor({"team": policy.module}, greedy=False, seed=0),
        "untrained network": NetworkActor({"team": untrained}, greedy=False, seed=0),
        "random play": RandomActor(seed=0),
    }
    print(f"\n{policy.recipe.name}: {NUM_LEVELS:,} held-out levels, sampled play")
    found = {}
    for name, actor in actors.items():
        seeds = held_out_seeds(NUM_LEVELS, FIRST_LEVEL)
        rates = success_metrics(play_levels(actor, policy.recipe.env, seeds))
        bounds = (rates["eval/win_rate_low"], rates["eval/win_rate_high"])
        found[name] = (rates["eval/win_rate"], *bounds)
        print(f"{name:<18} {found[name][0]:.3f}   95 % {bounds[0]:.3f} to {bounds[1]:.3f}")
    return found


def draw(folders: list[Path], path: Path) -> None:
    """Curves of held-out win rate over minutes, sampled play, with Wilson's interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from experiments.history import HISTORY_FILE, read_history
    from experiments.policy import load_policy
    from experiments.runs import newest_policy

    figure, axes = plt.subplots(figsize=(7, 3.2), constrained_layout=True)
    for folder in folders:
        trial = next(one.parent for one in sorted(folder.glob(f"*/{HISTORY_FILE}")))
        rows = [row for row in read_history(trial) if "eval/win_rate" in row]
        minutes = [row["time_total_s"] / 60 for row in rows]
        low, high = ([row[f"eval/win_rate_{end}"] for row in rows] for end in ("low", "high"))
        recipe = load_policy(newest_policy(folder)).recipe
        label = f"{recipe.name} ({recipe.algorithm}), {rows[-1]['env_steps']:,} env steps"
        (line,) = axes.plot(minutes, [row["eval/win_rate"] for row in rows], label=label)
        axes.fill_between(minutes, low, high, alpha=0.2, color=line.get_color())
    axes.axhline(0, color="tab:red", linestyle="--", linewidth=1, label="random play")
    axes.set_ylim(-0.02, 1)
    axes.set_xlabel("minutes")
    axes.set_ylabel("held-out win rate, Wilson 95 %")
    axes.set_title("four cats on meadow, the same network on two paths", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser(description="Does it learn?")
    parser.add_argument("recipes", nargs="*", help="recipes to train, one after the other")
    parser.add_argument("--env-steps", type=int, help="instead of the recipes' own")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="finished experiments")
    parser.add_argument("--picture", type=Path, help="where to draw the curves")
    arguments = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = list(arguments.runs)
        for name in arguments.recipes:
            values = {"run.storage": scratch, "run.tracking_uri": f"sqlite:///{scratch}/mlflow.db"}
            if arguments.env_steps:
                values["run.env_steps"] = arguments.env_steps
            folders.append(train(recipes.replace(find_recipe(name), values)))
        for folder in folders:
            found = judge(folder)
            above = max(found["untrained network"][2], found["random play"][2])
            if found["trained"][1] <= above:
                missed.append(f"{folder.name}: {found['trained'][1]:.3f} is not above {above:.3f}")
        if arguments.picture:
            draw(folders, arguments.picture)
    if missed:
        sys.exit(f"a trained team's lower bound is too low: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
