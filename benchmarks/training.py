"""How near training comes to the bare network, and how far beyond RLlib's own path.

    python -m benchmarks.training [--check] [--pairs 9] [--only small blog stock remote]

Every figure comes from one run; medians over measurements that take turns, CPU time of this process
on one thread, but for `remote`, which goes by the clock. The bare loop is plain torch on tensors
that lie ready: the same forward passes on what was really observed, the same backward passes, the
same optimizer; no game, no actions, no advantages, no gradient clip, no logs. `--check` exits with
1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample

from algorithms.env_runner import BatchedEnvRunner
from algorithms.rollout import Rollout
from benchmarks.measure import Bar, machine, paired, ratio, report
from experiments import recipe as recipes
from experiments import session
from experiments.building import MODULE, algorithm_config
from experiments.policy import build_module
from experiments.recipe import Recipe
from experiments.recipes import find_recipe
from models import EPISODE_START, RecurrentActorCritic

ROOT = Path(__file__).resolve().parents[1]

BOUND_BAR = 0.85
"""Speed of training as a share of the bare loop's."""
SAMPLING_BAR = 0.80
"""Speed of sampling as a share of the bare forward passes'."""
AGENT_STEPS_BAR = 25_000.0
"""Agent-steps a second of CPU time, sampled and learned."""
STOCK_BAR = 4.0
"""Speed of training over RLlib's own path with the same module."""
BLOG_BAR = 5_500.0
"""Agent-steps a second of CPU time with `blog`: five times the original trainer's 1,100."""
REMOTE_BAR = 0.85
"""Speed of two remote runners as a share of two independent processes'."""

WORKER = """
import sys
from benchmarks.training import sampling_runner
runner = sampling_runner(int(sys.argv[1]))
runner.sample()
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        runner.sample()
    print("done", flush=True)
"""


def recipe_of(name: str, **values: Any) -> Recipe:
    """A recipe with other values, `ppo__lr` for `ppo.lr`."""
    changed = {key.replace("__", "."): value for key, value in values.items()}
    found: Recipe = recipes.replace(find_recipe(name), {"run.hang_timeout_s": 0, **changed})
    return found


def build(recipe: Recipe) -> Any:
    """The recipe's algorithm, in this process."""
    torch.set_num_threads(recipe.run.num_threads)
    return algorithm_config(recipe).build_algo()


class BareLoop:
    """Forward, backward and optimizer of one iteration on tensors that lie ready."""

    def __init__(self, recipe: Recipe, rollout: Rollout) -> None:
        """Lays out what was observed: a tensor a tick for acting, one a minibatch for learning."""
        self.module: RecurrentActorCritic = build_module(recipe)
        self.optimizer = torch.optim.Adam(self.module.parameters(), recipe.ppo.lr, fused=True)
        self.rows, self.length = rollout.num_rows, rollout.num_steps
        whole = {name: torch.tensor(one) for name, one in rollout.observations.items()}
        starts = torch.tensor(rollout.episode_start)
        states = {name: torch.tensor(one) for name, one in rollout.states.items()}
        self.first_states = states
        self.ticks = [
            ({name: one[:, t].clone() for name, one in whole.items()}, starts[:, t].clone())
            for t in range(self.length)
        ]
        size = (recipe.ppo.microbatch or recipe.ppo.minibatch) // self.length
        self.parts_per_step = recipe.ppo.minibatch // self.length // size
        self.parts = [
            {
                Columns.OBS: {name: one[i : i + size] for name, one in whole.items()},
                Columns.STATE_IN: {name: one[i : i + size] for name, one in states.items()},
                EPISODE_START: starts[i : i + size],
            }
            for i in range(0, self.rows, size)
        ] * recipe.ppo.num_epochs

    def forward(self, iterations: int = 1) -> None:
        """The passes of acting."""
        for _ in range(iterations):
            states = self.first_states
            for observations, start in self.ticks:
                _, _, states = self.module.act(observations, states, start)

    def learn(self) -> None:
        """The passes of learning, with a loss that costs nothing."""
        for number, batch in enumerate(self.parts, start=1):
            out = self.module.forward_train(batch)
            values = self.module.compute_values(batch, out[Columns.EMBEDDINGS])
            (out[Columns.ACTION_DIST_INPUTS].sum() + values.sum()).backward()
            if number % self.parts_per_step == 0:
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)

    def iterate(self, iterations: int) -> None:
        """Acting and learning."""
        for _ in range(iterations):
            self.forward()
            self.learn()


def repeat(do: Callable[[], Any]) -> Callable[[int], None]:
    """So many calls."""

    def run(times: int) -> None:
        for _ in range(times):
            do()

    return run


