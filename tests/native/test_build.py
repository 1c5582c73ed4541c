"""How the compiled module is built, found and refused. Nothing here depends on the usual cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from native import build

pytestmark = pytest.mark.skipif("CLOWDER_NATIVE" in os.environ, reason="another build is asked for")

LOAD = (
    "from native import build\n"
    "module = build.load()\n"
    "print(module.__file__, build.hash_of(module) == build.source_hash())\n"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick build that fits the sources."""
    return build.build(tmp_path_factory.mktemp("library"), optimize="0")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for this process and its children; the folder that a build goes to."""
    monkeypatch.setenv("CLOWDER_CACHE", str(tmp_path / "cache"))
    return build.cache_folder()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sources, from where nothing installed is seen."""
    folder = tmp_path_factory.mktemp("elsewhere")
    copy_of_sources(folder)
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / f"{build.MODULE}.py").write_text("raise ImportError('hidden by the test')\n")
    return folder


def settings_of(folder: Path, **settings: str) -> dict[str, str]:
    """An environment in which only what `PYTHONPATH` names is installed."""
    path = os.pathsep.join(filter(None, [settings.get("PYTHONPATH"), str(folder / "hidden")]))
    return {**os.environ, **settings, "PYTHONPATH": path}


def run(code: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=settings_of(cwd, **settings),
        capture_output=True,
        text=True,
        timeout=90,
    )


def put_in(cache: Path, library: Path, data: bytes | None = None) -> Path:
    """Puts a library into the cache as if it had been built there; `data`: other bytes."""
    cache.mkdir(parents=True)
    cached = cache / library.name
    cached.write_bytes(library.read_bytes() if data is None else data)
    build._sum_file(cached).write_text(hashlib.sha256(cached.read_bytes()).hexdigest())
    return cached


def of_other_sources(library: Path) -> bytes:
    """The library's bytes with another source hash in them."""
    data, old = library.read_bytes(), build.source_hash().encode()
    assert old in data
    return data.replace(old, b"0123456789abcdef")


def copy_of_sources(folder: Path) -> Path:
    shutil.copytree(build.FOLDER, folder / "native")
    return folder / "native"


def test_the_public_headers_are_the_declarations() -> None:
    text = build.declarations()
    assert "#" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for name in build.PUBLIC_HEADERS:
        header = (build.FOLDER / name).read_text()
        declared = re.findall(r"^[a-z][\w ]*[ *](\w+)\(", header, flags=re.MULTILINE)
        assert len(declared) > 5
        for function in declared:
            assert f"{function}(" in text


def test_every_declared_function_is_in_the_library(library: Path) -> None:
    module = build._load_file(library)
    declared = re.findall(r"^[a-z][\w ]*[ *](\w+)\(", build.declarations(), flags=re.MULTILINE)
    assert {"batch_step", "pico_create"} <= set(declared)
    for function in declared:
        assert callable(getattr(module.lib, function))


def test_the_hash_follows_the_sources(tmp_path: Path) -> None:
    folder = copy_of_sources(tmp_path)
    seen = set()
    for name in (None, *build.SOURCES, "random.h", "batch.h"):
        if name:
            with open(folder / name, "a") as file:
                file.write("\n/* changed */\n")
        seen.add(run("from native import build; print(build.source_hash())", tmp_path).stdout)
    assert len(seen) == len(build.SOURCES) + 3 and build.source_hash() + "\n" in seen


def test_a_library_says_which_sources_it_was_built_from(library: Path) -> None:
    assert build.hash_of(build._load_file(library)) == build.source_hash()


def test_an_installed_copy_of_these_sources_is_used(
    library: Path, cache: Path, elsewhere: Path
) -> None:
    result = run(LOAD, elsewhere, PYTHONPATH=str(library.parent))
    assert result.stdout.split() == [str(library), "True"], result.stderr
    assert not cache.exists()


def test_an_installed_copy_of_other_sources_is_not_used(
    library: Path, cache: Path, tmp_path: Path, elsewhere: Path
) -> None:
    put_in(cache, library)
    other = tmp_path / "installed"
    other.mkdir()
    (other / library.name).write_bytes(of_other_sources(library))
    result = run(LOAD, elsewhere, PYTHONPATH=str(other))
    assert result.stdout.split() == [str(cache / library.name), "True"], result.stderr


def test_without_a_compiler_one_sentence_says_what_to_install(cache: Path, elsewhere: Path) -> None:
    code = (
        "from native import build\n"
        "try: build.load()\n"
        "except build.BuildError as error: print(error)\n"
    )
    result = run(code, elsewhere, CC="/nonexistent/cc")
    assert result.stdout.count("\n") == 1, result.stderr
    assert "'/nonexistent/cc'" in result.stdout and "build-essential" in result.stdout
    assert not list(cache.glob("*.so"))


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    folder = copy_of_sources(tmp_path)
    with open(folder / "batch.c", "a") as file:
        file.write("\nint broken(void) { return nonsense; }\n")
    command = [sys.executable, "-m", "native.build", "--out", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert result.returncode != 0 and "nonsense" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_two_processes_at_once_end_with_one_good_library(cache: Path, elsewhere: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD],
            cwd=elsewhere,
            env=settings_of(elsewhere),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=90)[0].split() for process in processes]
    assert said[0] == said[1] and said[0][1] == "True"
    assert Path(said[0][0]).parent == cache
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".sha256", ".so"]  # "": the lock


def test_damage_in_the_cache_is_seen_before_loading(library: Path, cache: Path) -> None:
    cached, data = put_in(cache, library), library.read_bytes()
    assert build._is_whole(cached)
    for damaged in (b"", data[: len(data) // 2], data[:-1] + bytes([data[-1] ^ 1])):
        cached.write_bytes(damaged)
        assert not build._is_whole(cached)
    cached.write_bytes(data)
    build._sum_file(cached).unlink()
    assert not build._is_whole(cached)


def test_a_library_cut_short_in_the_cache_is_built_again(
    library: Path, cache: Path, elsewhere: Path
) -> None:
    cached = put_in(cache, library)
    cached.write_bytes(library.read_bytes()[:20000])
    result = run(LOAD, elsewhere)
    assert result.stdout.split() == [str(cached), "True"], result.stderr[-500:]
    assert build._is_whole(cached)


def test_a_cached_library_that_cannot_be_loaded_is_built_again(
    library: Path, cache: Path, elsewhere: Path
) -> None:
    cached = put_in(cache, library, b"for another machine")
    result = run(LOAD, elsewhere)
    assert result.stdout.split() == [str(cached), "True"], result.stderr[-500:]


def test_a_library_asked_for_by_name_is_taken_whatever_its_hash(
    library: Path, tmp_path: Path, elsewhere: Path
) -> None:
    other = tmp_path / library.name
    other.write_bytes(of_other_sources(library))
    result = run(LOAD, elsewhere, CLOWDER_NATIVE=str(other))
    assert result.stdout.split() == [str(other), "False"], result.stderr


def test_the_stable_abi_is_used(library: Path) -> None:
    assert library.name == f"{build.MODULE}.abi3.so"
