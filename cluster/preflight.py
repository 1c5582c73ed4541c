"""Before a job's work starts: has every node what it needs, and do all mean the same by it?"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.errors import BadInputError
from experiments import session

WAIT_S = 120.0
"""How long a node may take to unpack the job and answer, seconds."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a node answered."""

    source_hash: str
    """Of its compiled simulators; empty if it has none that fit."""
    problem: str
    """Why it hasn't; empty if it has."""
    versions: tuple[tuple[str, str], ...]
    """Of Python and of the libraries that must agree."""
    sees_storage: bool
    """Whether the results folder is the same one."""


def look(mark: str) -> Finding:
    """Runs on a node.

    Args:
        mark: path of a file that the driver has put into the results folder.
    """
    import importlib.metadata
    import platform

    from env.batch import native
    from native.build import BuildError, hash_of

    try:
        found, problem = hash_of(native()), ""
    except (BuildError, ImportError, OSError) as error:
        found, problem = "", str(error).splitlines()[0]
    libraries = ("ray", "torch", "numpy")
    return Finding(
        source_hash=found,
        problem=problem,
        versions=(
            ("Python", ".".join(platform.python_version_tuple()[:2])),
            *((name, importlib.metadata.version(name).partition("+")[0]) for name in libraries),
        ),
        sees_storage=Path(mark).is_file(),
    )


def check_nodes(storage: Path) -> int:
    """Asks every node that is up.

    Args:
        storage: the results folder, the same path on all nodes.

    Returns:
        How many nodes there are.

    Raises:
        BadInputError: one lacks something; all of them are named.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mark = storage / f".seen-{uuid.uuid4().hex}"
    with session.writing(storage, "name a folder that all nodes share with --run.storage"):
        mark.touch()
    try:
        nodes = [one for one in ray.nodes() if one["Alive"]]
        asked = {}
        for node in nodes:
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(look)
            asked[task.remote(str(mark))] = name_of(node)
        ray.wait(list(asked), num_returns=len(asked), timeout=WAIT_S)
        mine = look(str(mark))
        problems = [
            problem
            for answer, node in asked.items()
            if (problem := _judge(node, _answer(answer), mine))
        ]
    finally:
        mark.unlink(missing_ok=True)
    if problems:
        raise BadInputError("; ".join(problems) + ".")
    return len(nodes)


def name_of(node: dict[str, Any]) -> str:
    """How a node is called: by its host and address."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _answer(answer: Any) -> Finding | str:
    """What a node found, or why it didn't answer."""
    import ray

    try:
        found: Finding = ray.get(answer, timeout=0)
        return found
    except ray.exceptions.GetTimeoutError:
        return f"has not answered for {WAIT_S:.0f} s"
    except ray.exceptions.RayError as error:
        return f"can't run the platform: {str(error).strip().splitlines()[-1]}"


def _judge(node: str, found: Finding | str, mine: Finding) -> str:
    """What is wrong with a node, as half a sentence; empty if nothing."""
    if isinstance(found, str):
        return f"node {node} {found}"
    if found.problem:
        return (
            f"node {node} has no simulators that fit ({found.problem}); install a compiler there, "
            "or build its image anew"
        )
    if found.source_hash != mine.source_hash:
        return (
            f"node {node} has simulators {found.source_hash}, the driver {mine.source_hash}; build "
            "its image anew, or unset CLOWDER_NATIVE there"
        )
    for (name, theirs), (_, ours) in zip(found.versions, mine.versions, strict=True):
        if theirs != ours:
            return f"node {node} has {name} {theirs}, the driver {ours}; build its image anew"
    if not found.sees_storage:
        return (
            f"node {node} doesn't see what the driver writes into the results folder; name one "
            "that all nodes share with --run.storage"
        )
    return ""
