"""Golden losses: what the first iterations of fixed runs log, on every build.

A change that doesn't change the maths doesn't change these; CPUs differ in the last digits only.

    python -m tests.algorithms.golden            # prints the losses of this build as JSON
    python -m tests.algorithms.golden --write    # after a deliberate change: writes them anew
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("golden_losses.json")
ITERATIONS = 3
LOGGED = ("policy_loss", "vf_loss", "entropy", "mean_kl", "total_loss")

CASES: dict[str, dict[str, Any]] = {
    "vtrace, epochs": {"num_epochs": 2, "lr": 5e-3},
    "vtrace, priorities, value clip": {
        "lr": [[0, 5e-3], [256, 1e-3]],
        "priority_alpha": 0.7,
        "priority_beta": [[0, 0.4], [256, 1.0]],
        "value_clip": 0.2,
        "rho_clip": 1.2,
    },
    "gae": {"advantage": "gae", "num_epochs": 2, "lr": 5e-3, "entropy_coeff": [[0, 0.1], [256, 0]]},
    "puff": {"advantage": "puff", "num_epochs": 2, "lr": 5e-3},
}


def losses(name: str) -> list[dict[str, float]]:
    """What each iteration of a case logs; Ray must be running."""
    from algorithms.segment_ppo import SHARED
    from tests.algorithms.small import small_config

    algorithm = small_config(**CASES[name]).build_algo()
    try:
        logged = [algorithm.train()["learners"][SHARED] for _ in range(ITERATIONS)]
    finally:
        algorithm.stop()
    return [{key: float(one[key]) for key in LOGGED} for one in logged]


def load() -> dict[str, list[dict[str, float]]]:
    """The file: per case and iteration what was logged."""
    return dict(json.loads(FILE.read_text()))


def main() -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser(description="Golden losses of SegmentPPO.")
    parser.add_argument("--write", action="store_true", help="write the losses of this build")
    arguments = parser.parse_args()

    from experiments import session

    session.prepare()
    import torch

    torch.set_num_threads(1)
    session.start_ray()
    found = {name: losses(name) for name in CASES}
    text = json.dumps(found, indent=1)
    if arguments.write:
        FILE.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
