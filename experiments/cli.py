"""The verbs of the command line that experiments own: train, sweep, evaluate, rescore, ...

Overrides are flags named like the recipe's fields (`--rewards.own-block 0.05`); their help is the
docstring under each field.
"""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from env.errors import BadInputError, unknown_name
from experiments import session
from experiments.overrides import override, take_flags
from experiments.recipe import Recipe
from experiments.recipes import RECIPES, find_recipe
from native.build import BuildError

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

USAGE = """usage: clowder VERB ...

  train RECIPE      train one team
  sweep RECIPE      train variants of a recipe and rank them by held-out win rate
  evaluate RUN      judge a trained team on held-out levels (or `random`, `scripted`)
  report STUDY      what an experiment found: which weight matters, and what the cats did
  compare RUN RUN   two trained teams beside each other, level by level
  match A B         two players of Pong against each other: policies, or scripted opponents
  rescore RUN       what its stored games would have paid under other weights
  watch RUN|REPLAY  see a game: what each cat saw, wanted and was paid
  play RUN          take a seat in a trained team
  replay verify     play replays again: do they come out exactly?
  doctor            what is here, what is missing, what to install{more}

`clowder VERB --help` explains the rest. Recipes:
"""


RESUME_HELP = """--resume MODE: `auto` (default) continues an unfinished run of this study, `must`
insists on one, `never` starts another."""