def against_bare(recipe: Recipe, num_pairs: int, warm_up: int = 5) -> tuple[float, float, float]:
    """Training and sampling as shares of the bare loop, and agent-steps a second of CPU time."""
    algorithm = build(recipe)
    for _ in range(warm_up):
        algorithm.train()
    runner = algorithm.env_runner
    rollout = runner.sample()[0].modules[MODULE]
    bare = BareLoop(recipe, rollout)
    steps = rollout.num_rows * rollout.num_steps
    found = paired(
        {
            "train": (repeat(algorithm.train), 1),
            "bare": (bare.iterate, 1),
            "sample": (repeat(runner.sample), 1),
            "forward": (bare.forward, 1),
        },
        num_pairs,
    )
    rates = {name: steps / statistics.median(times) for name, times in found.items()}
    whole = ratio(found["bare"], found["train"])
    sampling = ratio(found["forward"], found["sample"])
    print(
        f"{recipe.name}, encoder {recipe.model.encoder}: agent-steps a second of CPU time\n"
        f"  training   {rates['train']:9,.0f}    bare loop      {rates['bare']:9,.0f}    "
        f"share {whole:.2f}\n"
        f"  sampling   {rates['sample']:9,.0f}    bare forward   {rates['forward']:9,.0f}    "
        f"share {sampling:.2f}"
    )
    algorithm.stop()
    return whole, sampling, rates["train"]


def against_stock(num_pairs: int) -> float:
    """Agent-steps a CPU second over those of RLlib's own path, tuned as well as it goes."""
    fast, stock = build(recipe_of("meadow")), build(recipe_of("stock", ppo__num_epochs=1))
    batches = {fast: find_recipe("meadow"), stock: find_recipe("stock")}
    sizes = {
        one: recipe.ppo.batch_env_steps * recipe.env.num_agents for one, recipe in batches.items()
    }
    found = paired({one: (repeat(one.train), 1) for one in sizes}, num_pairs)
    each = {one: [seconds / sizes[one] for seconds in times] for one, times in found.items()}
    speed_up = ratio(each[stock], each[fast])
    for one, name in ((fast, "batched path"), (stock, "stock path")):
        print(f"{name:14s} {1 / statistics.median(each[one]):9,.0f} agent-steps/s")
        one.stop()
    print(f"batched over stock path: {speed_up:.1f}")
    return speed_up


def sampling_runner(seed: int) -> Any:
    """A runner of its own in this process, without Ray."""
    recipe = recipe_of("meadow", run__seed=seed)
    torch.set_num_threads(recipe.run.num_threads)
    return BatchedEnvRunner(config=algorithm_config(recipe))


def against_processes(num_pairs: int, rounds: int = 12) -> float:
    """Wall time: two remote runners of one algorithm against two processes without any."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(seed)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    algorithm = build(recipe_of("meadow", ppo__num_env_runners=2))

    def in_processes(times: int) -> None:
        for worker in workers:
            assert worker.stdin
            worker.stdin.write(f"{times}\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout and worker.stdout.readline() == "done\n"

    def by_runners(times: int) -> None:
        for _ in range(times):
            synchronous_parallel_sample(
                worker_set=algorithm.env_runner_group, concat=False, _uses_new_env_runners=True
            )

    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    runs = {"processes": (in_processes, rounds), "runners": (by_runners, rounds)}
    found = paired(runs, num_pairs, clock=time.perf_counter)
    for worker in workers:
        worker.communicate()
    algorithm.stop()
    share = ratio(found["processes"], found["runners"])
    rates = {name: 2 * 64 * 64 * 4 / statistics.median(times) for name, times in found.items()}
    print(
        f"two remote runners {rates['runners']:,.0f}, two independent processes "
        f"{rates['processes']:,.0f} agent-steps/s by the clock, sampling; share {share:.2f}"
    )
    return share


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parts = ("small", "blog", "stock", "remote")
    parser = argparse.ArgumentParser(description="Measure training against its bounds.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--pairs", type=int, default=9, help="measurements of each kind")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    arguments = parser.parse_args()
    print(machine())
    session.start_ray()
    bars: list[Bar] = []
    if "small" in arguments.only:
        whole, sampling, rate = against_bare(recipe_of("meadow"), arguments.pairs)
        bars += [
            Bar(name="training as a share of the bare loop", value=whole, bar=BOUND_BAR),
            Bar(name="sampling as a share of bare forward", value=sampling, bar=SAMPLING_BAR),
            Bar(name="agent-steps a second", value=rate, bar=AGENT_STEPS_BAR),
        ]
    if "blog" in arguments.only:
        *_, rate = against_bare(recipe_of("blog"), max(3, arguments.pairs // 3), warm_up=1)
        bars.append(Bar(name="blog, agent-steps a second", value=rate, bar=BLOG_BAR))
    if "stock" in arguments.only:
        bars.append(
            Bar(name="over the stock path", value=against_stock(arguments.pairs), bar=STOCK_BAR)
        )
    if "remote" in arguments.only:
        share = against_processes(arguments.pairs)
        bars.append(Bar(name="two runners over two processes", value=share, bar=REMOTE_BAR))
    missed = report(bars)
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
