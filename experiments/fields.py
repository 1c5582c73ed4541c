"""Fields of configs: what kind of value each takes, and reading one from a text."""

from __future__ import annotations

import functools
import types
import typing
from typing import Any

from env.errors import BadInputError, unknown_name

_MISFIT = object()


def hint_of(config: Any, name: str) -> Any:
    """Type hint of a field by its dotted name, nested dataclasses opened."""
    head, _, rest = name.partition(".")
    if rest:
        return hint_of(getattr(config, head), rest)
    kind: Any = type(config)
    return _hints(kind)[head]


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Type hints of a config's fields; a study's trials are a thousand times the same."""
    return typing.get_type_hints(kind)


def options_of(hint: Any) -> tuple[Any, ...]:
    """The hint's alternatives: `int | None` has two, `int` one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(one for part in typing.get_args(hint) for one in options_of(part))
    return (hint,)


def takes_integers(hint: Any) -> bool:
    """Whether a number in this field is a whole one."""
    return int in options_of(hint)


def takes_list(hint: Any) -> bool:
    """Whether the field holds several values."""
    return any(typing.get_origin(one) is tuple for one in options_of(hint))


def convert(name: str, value: Any, hint: Any) -> Any:
    """The value as the field holds it: JSON and searches say 3 as 3.0, and tuples as lists.

    Raises:
        BadInputError: a value of another kind; one sentence that says which the field takes.
    """
    options = options_of(hint)
    for option in options:
        found = _fit(value, option)
        if found is not _MISFIT:
            return found
    _refuse_choice(name, value, options)
    raise BadInputError(f"{name} is {value!r}; it must be {_describe(options)}.")


def parse_text(label: str, text: str, hint: Any, example: Any) -> Any:
    """The value that a text says, of the kind that the field takes.

    Args:
        label: what to call the field in an error.
        text: as a person wrote it.
        hint: type hint of the field.
        example: a value that the field accepts, shown in an error.

    Raises:
        BadInputError: the text says no such value.
    """
    options = options_of(hint)
    for option in options:
        found = _fit(_read(text.strip(), option), option)
        if found is not _MISFIT:
            return found
    _refuse_choice(label, text, options)
    such_as = "" if example is None else f", such as {example}"
    raise BadInputError(f"{label}: {text!r} is not {_describe(options)}{such_as}.")


def _read(text: str, option: Any) -> Any:
    """The text as a value of this kind; a misfit if it says none."""
    if option is bool:
        return {"true": True, "false": False}.get(text.lower(), _MISFIT)
    if option is type(None):
        return None if text.lower() == "none" else _MISFIT
    if typing.get_origin(option) is tuple:
        return (text,)
    if option not in (int, float):
        return text
    for kind in (int, float):  # a float with 17 digits would lose those of a long seed
        try:
            return kind(text)
        except ValueError:
            continue
    return _MISFIT


def _fit(value: Any, option: Any) -> Any:
    """The value as this kind holds it, or a misfit."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if option is type(None):
        return value if value is None else _MISFIT
    if typing.get_origin(option) is typing.Literal:
        is_choice = isinstance(value, str) and value in typing.get_args(option)
        return value if is_choice else _MISFIT
    if typing.get_origin(option) is tuple:
        is_list = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        return tuple(value) if is_list else _MISFIT
    if option is int:
        is_whole = is_number and (isinstance(value, int) or value.is_integer())
        return int(value) if is_whole else _MISFIT
    if option is float:
        return float(value) if is_number else _MISFIT
    return value if isinstance(value, option) else _MISFIT


def _refuse_choice(name: str, value: Any, options: tuple[Any, ...]) -> None:
    """A wrong choice among names suggests the nearest."""
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            raise unknown_name(name, str(value), typing.get_args(option))


def _describe(options: tuple[Any, ...]) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "none",
    }
    return " or ".join(words.get(one, "a list of texts") for one in options)
