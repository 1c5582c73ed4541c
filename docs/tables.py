"""The tables in the docs that come from code: `python -m docs.tables` writes them anew.

A test compares them, so a term or preset is declared in one place only.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from dataclasses import fields
from pathlib import Path

from env.batch import native
from env.pico_park import PicoParkRewards, presets

PAGE = Path(__file__).with_name("02-pico-park.md")


def field_docs(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, line breaks folded."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    found: dict[str, str] = {}
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[node.target.id] = " ".join(ast.literal_eval(below.value).split())  # type: ignore[union-attr]
    return found


def rewards_table() -> str:
    """Terms with defaults, `blog` values and the ranges that sweeps draw from."""
    docs = field_docs(PicoParkRewards)
    lines = ["| term | pays | default | `blog` | swept |", "|---|---|---|---|---|"]
    for name in (*PicoParkRewards.terms(), "team_share"):
        one = next(one for one in fields(PicoParkRewards) if one.name == name)
        low, high = PicoParkRewards.sweep_range(name)
        lines.append(
            f"| `{name}` | {docs[name]} | {one.default:g} | {one.metadata['blog']:g} | "
            f"{low:g} to {high:g} |"
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


def rendered(page: str) -> str:
    """The page with both tables as the code has them now."""
    for name, table in (("rewards", rewards_table()), ("presets", presets_table())):
        pattern = rf"(<!-- {name}:.*?-->\n).*?(<!-- /{name} -->)"
        page = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
