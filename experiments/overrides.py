"""Flags of the command line: `--rewards.own-block 0.05` sets the field `rewards.own_block`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from env.errors import BadInputError, unknown_name
from experiments.fields import hint_of, parse_text, takes_list
from experiments.recipe import flatten, replace

Config = TypeVar("Config")


def override(default: Config, words: Sequence[str], *, prog: str, description: str = "") -> Config:
    """A config with the fields that flags name set; `--help` explains all, and exits.

    Args:
        default: a config, nested dataclasses opened by dots.
        words: `--FIELD VALUE` or `--FIELD=VALUE`; a field that holds several takes all that follow,
            and those of the same flag further on.
        prog: how the user called this, for the help.
        description: first paragraph of the help.

    Raises:
        BadInputError: unknown field, missing or superfluous value, or one that makes no sense.
    """
    if "-h" in words or "--help" in words:
        _print_help(default, prog, description)
        raise SystemExit(0)
    changed: Config = replace(default, read_flags(default, words))
    return changed


def split_run(
    words: Sequence[str], default: Config, *, usage: str, prog: str
) -> tuple[str, Config]:
    """The RUN that a verb is told first, and its options; without one the usage, and it ends."""
    if not words or words[0] in ("-h", "--help"):
        print(usage)
        raise SystemExit(0 if words else 2)
    return words[0], override(default, words[1:], prog=prog)


def take_flags(words: Sequence[str], known: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Flags that are a verb's own, not fields of a config, and the other words.

    Args:
        words: `--flag VALUE` or `--flag=VALUE` among others; the last of a flag counts.
        known: the flags, and what to give each.

    Raises:
        BadInputError: one lacks its value.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, has_value, value = word.partition("=")
        if flag not in known:
            rest.append(word)
        elif not has_value and not left:
            raise BadInputError(f"{flag} lacks its value; give {known[flag]}.")
        else:
            found[flag] = value if has_value else left.pop(0)
    return found, rest


def flag_of(name: str) -> str:
    """The flag of a dotted field name."""
    return "--" + name.rstrip("_").replace("_", "-")


def read_flags(default: Any, words: Sequence[str]) -> dict[str, Any]:
    """The values that flags give, by dotted field name.

    Raises:
        BadInputError: as for `override`.
    """
    current = flatten(default)
    names = {flag_of(name): name for name in current}
    values: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        flag, has_value, text = word.partition("=")
        if not flag.startswith("--"):
            raise BadInputError(f"{word!r} belongs to no flag; write --FIELD VALUE.")
        name = names.get(flag.rstrip("_").replace("_", "-"))
        if name is None:
            raise unknown_name("field", flag, names)
        hint = hint_of(default, name)
        texts = [text] if has_value else []
        while left and not left[0].startswith("--") and (takes_list(hint) or not texts):
            texts.append(left.pop(0))
        if takes_list(hint):
            values[name] = (*values.get(name, ()), *texts)
        elif texts:
            values[name] = parse_text(flag, texts[0], hint, current[name])
        else:
            such = f", such as {current[name]}" if current[name] != "" else ""
            raise BadInputError(f"{flag} lacks its value; give one{such}.")
    return values


def _print_help(default: Any, prog: str, description: str) -> None:
    import tyro

    tyro.cli(
        type(default),
        prog=prog,
        description=description or None,
        default=default,
        args=["--help"],
        config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands),
    )
