"""Search spaces as short texts: which fields of a recipe vary, and how."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any

from env.errors import BadInputError, unknown_name
from experiments import recipe as recipes
from experiments.fields import hint_of, parse_text, takes_integers
from experiments.recipe import Recipe

SEED = "run.seed"
"""The field that doesn't make a variant: every variant is trained with all its seeds."""
VARIANT = "variant"
"""Key of a Tune config: the name of one of `sweep.variants`."""
LISTED = (SEED, VARIANT)
"""Keys of which every value is taken, however the rest is searched."""
FIXED = (
    "name",
    "curriculum.rungs",
    "evaluation.presets",
    "run.study",
    "run.storage",
    "run.tracking_uri",
    "run.env_steps",
    "run.checkpoint_env_steps",
    "run.num_checkpoints",
    "run.num_threads",
)
"""Fields of the sweep as a whole, beside `sweep.`."""
STEPPED = ("ppo.fragment", "ppo.minibatch", "ppo.microbatch")
"""Fields of which only some multiples make sense."""
FORMS = "write NAME, NAME=1,2,3, NAME=low:high or NAME=low:high:log"


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A field that varies: over listed values, or between two numbers."""

    field: str
    """Dotted name of the recipe's field."""
    values: tuple[Any, ...] = ()
    """Listed values; empty for a range."""
    low: float = 0.0
    """Lower end of a range."""
    high: float = 0.0
    """Upper end of a range."""
    is_log: bool = False
    """Whether the range is drawn from on a logarithmic scale."""
    is_integer: bool = False
    """Whether the field takes whole numbers."""

    def domain(self) -> Any:
        """What Tune draws from: a list of values, or one of its distributions."""
        from ray import tune

        if self.values:
            return list(self.values)
        if self.is_integer:
            draw = tune.lograndint if self.is_log else tune.randint
            return draw(int(self.low), int(self.high) + 1)
        return (tune.loguniform if self.is_log else tune.uniform)(self.low, self.high)


def parse_dimension(text: str, recipe: Recipe) -> Dimension:
    """Reads one dimension and checks it against the recipe.

    Raises:
        BadInputError: no such field, no such form, or a value that the field refuses.
    """
    name, equals, domain = text.partition("=")
    name = name.strip().replace("-", "_")
    known = recipes.flatten(recipe)
    if name not in known:
        raise unknown_name("field to vary", name, known)
    if name in FIXED or name.startswith("sweep."):
        raise BadInputError(f"{name} can't vary within one sweep; run another sweep for it.")
    hint = hint_of(recipe, name)
    if not equals:
        if not name.startswith("rewards."):
            raise BadInputError(f"{text!r} says no values and {name} has no usual range; {FORMS}.")
        low, high = recipe.rewards.sweep_range(name.removeprefix("rewards."))
        return Dimension(field=name, low=low, high=high)
    if ":" in domain:
        return _range(text, name, domain, recipe, is_integer=takes_integers(hint))
    values = tuple(parse_text(text, part, hint, known[name]) for part in domain.split(","))
    if len(set(values)) < len(values):
        raise BadInputError(f"{text!r} lists a value twice; the two would be the same trial.")
    for value in values:
        recipes.replace(recipe, {name: value})  # refused now, not in the middle of a sweep
    return Dimension(field=name, values=values)


def _range(text: str, name: str, domain: str, recipe: Recipe, *, is_integer: bool) -> Dimension:
    parts = domain.split(":")
    is_log = parts[2:] == ["log"]
    if len(parts) != 2 + is_log:
        raise BadInputError(f"{text!r} is no range; {FORMS}.")
    try:
        low, high = float(parts[0]), float(parts[1])
    except ValueError:
        raise BadInputError(f"{text!r} has an end that is no number; {FORMS}.") from None
    if not low < high or (is_log and low <= 0):
        raise BadInputError(f"{text!r} is empty{' or not above 0' if is_log else ''}; {FORMS}.")
    if name in STEPPED:
        raise BadInputError(
            f"{text!r} would draw values that don't fit a segment; list them ({name}=1024,2048)."
        )
    for end in (low, high):
        recipes.replace(recipe, {name: end})
    return Dimension(field=name, low=low, high=high, is_log=is_log, is_integer=is_integer)


