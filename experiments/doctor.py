"""`clowder doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

PACKAGES = ("ray", "torch", "mlflow", "numpy", "scipy", "gymnasium", "pettingzoo", "tyro", "cffi")


def run_doctor(words: list[str]) -> int:
    """The verb; exit status 1 if something that is needed is missing."""
    if words:
        print("usage: clowder doctor\n\nSays what is here, what is missing, what to install.")
        return 0 if words[0] in ("-h", "--help") else 2
    console = Console(highlight=False, soft_wrap=True)
    num_bad = 0
    for check in CHECKS:
        good, line = check()
        num_bad += not good
        console.print(("[green]ok[/]      " if good else "[red]missing[/] ") + line)
    console.print("all is here" if not num_bad else f"{num_bad} to mend")
    return 1 if num_bad else 0


def _python() -> tuple[bool, str]:
    good = sys.version_info >= (3, 11)
    return good, f"Python {platform.python_version()} on {platform.platform()}" + (
        "" if good else ": install 3.11 or newer"
    )


def _packages() -> tuple[bool, str]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return False, f"packages {', '.join(missing)}: run `make setup`"
    return True, "packages: " + ", ".join(found)


def _simulators() -> tuple[bool, str]:
    from env.batch import native
    from native.build import BuildError, check_tools, hash_of, source_hash

    try:
        check_tools()
        compiler = "and can be built here"
    except BuildError as error:
        compiler = f"but not built here: {error}"
    try:
        module = native()
    except (BuildError, ImportError, OSError) as error:
        return False, f"compiled simulators: {error}"
    found = hash_of(module)
    fits = "fits its sources" if found == source_hash() else "does NOT fit its sources"
    return found == source_hash(), f"compiled simulators {found}: {fits}, {compiler}"


def _game() -> tuple[bool, str]:
    import numpy as np

    from env import PicoPark

    sim = PicoPark(64, seed=0)
    sim.reset()
    actions = np.random.default_rng(0).integers(0, 6, (64, 4)).astype(np.int32)
    for _ in range(100):
        sim.step(actions)
    return True, f"Pico Park plays: {len(sim.episodes())} episodes of random play ended"


def _machine() -> tuple[bool, str]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    good = free > 1
    return good, f"{cores} cores, {gpus} GPUs, {free:.0f} GB free here" + (
        "" if good else ": free some room, checkpoints need it"
    )


def _tracking() -> tuple[bool, str]:
    from experiments.runner import tracking_uri
    from experiments.tracking import check_tracking_uri

    uri = tracking_uri()
    problem = check_tracking_uri(uri)
    return problem is None, f"MLflow store {uri}" + (f": {problem}" if problem else "")


def _writable() -> tuple[bool, str]:
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()):
            pass
    except OSError as error:
        return False, f"{Path.cwd()} can't be written ({error.strerror}): results go here"
    return True, f"{Path.cwd()} can be written: results go here"


CHECKS: tuple[Callable[[], tuple[bool, str]], ...] = (
    _python,
    _packages,
    _simulators,
    _game,
    _machine,
    _tracking,
    _writable,
)
