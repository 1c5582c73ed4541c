"""How fast the Pico Park simulator is, and how near that comes to merely copying its output.

    python -m benchmarks.simulator [--check] [--pairs 15]

All figures come from one run on one core (but for the last): CPU time of this process, medians over
pairs of measurements that take turns, so that a busy machine slows both. Play is random, with
observations; random teams lose a level within ten ticks, so the making of levels counts fully. The
copying loop moves as many bytes a step as there are observations, from a buffer of the same size.
`--check` exits with status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Bar, machine, paired, ratio, report
from env import PicoPark, PicoParkConfig
from env.conformance import random_actions
from env.pico_park import presets
from native import build

ROOT = Path(__file__).resolve().parents[1]

MILLION_STEPS_BAR = 5.0
"""Agent-steps a second, in millions, of 64 games of `gates` with four agents."""
COPY_BAR = 0.22
"""Speed of that as a share of the copying loop's."""
SPREAD_BAR = 2.0
"""Dearest over cheapest agent-step, from 16 to 1,024 games and from 2 to 8 agents."""
THREADS_BAR = 0.9
"""Speed of two threads as a share of two processes'."""

NUM_DRAWN = 61
"""Steps' worth of random actions that are drawn beforehand and played again and again."""

COPY_LOOP = """
#include <stddef.h>
#include <string.h>

void copy_steps(char *to, const char *from, size_t num_bytes, int num_steps) {
    for (int i = 0; i < num_steps; i++) {
        memcpy(to, from, num_bytes);
        __asm__ volatile("" : : : "memory"); /* every step's copy counts */
    }
}
"""

WORKER = """
import sys
from benchmarks.simulator import Bench
bench = Bench(num_envs=int(sys.argv[1]), seed=int(sys.argv[2]))
bench.run(200)
print("ready", flush=True)
for line in sys.stdin:
    bench.run(int(line))
    print("done", flush=True)
"""


