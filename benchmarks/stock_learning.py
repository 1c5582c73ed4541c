"""Does the stock path learn? Held-out win rates of a trained team, of random play and of the same
network before training, with intervals, and the learning curve as a picture.

    python -m benchmarks.stock_learning                      # `meadow` with four cats, ~25 minutes
    python -m benchmarks.stock_learning --quick              # two cats, ~2 minutes, for CI
    python -m benchmarks.stock_learning --run FOLDER         # judge and draw a finished run

Exits with 1 unless the trained team's interval lies above both others'.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from experiments import recipe as recipes
from experiments import session
from experiments.recipe import Recipe
from experiments.recipes import find_recipe

NUM_LEVELS = 1000


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
    found = {}
    for name, actor in actors.items():
        seeds = held_out_seeds(NUM_LEVELS, first=1_000_000)
        rates = success_metrics(play_levels(actor, policy.recipe.env, seeds))
        bounds = (rates["eval/win_rate_low"], rates["eval/win_rate_high"])
        found[name] = (rates["eval/win_rate"], *bounds)
        print(f"{name:<18} {found[name][0]:.3f}   95 % {bounds[0]:.3f} to {bounds[1]:.3f}")
    return found


def draw(folder: Path, path: Path) -> None:
    """The curve of held-out win rate, sampled play, with Wilson's interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from experiments.runner import read_history

    trial = next(one.parent for one in sorted(folder.glob("*/result.json")))
    rows = [row for row in read_history(trial) if "eval/win_rate" in row]
    steps = [row["env_steps"] / 1000 for row in rows]
    figure, axes = plt.subplots(figsize=(7, 3.2), constrained_layout=True)
    low, high = ([row[f"eval/win_rate_{end}"] for row in rows] for end in ("low", "high"))
    axes.fill_between(steps, low, high, alpha=0.2, color="tab:blue", label="Wilson 95 %")
    axes.plot(steps, [row["eval/win_rate"] for row in rows], color="tab:blue", label="trained team")
    axes.axhline(0, color="tab:red", linestyle="--", linewidth=1, label="random play")
    axes.set_ylim(-0.02, 1)
    axes.set_xlabel("thousand env steps (four cats: four times as many agent-steps)")
    axes.set_ylabel("held-out win rate")
    axes.set_title("meadow, RLlib's own PPO with our network", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser(description="Does the stock path learn?")
    parser.add_argument("--quick", action="store_true", help="two cats, 90,000 env steps")
    parser.add_argument("--run", type=Path, help="a finished experiment's folder")
    parser.add_argument("--picture", type=Path, help="where to draw the curve")
    arguments = parser.parse_args()
    session.prepare()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.run
        if folder is None:
            values = {"run.storage": scratch, "run.tracking_uri": f"sqlite:///{scratch}/mlflow.db"}
            if arguments.quick:
                values |= {"env.num_agents": 2, "run.env_steps": 90_000}
            folder = train(recipes.replace(find_recipe("meadow"), values))
        found = judge(folder)
        if arguments.picture:
            draw(folder, arguments.picture)
    above = max(found["untrained network"][2], found["random play"][2])
    if found["trained"][1] <= above:
        low = found["trained"][1]
        sys.exit(f"the trained team's lower bound {low:.3f} is not above {above:.3f}")


if __name__ == "__main__":
    main()
