"""Builds and runs the fuzz target of Pico Park, native/fuzz_pico_park.c.

    python -m tests.native.fuzz [--seconds 180]

With clang, libFuzzer looks for inputs that reach new code, and keeps them in build/corpus; without
it, random inputs are played. What breaks something is left as build/crash-*.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from native import build

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("-std=c11", "-g", "-O1", "-ffp-contract=off", "-fno-sanitize-recover=undefined")
RANDOM_INPUTS = 20_000
"""Inputs between two looks at the clock, where there is no libFuzzer."""


def compile_target(out: Path, *, compiler: list[str], libfuzzer: bool) -> None:
    """Compiles the target with sanitizers and assertions.

    Raises:
        BuildError: the compiler failed; its own words are on stderr.
    """
    kind = ["-fsanitize=fuzzer,address,undefined"]
    if not libfuzzer:
        kind = ["-DSTANDALONE", "-fsanitize=address,undefined"]
    sources = [str(build.FOLDER / name) for name in ("fuzz_pico_park.c", *build.SOURCES)]
    command = [*compiler, *FLAGS, *kind, *sources, "-o", str(out)]
    if subprocess.run(command).returncode:
        raise build.BuildError(
            f"{' '.join(compiler)} could not build the fuzz target; install clang "
            "(Debian: apt-get install clang libclang-rt-dev) or a gcc with sanitizers."
        )


def main() -> int:
    """Command line, see the top of this file; returns the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz the Pico Park simulator.")
    parser.add_argument("--seconds", type=int, default=180, help="how long to play")
    seconds = parser.parse_args().seconds
    folder = ROOT / "build"
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    target, clang = folder / "fuzz_pico_park", shutil.which("clang")
    try:
        if clang:
            compile_target(target, compiler=[clang], libfuzzer=True)
        else:
            compile_target(target, compiler=build.compiler(), libfuzzer=False)
    except build.BuildError as error:
        print(error, file=sys.stderr)
        return 2
    if clang:
        options = ["-max_len=1024", "-len_control=0", f"-max_total_time={seconds}"]
        return subprocess.run([str(target), *options, "corpus"], cwd=folder).returncode
    end = time.monotonic() + seconds
    seed = 0
    while time.monotonic() < end:
        command = [str(target), "--random", str(RANDOM_INPUTS), str(seed)]
        if subprocess.run(command).returncode:
            print(f"broken by: {' '.join(command)}", file=sys.stderr)
            return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
