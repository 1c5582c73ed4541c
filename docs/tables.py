"""The tables in the docs that come from code: `python -m docs.tables` writes them anew.

A test compares them, so a term or preset is declared in one place only.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from env.batch import Rewards, native
from env.pico_park import PicoParkRewards, presets
from env.pong import PongRewards


def field_docs(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, line breaks folded."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    found: dict[str, str] = {}
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[node.target.id] = " ".join(ast.literal_eval(below.value).split())  # type: ignore[union-attr]
    return found


def rewards_table(kind: type[Rewards]) -> str:
    """Terms with defaults, `blog` values where there are some, and the ranges that sweeps draw
    from."""
    docs = field_docs(kind)
    known = {one.name: one for one in fields(kind)}
    has_blog = all("blog" in one.metadata for one in known.values())
    lines = ["| term | pays | default | " + ("`blog` | " if has_blog else "") + "swept |"]
    lines.append("|---" * (5 if has_blog else 4) + "|")
    for name in (*kind.terms(), "team_share"):
        given = known[name].metadata
        blog = f"{given['blog']:g} | " if has_blog else ""
        lines.append(
            f"| `{name}` | {docs[name]} | {known[name].default:g} | {blog}"
            f"{given['low']:g} to {given['high']:g} |"
        )
    return "\n".join(lines)


def presets_table() -> str:
    """The ladder's rows as columns."""
    module = native()
    names = presets()
    rows = [module.lib.pico_preset(i) for i in range(len(names))]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for field, _ in module.ffi.typeof("pico_difficulty").fields:
        cells = [str(getattr(row, field)) for row in rows]
        lines.append(f"| `{field}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rendered(path: Path) -> str:
    """A page with its tables as the code has them now."""
    page = path.read_text()
    for name, table in PAGES[path]().items():
        pattern = rf"(<!-- {name}:.*?-->\n).*?(<!-- /{name} -->)"
        page = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", page, flags=re.DOTALL)
    return page


FOLDER = Path(__file__).parent
PAGES: dict[Path, Callable[[], dict[str, str]]] = {
    FOLDER / "02-pico-park.md": lambda: {
        "rewards": rewards_table(PicoParkRewards),
        "presets": presets_table(),
    },
    FOLDER / "12-pong.md": lambda: {"rewards": rewards_table(PongRewards)},
}


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(rendered(path))
