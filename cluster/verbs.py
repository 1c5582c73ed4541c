"""The verbs of the command line that the cluster adds, or does first when it runs them."""

from __future__ import annotations

from collections.abc import Callable

from experiments import cli, session

LINES = """  submit VERB       the same on a Ray cluster: sweep, train, list, attach, stop
  doctor --address  what a cluster would tell a stranger"""


def submit(words: list[str]) -> int:
    """`clowder submit`."""
    from cluster.submit import run_submit

    return run_submit(words)


def doctor(words: list[str]) -> int:
    """`clowder doctor`, of this machine or, with words, of a cluster."""
    from cluster.probe import run_doctor

    return run_doctor(words) if words else cli.VERBS["doctor"](words)


def _after_preflight(verb: str) -> Callable[[list[str]], int]:
    """A verb of experiments, once all nodes have been looked at."""

    def run(words: list[str]) -> int:
        from cluster.preflight import check_nodes

        recipe, _ = cli.parse_recipe(verb, words)
        session.start_ray()
        count = check_nodes(session.storage_folder(recipe.run.storage))
        print(f"{count} node{'s' * (count != 1)}: simulators, libraries and storage agree")
        return cli.VERBS[verb](words)

    return run


def verbs() -> dict[str, Callable[[list[str]], int]]:
    """By name; as the driver of a job, training looks at all nodes first."""
    found: dict[str, Callable[[list[str]], int]] = {"submit": submit, "doctor": doctor}
    if session.in_ray_job():
        found |= {verb: _after_preflight(verb) for verb in ("train", "sweep")}
    return found
