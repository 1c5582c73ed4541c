"""What every room's tests share: an environment that Ray is imported into, and one Ray for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import session

# Before anything imports Ray: left to itself it writes a token into the home folder.
session.prepare()


@pytest.fixture
def one_thread_one_seed() -> Iterator[None]:
    """Torch on one thread, its draws always the same."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def ray() -> Iterator[Any]:
    """A Ray of two processors on this machine; it starts slowly, so all tests share it."""
    import ray

    # Workers import the rooms from here, whatever folder the tests are started in.
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # `local`: without it Ray joins whatever cluster runs on this machine.
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
    )
    yield ray
    ray.shutdown()
