"""What the defaults of training were chosen by.

    python -m benchmarks.choices [--pairs 5] [--only minibatch games threads layout]

Microseconds of CPU time an agent-step, the network alone (the bare loop of
`benchmarks/training.py`, on games that were really played); medians of measurements that take
turns. Threads go by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from algorithms.env_runner import BatchedEnvRunner
from algorithms.rollout import Rollout
from benchmarks.measure import machine, paired
from benchmarks.training import BareLoop, recipe_of, repeat
from experiments.building import MODULE, algorithm_config

ENCODERS = ("small", "blog")


def played(**values: Any) -> Rollout:
    """A rollout of the untrained network on `meadow`."""
    torch.set_num_threads(1)
    runner = BatchedEnvRunner(config=algorithm_config(recipe_of("meadow", **values)))
    rollout: Rollout = runner.sample()[0].modules[MODULE]
    return rollout


def loop(rollout: Rollout, **values: Any) -> BareLoop:
    """The bare loop with other settings than `meadow`'s."""
    games = rollout.num_rows // 4
    return BareLoop(recipe_of("meadow", ppo__num_envs=games, **values), rollout)


def show(
    title: str,
    runs: Mapping[str, tuple[Callable[[], Any], int]],
    num_pairs: int,
    clock: Callable[[], float] = time.process_time,
) -> None:
    """Prints microseconds an agent-step of functions, each given with its agent-steps."""
    print(f"\n{title}")
    found = paired({name: (repeat(run), 1) for name, (run, _) in runs.items()}, num_pairs, clock)
    for name, (_, steps) in runs.items():
        print(f"  {name:40s} {statistics.median(found[name]) / steps * 1e6:7.2f}")


def by_minibatch(num_pairs: int) -> None:
    """Learning, by minibatch and precision."""
    rollout = played()
    steps = rollout.num_rows * rollout.num_steps
    for encoder in ENCODERS:
        runs = {}
        for precision in ("float32", "bfloat16"):
            for size in (512, 1024, 2048, 4096, 8192):
                one = loop(
                    rollout,
                    model__encoder=encoder,
                    model__precision=precision,
                    ppo__minibatch=size,
                )
                runs[f"{encoder}, {precision}, minibatch {size}"] = (one.learn, steps)
        show("learning by minibatch and precision", runs, num_pairs)


def by_games(num_pairs: int) -> None:
    """Sampling with the game, by how many games a runner has."""
    torch.set_num_threads(1)
    runs = {}
    for games in (16, 32, 64, 128, 256, 512):
        config = algorithm_config(recipe_of("meadow", ppo__num_envs=games))
        runner = BatchedEnvRunner(config=config)
        runs[f"{games} games"] = (runner.sample, games * 64 * 4)
    show("sampling by games a runner (four rows each)", runs, num_pairs)


def by_threads(num_pairs: int) -> None:
    """Acting and learning by the clock, on one and two threads."""
    rollout = played()
    steps = rollout.num_rows * rollout.num_steps
    for encoder in ENCODERS:
        one = loop(rollout, model__encoder=encoder)

        def on(threads: int, do: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                torch.set_num_threads(threads)
                do()

            return run

        runs = {
            f"{encoder}, {name}, {threads} thread{'s' * (threads > 1)}": (on(threads, do), steps)
            for name, do in (("acting", one.forward), ("learning", one.learn))
            for threads in (1, 2)
        }
        show("wall time by threads", runs, num_pairs, time.perf_counter)
    torch.set_num_threads(1)


def by_layout(num_pairs: int) -> None:
    """The second convolution of each encoder, forward and backward, by memory layout."""
    layers = {
        "small, 16 -> 32": (nn.Conv2d(16, 32, 3, stride=2), (16, 5, 9)),
        "blog, 64 -> 64": (nn.Conv2d(64, 64, 3, stride=2), (64, 14, 25)),
    }
    for name, (layer, shape) in layers.items():
        runs = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            data = torch.randn(512, *shape).to(memory_format=layout).requires_grad_()

            def run(data: torch.Tensor = data, layer: nn.Conv2d = layer) -> None:
                layer(data).sum().backward()

            runs[f"{name}, {str(layout).removeprefix('torch.')}"] = (run, 512)
        show("second convolution by layout", runs, num_pairs)


PARTS = {"minibatch": by_minibatch, "games": by_games, "threads": by_threads, "layout": by_layout}


def main() -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser(description="Measure what the defaults were chosen by.")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each kind")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.only:
        PARTS[name](arguments.pairs)


if __name__ == "__main__":
    main()