def parse_variant(text: str, recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Reads a named variant, `NAME: FIELD=VALUE ...`, and checks it against the recipe.

    Returns:
        Its name, and values by dotted field name.

    Raises:
        BadInputError: no name, no such field, or a value that the field refuses.
    """
    name, colon, rest = text.partition(":")
    name = name.strip()
    if not colon or not name:
        raise BadInputError(
            f"the variant {text!r} has no name; write NAME: FIELD=VALUE FIELD=VALUE."
        )
    known = recipes.flatten(recipe)
    changes: dict[str, Any] = {}
    for part in rest.split():
        pattern, equals, value = part.partition("=")
        pattern = pattern.replace("-", "_")
        fields = [one for one in known if fnmatch.fnmatchcase(one, pattern)]
        if not fields:
            raise unknown_name(f"field of the variant {name!r}", pattern, known)
        for field in fields:
            if field in FIXED or field.startswith("sweep.") or field == SEED:
                raise BadInputError(f"the variant {name!r} can't change {field}.")
            if not equals:
                raise BadInputError(f"the variant {name!r} gives {field} no value.")
            changes[field] = parse_text(part, value, hint_of(recipe, field), known[field])
    recipes.replace(recipe, changes)  # refused now, not in the middle of a sweep
    return name, changes


def parse_variants(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The named variants of a recipe's sweep: name, and values by dotted field name.

    Raises:
        BadInputError: one makes no sense, or a name is given twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in recipe.sweep.variants:
        name, changes = parse_variant(text, recipe)
        if name in found:
            raise BadInputError(f"two variants are called {name!r}; each needs a name of its own.")
        found[name] = changes
    return found


def parse_space(recipe: Recipe) -> tuple[Dimension, ...]:
    """All dimensions of the recipe's sweep, the seeds included.

    Raises:
        BadInputError: nothing varies, a field varies twice, or a grid over a range.
    """
    dimensions = [parse_dimension(text, recipe) for text in recipe.sweep.space]
    if variants := parse_variants(recipe):
        dimensions.append(Dimension(field=VARIANT, values=tuple(variants)))
        twice = {one.field for one in dimensions} & {
            name for of in variants.values() for name in of
        }
        if twice:
            raise BadInputError(f"{min(twice)} varies in sweep.space and in sweep.variants.")
    for one in dimensions:
        if one.field == SEED and not one.values:
            raise BadInputError(f"{SEED} has a range; list its values or give --sweep.num-seeds.")
    # Tune repeats optuna's proposals itself (experiments/search.py).
    if recipe.sweep.num_seeds > 1 and recipe.sweep.search != "optuna":
        seeds = tuple(recipe.run.seed + i for i in range(recipe.sweep.num_seeds))
        dimensions.append(Dimension(field=SEED, values=seeds))
    names = [one.field for one in dimensions]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"{name} varies twice in this sweep; name it once.")
    if not names:
        raise BadInputError(
            f"the recipe {recipe.name!r} varies nothing; give --sweep.space, for instance "
            "--sweep.space rewards.own_block rewards.team_share=0,0.2,1."
        )
    if recipe.sweep.search == "grid":
        for one in dimensions:
            if not one.values:
                raise BadInputError(
                    f"a grid needs listed values, but {one.field} has a range; list values "
                    f"({one.field}=1,2,3) or choose --sweep.search random."
                )
    return tuple(dimensions)


def to_tune(dimensions: tuple[Dimension, ...], *, is_grid: bool) -> dict[str, Any]:
    """Tune's `param_space` of these dimensions. Seeds and named variants are always a grid."""
    from ray import tune

    space: dict[str, Any] = {}
    for one in dimensions:
        if one.values:
            of = tune.grid_search if is_grid or one.field in LISTED else tune.choice
            space[one.field] = of(one.domain())
        else:
            space[one.field] = one.domain()
    return space


def count_draws(dimensions: tuple[Dimension, ...], recipe: Recipe) -> int:
    """How often Tune draws: everything that is listed comes with every draw."""
    is_drawn = any(one.field not in LISTED for one in dimensions)
    return recipe.sweep.num_trials if is_drawn and recipe.sweep.search != "grid" else 1


def count_trials(dimensions: tuple[Dimension, ...], recipe: Recipe) -> int:
    """How many trials the sweep has."""
    count = count_draws(dimensions, recipe)
    if recipe.sweep.search == "optuna":
        return count * recipe.sweep.num_seeds
    for one in dimensions:
        if recipe.sweep.search == "grid" or one.field in LISTED:
            count *= len(one.values)
    return count


def varied_fields(dimensions: tuple[Dimension, ...], recipe: Recipe) -> list[str]:
    """Fields that differ between trials, but for the seed."""
    named = {field: None for changes in parse_variants(recipe).values() for field in changes}
    return [one.field for one in dimensions if one.field not in LISTED] + list(named)


def variant_name(config: dict[str, Any]) -> str:
    """What a trial varies, short: `team_share=0.2 alive=0`."""
    parts = []
    for name, value in config.items():
        if name in ("recipe", SEED) or name.startswith("__"):
            continue
        if name == VARIANT:
            parts.append(str(value))
            continue
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f"{name.rsplit('.', 1)[-1]}={text}")
    return " ".join(parts) or "base"
