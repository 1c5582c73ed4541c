"""Runs the simulators' tests on a build with AddressSanitizer, UBSan and assertions.

python -m tests.native.sanitize                 # the tests below
python -m tests.native.sanitize PYTEST_ARGUMENT...
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from native import build

ROOT = Path(__file__).resolve().parents[2]

# Every file that drives the C code and needs neither Ray nor torch.
TESTS = (
    "tests/native",
    "tests/env/test_pico_park_rules.py",
    "tests/env/test_pico_park_batch.py",
    "tests/env/test_golden.py",
    "tests/env/test_against_reference.py",
    "tests/env/test_levels.py",
    "tests/env/test_pong.py",
)


def sanitizer_library() -> Path | None:
    """The compiler's libasan.so, or None where it has none that can be preloaded."""
    try:
        compiler = build.compiler()
        name = subprocess.run(
            [*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(name) if Path(name).is_absolute() else None


def environment(library: Path) -> dict[str, str]:
    """What a Python process needs so that it can load the sanitized `library`.

    The sanitizer must be loaded before Python itself. CPython never frees all it has, so leaks
    are not looked for. Allocations go to malloc, so that each buffer has guarded ends.
    """
    preload = sanitizer_library()
    if preload is None:
        raise build.BuildError(
            f"{' '.join(build.compiler())} has no libasan.so to preload; use gcc "
            "(Debian: apt-get install gcc) by setting CC=gcc."
        )
    return dict(
        os.environ,
        LD_PRELOAD=str(preload),
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1",
        PYTHONMALLOC="malloc",
        CLOWDER_NATIVE=str(library),
    )


def main(arguments: list[str]) -> int:
    """Builds, runs pytest and returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = build.build(Path(folder), sanitize=True)
            settings = environment(library)
        except build.BuildError as error:
            print(error, file=sys.stderr)
            return 2
        # Without conftest: it brings in Ray, which these tests do without. Without capturing what
        # C writes: a sanitizer's last words would be lost.
        command = [sys.executable, "-m", "pytest", "--noconftest", "--capture=sys", "-q"]
        are_named = any((ROOT / one.split("::")[0]).exists() for one in arguments)
        command += [*arguments, *(() if are_named else TESTS)]
        return subprocess.run(command, cwd=ROOT, env=settings).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
