"""Builds the simulators, and finds the build that fits the sources.

The extension module `clowder_native` is compiled by CFFI (API mode, stable ABI). Its declarations
are the public headers themselves. It carries a hash of its sources and flags; `load()` uses an
installed copy only if that hash is the one of the sources beside this file, and otherwise builds
the right one, once, into a cache folder named by the hash.

    python -m native.build --check
    python -m native.build --out FOLDER [--sanitize] [--optimize 0|2|3]
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "clowder_native"
FOLDER = Path(__file__).resolve().parent
SOURCES = tuple(
    sorted(path.name for path in FOLDER.glob("*.c") if not path.name.startswith("fuzz_"))
)
PUBLIC_HEADERS = tuple(
    sorted(
        (path.name for path in FOLDER.glob("*.h") if f"{path.stem}.c" in SOURCES),
        key=lambda name: (name != "batch.h", name),  # the others include it
    )
)
"""Those beside a source of their name."""

# CPython's own flags are kept (they carry -fwrapv -DNDEBUG), ours come last and win. No
# -march=native: nodes differ; wide paths are chosen at run time. Contraction would let one
# compiler's float32 differ from another's.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off")
SANITIZE_FLAGS = (
    "-O1",
    "-g",
    "-fno-wrapv",
    "-UNDEBUG",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
)

NO_COMPILER = (
    "no C compiler was found (looked for {compiler!r}); install one and the Python headers "
    "(Debian: apt-get install build-essential python3-dev) or set CC to one you have."
)


class BuildError(RuntimeError):
    """The simulators could not be compiled; the message says what to install or mend."""


def source_hash() -> str:
    """The 16 hexadecimal digits that a fitting build carries: headers, sources and our flags."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted([*FOLDER.glob("*.h"), *(FOLDER / name for name in SOURCES)]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def declarations(headers: tuple[str, ...] = PUBLIC_HEADERS) -> str:
    """What CFFI is told: the public headers, without the preprocessor's lines."""
    text = "".join((FOLDER / name).read_text() for name in headers)
    return re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)


def make_builder(
    extra_flags: tuple[str, ...] = (),
    link_flags: tuple[str, ...] = (),
    folder: str = str(FOLDER),
) -> Any:
    """The CFFI builder of `clowder_native`; `folder` is where the C files are."""
    import cffi

    builder = cffi.FFI()
    builder.cdef(declarations())
    builder.set_source(
        MODULE,
        "".join(f'#include "{name}"\n' for name in PUBLIC_HEADERS),
        sources=[os.path.join(folder, name) for name in SOURCES],
        include_dirs=[folder],
        define_macros=[("CLOWDER_SOURCE_HASH", f'"{source_hash()}"')],
        extra_compile_args=[*FLAGS, *extra_flags],
        extra_link_args=list(link_flags),
        py_limited_api=True,
    )
    return builder


def setup_builder() -> Any:
    """What setup.py calls from the repository root: setuptools takes relative paths only."""
    return make_builder(folder="native")


def compiler() -> list[str]:
    """The C compiler's command: CC if that is set, else the one that Python was built with."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc") or ["cc"]


def check_tools() -> None:
    """Raises `BuildError` in one sentence if compiler or Python headers are missing."""
    command = compiler()
    if shutil.which(command[0]) is None:
        raise BuildError(NO_COMPILER.format(compiler=" ".join(command)))
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        raise BuildError(
            f"the Python headers are missing ({include / 'Python.h'}); install them "
            "(Debian: apt-get install python3-dev)."
        )


def check_machine() -> None:
    """Raises `BuildError` in one sentence if something that `make setup` needs is missing."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this is where that is found out
        raise BuildError(
            f"Python {platform.python_version()} is too old; install 3.11 or newer and name it: "
            "make PYTHON=python3.11."
        )
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise BuildError(
                f"Python's module {module} is missing; install it (Debian: apt-get install "
                "python3-venv)."
            )
    check_tools()


def build(out: Path, *, sanitize: bool = False, optimize: str | None = None) -> Path:
    """Compiles the module into the folder `out` and returns the path of the library.

    Args:
        out: folder, made if it is not there.
        sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer, assertions on.
        optimize: another -O level, for tests: histories must not depend on it.

    Raises:
        BuildError: no compiler, no headers, or the compiler failed.
    """
    check_tools()
    extra: tuple[str, ...] = SANITIZE_FLAGS if sanitize else ()
    if optimize is not None:
        extra += (f"-O{optimize}",)
    link = ("-fsanitize=address,undefined",) if sanitize else ()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        command = [
            sys.executable,
            "-c",
            "from native.build import make_builder; import sys\n"
            f"make_builder({extra!r}, {link!r}).compile(tmpdir=sys.argv[1])",
            scratch,
        ]
        environment = dict(os.environ, PYTHONPATH=str(FOLDER.parent))
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        built = list(Path(scratch).glob(f"{MODULE}*.so"))
        if result.returncode != 0 or not built:
            errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
            reason = errors[0] if errors else result.stderr.strip()[-300:]
            raise BuildError(f"the simulators could not be compiled: {reason.strip()}")
        # Renaming is atomic: whoever looks sees a whole library or none.
        return built[0].replace(out / built[0].name)


def cache_folder() -> Path:
    """Where builds for these sources, this Python and this machine are kept."""
    root = os.environ.get("CLOWDER_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "clowder"
    )
    machine = f"{sys.platform}-{platform.machine()}"
    return Path(root) / "native" / f"{source_hash()}-{machine}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process builds at a time; the others wait and find the result."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sum_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _is_whole(library: Path) -> bool:
    """Whether a cached library is the one that was built: loading half a file may be fatal."""
    try:
        expected = _sum_file(library).read_text()
        return hashlib.sha256(library.read_bytes()).hexdigest() == expected
    except OSError:
        return False


def _build_cached(folder: Path) -> None:
    library = build(folder)
    _sum_file(library).write_text(hashlib.sha256(library.read_bytes()).hexdigest())


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hash_of(module: ModuleType) -> str:
    """Hash of the sources that a compiled module was built from."""
    return bytes(module.ffi.string(module.lib.batch_source_hash())).decode()


def load() -> ModuleType:
    """The compiled module that fits the sources: `.ffi` and `.lib`.

    CLOWDER_NATIVE names a library to use instead, whatever its hash (sanitizer builds).

    Raises:
        BuildError: none fits and none can be built here.
    """
    named = os.environ.get("CLOWDER_NATIVE")
    if named:
        return _load_file(Path(named))
    with contextlib.suppress(ImportError):
        installed = importlib.import_module(MODULE)
        if hash_of(installed) == source_hash():
            return installed
    folder = cache_folder()
    library = folder / f"{MODULE}.abi3.so"
    if not _is_whole(library):
        with _locked(folder):
            if not _is_whole(library):
                _build_cached(folder)
    try:
        return _load_file(library)
    except ImportError:  # built where another C library is, or for another machine
        with _locked(folder):
            _build_cached(folder)
        return _load_file(library)


def main() -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser(description="Build the simulators.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder for the library")
    what.add_argument("--check", action="store_true", help="only look for what a build needs")
    parser.add_argument("--sanitize", action="store_true", help="with ASan, UBSan and assertions")
    parser.add_argument("--optimize", choices=["0", "1", "2", "3"], help="another -O level")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check_machine()
        else:
            print(build(arguments.out, sanitize=arguments.sanitize, optimize=arguments.optimize))
    except BuildError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
