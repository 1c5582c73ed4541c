"""The sanitizer build bites: faults planted into a copy of the sources are found at run time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from native import build
from tests.native import sanitize

pytestmark = [
    pytest.mark.skipif("CLOWDER_NATIVE" in os.environ, reason="another build was asked for"),
    pytest.mark.skipif(sanitize.sanitizer_library() is None, reason="no sanitizer library"),
]

# Name: (line in pico_park.c, what replaces it while PLANT is that name, what must be reported).
PLANTS = {
    "overflow": (
        "set_bytes(grid + 3 * CHANNEL_BYTES, 0, 2 * CHANNEL_BYTES);",
        "set_bytes(grid + 3 * CHANNEL_BYTES, 0, 3 * CHANNEL_BYTES);",
        "AddressSanitizer: heap-buffer-overflow",
    ),
    "arithmetic": (
        "t.s->tick++;",
        "t.s->tick += INT32_MAX; t.s->tick++;",
        "signed integer overflow",
    ),
    "assertion": ("s->num_dead++;", ";", "Assertion"),
}

PLAY = """
import numpy as np
from env import PicoPark, PicoParkConfig
sim = PicoPark(3, PicoParkConfig(preset="gates"), seed=0)
sim.reset()
rng = np.random.default_rng(0)
for _ in range(50):
    sim.step(rng.integers(0, 6, (3, 4)))
print("played")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(build.FOLDER, folder / "native")
    source = folder / "native" / "pico_park.c"
    text = source.read_text()
    for name, (line, fault, _) in PLANTS.items():
        assert text.count(line) == 1, f"the line to plant {name} into is gone: {line}"
        text = text.replace(line, f'if (planted("{name}")) {{ {fault} }} else {{ {line} }}')
    helper = (
        "static int32_t planted(const char *name) {\n"
        '    const char *plant = getenv("PLANT");\n'
        "    return plant && strcmp(plant, name) == 0;\n}\n"
    )
    source.write_text(text.replace("/* ---- one tick ---- */", helper))
    command = [sys.executable, "-m", "native.build", "--sanitize", "--out", str(folder / "out")]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.strip())


def play(library: Path, plant: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PLAY],
        cwd=sanitize.ROOT,
        env=dict(sanitize.environment(library), PLANT=plant),
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_sound_code_passes(library: Path) -> None:
    result = play(library, "none")
    assert result.returncode == 0 and "played" in result.stdout, result.stderr


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(library: Path, plant: str) -> None:
    result = play(library, plant)
    assert result.returncode != 0 and "played" not in result.stdout
    assert PLANTS[plant][2] in result.stderr, result.stderr[-2000:]