class Bench:
    """A simulator with random actions at hand."""

    def __init__(
        self, *, num_envs: int = 64, num_agents: int = 4, preset: str = "gates", seed: int = 0
    ) -> None:
        config = PicoParkConfig(preset=preset, num_agents=num_agents)  # type: ignore[arg-type]
        self.sim = PicoPark(num_envs, config, seed=seed)
        rng = np.random.default_rng(seed)
        self.actions = [random_actions(self.sim, rng) for _ in range(NUM_DRAWN)]
        self.agents = num_envs * num_agents
        self.sim.reset()

    def run(self, num_steps: int) -> None:
        """Steps, and collects the records now and then as a trainer would."""
        step, actions = self.sim.step, self.actions
        for i in range(num_steps):
            step(actions[i % NUM_DRAWN])
            if i % 64 == 63:
                self.sim.episodes()

    def steps_for(self, agent_steps: int) -> int:
        """How many steps of the batch are about so many agent-steps."""
        return max(1, agent_steps // self.agents)


def compile_copy_loop(folder: Path) -> Any:
    """The copying loop as a function (to, from, bytes, steps)."""
    import cffi

    builder = cffi.FFI()
    builder.cdef("void copy_steps(char *to, const char *from, size_t num_bytes, int num_steps);")
    builder.set_source("clowder_copy", COPY_LOOP, extra_compile_args=[*build.FLAGS])
    path = builder.compile(tmpdir=str(folder))
    spec = importlib.util.spec_from_file_location("clowder_copy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copier(folder: Path, num_bytes: int) -> Callable[[int], None]:
    """Copies so many bytes a step."""
    module = compile_copy_loop(folder)
    source = np.random.default_rng(0).integers(0, 256, num_bytes, dtype=np.uint8)
    target = np.zeros_like(source)
    pointers = [module.ffi.from_buffer(array) for array in (target, source)]
    return lambda num_steps: module.lib.copy_steps(*pointers, num_bytes, num_steps)


def against_copying(num_pairs: int) -> tuple[float, float]:
    """Millions of agent-steps a second, and the speed as a share of the copying loop's."""
    bench = Bench()
    num_bytes = sum(array.nbytes for array in bench.sim.observations.values())
    with tempfile.TemporaryDirectory() as folder:
        copy = copier(Path(folder), num_bytes)
        found = paired({"play": (bench.run, 2000), "copy": (copy, 4000)}, num_pairs)
    million = bench.agents / statistics.median(found["play"]) / 1e6
    share = ratio(found["copy"], found["play"])
    gigabytes = num_bytes / statistics.median(found["copy"]) / 1e9
    print(f"gates, 64 games x 4 agents   {million:6.2f} M agent-steps/s")
    print(f"copying {num_bytes} bytes a step {gigabytes:6.1f} GB/s; play runs at {share:.2f} of it")
    return million, share


def cost_by(benches: dict[str, Bench], num_pairs: int) -> float:
    """Prints the cost of an agent-step relative to 64 games x 4 agents; dearest over cheapest."""
    base = Bench()
    everything = {"base": base, **benches}
    found = paired(
        {name: (bench.run, bench.steps_for(256_000)) for name, bench in everything.items()},
        num_pairs,
    )
    costs = {}
    for name, bench in benches.items():
        costs[name] = ratio(found[name], found["base"]) * base.agents / bench.agents
        million = bench.agents / statistics.median(found[name]) / 1e6
        print(f"{name:28s} {million:6.2f} M agent-steps/s, cost {costs[name]:.2f}")
    return max(costs.values()) / min(costs.values())


def threads_against_processes(num_pairs: int, *, num_envs: int) -> float:
    """Wall time: two halves in two threads against two processes; processes' over threads'."""
    halves = [Bench(num_envs=num_envs // 2, seed=seed) for seed in (0, 1)]
    command = [sys.executable, "-c", WORKER, str(num_envs // 2)]
    workers = [
        subprocess.Popen(
            [*command, str(seed)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (0, 1)
    ]

    def in_processes(num_steps: int) -> None:
        for worker in workers:
            assert worker.stdin
            worker.stdin.write(f"{num_steps}\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout and worker.stdout.readline() == "done\n"

    def in_threads(num_steps: int) -> None:
        threads = [threading.Thread(target=half.run, args=[num_steps]) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for worker in workers:
        assert worker.stdout and worker.stdout.readline() == "ready\n"
    walls: dict[Callable[[int], None], list[float]] = {in_processes: [], in_threads: []}
    in_threads(200)
    for _ in range(num_pairs):
        for run, times in walls.items():
            start = time.perf_counter()
            run(4000)
            times.append(time.perf_counter() - start)
    for worker in workers:
        worker.communicate()
    share = ratio(walls[in_processes], walls[in_threads])
    million = num_envs * 4 * 4000 / statistics.median(walls[in_threads]) / 1e6
    name = f"two threads, 2 x {num_envs // 2} games"
    print(f"{name:28s} {million:6.2f} M agent-steps/s by the clock; {share:.2f} of two processes")
    return share


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure the Pico Park simulator.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--pairs", type=int, default=15, help="measurements of each kind")
    arguments = parser.parse_args()
    pairs = arguments.pairs
    print(machine())
    million, share = against_copying(pairs)
    print("\nby number of games, 4 agents (cost of an agent-step; 64 games: 1)")
    by_games = {f"{n:5d} games": Bench(num_envs=n) for n in (16, 64, 256, 1024)}
    games_spread = cost_by(by_games, pairs)
    print("\nby number of agents, 64 games")
    by_agents = {f"{n:5d} agents": Bench(num_agents=n) for n in (2, 3, 4, 6, 8)}
    agents_spread = cost_by(by_agents, pairs)
    print("\nby preset, 64 games x 4 agents")
    cost_by({name: Bench(preset=name) for name in presets()}, pairs)
    print()
    # Calls of 20 microseconds hand the interpreter's lock over too often: told, not judged.
    threads_against_processes(pairs, num_envs=64)
    threads = threads_against_processes(pairs, num_envs=256)
    missed = report(
        [
            Bar(name="million agent-steps a second", value=million, bar=MILLION_STEPS_BAR),
            Bar(name="share of the copying loop", value=share, bar=COPY_BAR),
            Bar(
                name="dearest over cheapest, 16 to 1,024 games",
                value=games_spread,
                bar=SPREAD_BAR,
                at_most=True,
            ),
            Bar(
                name="dearest over cheapest, 2 to 8 agents",
                value=agents_spread,
                bar=SPREAD_BAR,
                at_most=True,
            ),
            Bar(name="threads as a share of processes", value=threads, bar=THREADS_BAR),
        ]
    )
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