def main(
    arguments: Sequence[str] | None = None,
    more: Mapping[str, Callable[[list[str]], int]] | None = None,
    lines: str = "",
) -> int:
    """Runs a verb and returns the exit status; a user's mistake is one sentence and status 2.

    Args:
        arguments: words; by default those of this process.
        more: verbs of rooms to the right, or those that stand in for verbs of this one.
        lines: about them, for the help.
    """
    verbs = VERBS | dict(more or {})
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE.format(more=lines and f"\n{lines}") + "\n".join(_recipe_lines()))
        return 0 if words else EXIT_USAGE
    verb, rest = words[0], words[1:]
    # Verbs of rooms to the right ask clusters that are there, with those clusters' token.
    session.prepare(starts_cluster=verb in VERBS and verb not in (more or {}))
    try:
        if verb not in verbs:
            raise unknown_name("verb", verb, verbs)
        return verbs[verb](rest)
    except BadInputError as error:
        print(f"clowder: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BuildError as error:
        print(f"clowder: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as end:  # a help text was asked for
        return int(end.code or 0)
    except OSError as error:
        if error.errno is None:
            raise
        print(
            f"clowder: {error.filename or 'a file'} can't be used ({error.strerror}); what was "
            "written before is kept: mend that, and repeat the command.",
            file=sys.stderr,
        )
        return EXIT_FAILED


def _recipe_lines() -> list[str]:
    return [
        f"  {name:<16}  {(make.__doc__ or '').strip().split(':')[0].splitlines()[0]}"
        for name, make in RECIPES.items()
    ]


# -- reading overrides


def split_resume(words: Sequence[str]) -> tuple[str, list[str]]:
    """The mode of `--resume MODE`, `auto` without one, and the other words."""
    found, rest = take_flags(words, {"--resume": "auto, never or must"})
    resume = found.get("--resume", "auto")
    if resume not in ("auto", "never", "must"):
        raise unknown_name("resume mode", resume, ("auto", "never", "must"))
    return resume, rest


def parse_recipe(verb: str, words: list[str]) -> tuple[Recipe, str]:
    """A recipe by name with its fields overridden, and the mode of resuming.

    Raises:
        BadInputError: unknown recipe or field, or a value that makes no sense.
    """
    if not words or words[0] in ("-h", "--help"):
        print(
            f"usage: clowder {verb} RECIPE [--FIELD VALUE ...] [--resume auto|never|must]\n\n"
            f"`clowder {verb} RECIPE --help` explains the fields. Recipes:\n"
            + "\n".join(_recipe_lines())
        )
        raise SystemExit(0 if words else EXIT_USAGE)
    base = find_recipe(words[0])
    resume, flags = split_resume(words[1:])
    recipe = override(
        base,
        flags,
        prog=f"clowder {verb} {words[0]}",
        description=(RECIPES[words[0]].__doc__ or "").strip() + "\n\n" + RESUME_HELP,
    )
    return recipe, resume


# -- verbs


def match(words: list[str]) -> int:
    """`match A B`."""
    from experiments.match_cli import run_match

    return run_match(words)


def _run(verb: str, words: list[str]) -> int:
    from experiments import ranking, runner
    from experiments.terminal import open_console, tell
    from experiments.tracking import chart_url

    recipe, resume = parse_recipe(verb, words)
    console = open_console()
    again = shlex.join(["clowder", verb, *split_resume(words)[1]])
    result = runner.run(
        recipe,
        is_sweep=verb == "sweep",
        resume=resume,  # type: ignore[arg-type]
        command=again,
        announce=functools.partial(tell, console),
    )
    ranking.print_ranking(result, console)
    if result.ranking:
        picture = result.folder / ranking.PICTURE
        who = "cats" if recipe.game == "pico_park" else "seats"
        title = f"{recipe.study}: {recipe.env.num_agents} {who} on {recipe.env.preset}"
        ranking.draw_sweep(result.ranking, picture, title)
        result.tracker.log_artifact("parent", picture)
        tell(console, f"picture   {picture}")
        best = result.ranking[0]
        if best.policy:
            tell(console, _how_to_go_on(recipe, best.policy))
    if verb == "sweep" and recipe.game == "pico_park" and result.ranking and not result.interrupted:
        _report(result, console)
    _tell_where(result, console, chart_url)
    if result.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if any(one.error for one in result.trials) else 0


def _how_to_go_on(recipe: Recipe, policy: Any) -> str:
    """Where the best policy is, and what can be done with it."""
    if recipe.game == "pong":
        return f"best      {policy}\nmatch it  clowder match {policy} predictor"
    return (
        f"best team {policy}\njudge it  clowder evaluate {policy}\nwatch it  clowder watch {policy}"
    )


def _report(result: Any, console: Any) -> None:
    """The sweep's report, in its folder and among the artifacts of its own run.

    The sweep has ended well whatever becomes of its report.
    """
    from experiments.report import make_report
    from experiments.study import Study
    from experiments.terminal import tell

    study = Study(
        name=result.recipe.study, folder=result.folder, recipe=result.recipe, trials=result.trials
    )
    try:
        page = make_report(study).page
    except Exception as error:
        told = f"can't be made ({error}); try again with clowder report {result.folder}"
    else:
        result.tracker.log_artifact("parent", page.parent)
        told = str(page)
    tell(console, f"report    {told}")


def _tell_where(result: Any, console: Any, chart_url: Callable[..., str]) -> None:
    """What became of the metrics, and where to look at them."""
    from experiments.terminal import tell
    from experiments.tracking.charts import share_key

    tracker = result.tracker
    # The end of the run has waited for MLflow; what came after it is little. What it has acked
    # isn't read back: a request a metric and trial takes minutes from a server with passwords.
    if tracker.close(5.0):
        told = f"{tracker.num_points_sent:,} points in MLflow"
    else:
        told = f"in {tracker.config.spool_dir}, until MLflow answers"
    tell(console, f"tracked   {told}; took {result.seconds / 60:.1f} min")
    if tracker.experiment_id is not None:
        url = chart_url(
            "http://127.0.0.1:5000",
            tracker.experiment_id,
            view=share_key(tracker.run_id() or ""),
        )
        tell(console, f"compare   make ui   opens\n          {url}")


def train(words: list[str]) -> int:
    """`train RECIPE`."""
    return _run("train", words)


def sweep(words: list[str]) -> int:
    """`sweep RECIPE`."""
    return _run("sweep", words)


def evaluate(words: list[str]) -> int:
    """`evaluate RUN`."""
    from experiments.evaluate_cli import run_evaluate

    return run_evaluate(words)


def rescore(words: list[str]) -> int:
    """`clowder rescore`."""
    from experiments.rescore_cli import run_rescore

    return run_rescore(words)


def report(words: list[str]) -> int:
    """`clowder report`."""
    from experiments.report_cli import run_report

    return run_report(words)


def compare(words: list[str]) -> int:
    """`clowder compare`."""
    from experiments.compare_cli import run_compare

    return run_compare(words)


def watch(words: list[str]) -> int:
    """`clowder watch`."""
    from experiments.watch_cli import run_watch

    return run_watch(words)


def play(words: list[str]) -> int:
    """`clowder play`."""
    from experiments.play_cli import run_play

    return run_play(words)


def replay(words: list[str]) -> int:
    """`clowder replay`."""
    from experiments.watch_cli import run_replay

    return run_replay(words)


def doctor(words: list[str]) -> int:
    """`doctor`."""
    from experiments.doctor import run_doctor

    return run_doctor(words)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "sweep": sweep,
    "evaluate": evaluate,
    "report": report,
    "compare": compare,
    "match": match,
    "rescore": rescore,
    "watch": watch,
    "play": play,
    "replay": replay,
    "doctor": doctor,
}
