"""Stored episodes: an evaluation's records, so that other weights can be tried without playing.

The simulator counts events and weighs them afterwards, and weights never change a game: so the
episodes of any policy can be paid under any weights, exactly. Files are numpy archives without
pickles; nothing in them is executed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.play import Games
from env.errors import BadInputError
from env.files import in_one_piece
from env.pico_park import PicoPark, PicoParkConfig, PicoParkRewards
from experiments.metrics import number
from experiments.runs import find_folder

FORMAT = 1
"""Of the files; another one is refused."""
FOLDER = "episodes"
"""Of a trial: one file an evaluation, named by env steps."""
SUFFIX = ".npz"
MAX_BYTES = 256 << 20
"""Of a file's content, unpacked: a hostile file may claim more than there is memory."""
_NAMES = ("term_names", "outcome_names", "cause_names")


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """What one evaluation played."""

    games: Games
    """Records and names; no tracks."""
    config: PicoParkConfig
    """The game."""
    rewards: PicoParkRewards
    """What the policy was trained with."""
    env_steps: int
    """How long the policy had been trained."""


def returns(games: Games, rewards: PicoParkRewards) -> NDArray[np.float64]:
    """What every cat was paid in every episode, undiscounted, team sharing included.

    Weights are taken in float64 and terms added one after the other, so a return depends on nothing
    but its own episode: equal events pay equally, to the last bit.

    Returns:
        float64 (episodes, agents).
    """
    terms, weights = games.records["terms"], rewards.by_term()
    num_agents = terms.shape[1]
    own = np.zeros((len(terms), num_agents))
    for column, name in enumerate(games.term_names):
        own += terms[:, :, column] * float(weights[name])
    total = np.zeros(len(terms))
    for seat in range(num_agents):
        total += own[:, seat]
    mean = total[:, None] / num_agents
    paid: NDArray[np.float64] = (1 - rewards.team_share) * own + rewards.team_share * mean
    return paid


def save_episodes(path: Path, episodes: Episodes) -> Path:
    """Writes the file in one piece, and returns its path."""
    games = episodes.games
    header = {
        "format": FORMAT,
        "game": "pico_park",
        "config": dataclasses.asdict(episodes.config),
        "rewards": dataclasses.asdict(episodes.rewards),
        "env_steps": episodes.env_steps,
        "entropy": games.entropy,
        **{name: list(getattr(games, name)) for name in _NAMES},
    }
    columns: dict[str, Any] = {
        f"record.{name}": _smallest(games.records[name]) for name in games.records.dtype.names or ()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with in_one_piece(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **columns)
    return path


def _smallest(column: NDArray[Any]) -> NDArray[Any]:
    """The column in the narrowest integers that hold it."""
    if column.dtype.kind == "u":
        return column
    narrow = np.result_type(
        np.min_scalar_type(column.min(initial=0)), np.min_scalar_type(column.max(initial=0))
    )
    # Of int8 and uint64 numpy makes a float64.
    return column.astype(narrow if narrow.kind in "iu" else np.int64)


def load_episodes(path: Path) -> Episodes:
    """Reads a file that `save_episodes` wrote.

    Raises:
        BadInputError: there is none, or it is damaged, foreign or of another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(one.file_size for one in archive.infolist())
        if size > MAX_BYTES:
            raise BadInputError(f"{path} claims {size:,} bytes; no evaluation has that many.")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop("header")))
        return _episodes(header, arrays)
    except BadInputError as error:
        raise BadInputError(f"{path} holds no episodes: {error}") from error
    except FileNotFoundError:
        raise BadInputError(f"there are no episodes in {path}; name a file in {FOLDER}/.") from None
    except Exception as error:  # zip, numpy and json each have their own words for damage
        raise BadInputError(
            f"{path} holds no episodes that can be read ({error}); evaluate again for new ones."
        ) from error


def _episodes(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Episodes:
    if header.get("format") != FORMAT or header.get("game") != "pico_park":
        raise BadInputError(
            f"it is format {header.get('format')!r} of {header.get('game')!r}, and {FORMAT} of "
            "'pico_park' is read here."
        )
    config = PicoParkConfig(**header["config"])
    names: dict[str, Any] = {name: tuple(map(str, header[name])) for name in _NAMES}
    fields, own = _own_names()
    for name, expected in own.items():
        if names[name] != expected:
            what = name.removesuffix("_names")
            raise BadInputError(f"its {what}s are not this game's; it comes from another version.")
    columns = {name.removeprefix("record."): array for name, array in arrays.items()}
    missing = [name for name in fields if name not in columns]
    if missing:
        raise BadInputError(f"it lacks {', '.join(missing)}; it comes from another version.")
    if columns["terms"].ndim != 3 or not len(columns["terms"]):
        raise BadInputError(f"its column 'terms' has the shape {columns['terms'].shape}.")
    count = len(columns["terms"])
    shape = (count, config.num_agents, len(names["term_names"]))
    for name, array in columns.items():
        if array.dtype.kind not in "iu" or array.shape != (shape if name == "terms" else (count,)):
            raise BadInputError(f"its column {name!r} is {array.dtype} of shape {array.shape}.")
    records = np.zeros(
        count,
        [
            (
                name,
                np.uint64 if array.dtype.kind == "u" and name == "level_seed" else np.int64,
                array.shape[1:],
            )
            for name, array in columns.items()
        ],
    )
    for name, array in columns.items():
        records[name] = array
    for name, of in (("outcome", "outcome_names"), ("cause", "cause_names")):
        if count and not 0 <= records[name].min() <= records[name].max() < len(names[of]):
            raise BadInputError(f"its {name}s are none of {', '.join(names[of])}.")
    return Episodes(
        games=Games(records=records, entropy=float(header["entropy"]), **names),
        config=config,
        rewards=PicoParkRewards(**header["rewards"]),
        env_steps=int(header["env_steps"]),
    )


@functools.cache
def _own_names() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """What a record of this game holds, and what its numbers stand for."""
    sim = PicoPark(1, PicoParkConfig(), seed=0)
    records = sim.episodes().dtype.names or ()
    return records, {name: tuple(getattr(sim, name)) for name in _NAMES}


def find_episodes(run: str, tracking_uri: str = "") -> Path:
    """The file of a RUN's longest trained evaluation; of several trials that have come as far, that
    of the one with the best last objective.

    Args:
        run: a folder with episodes in or below it, or an MLflow run's id or name.
        tracking_uri: MLflow store; empty: MLFLOW_TRACKING_URI, or `mlflow.db` in this folder.

    Raises:
        BadInputError: there are none.
    """
    folder = find_folder(run, tracking_uri)
    found = [one for one in folder.rglob(f"*{SUFFIX}") if one.parent.name == FOLDER]
    if not found:
        raise BadInputError(
            f"there are no episodes in {folder}; they lie in {FOLDER}/ of every trial's folder."
        )
    newest = max(one.name for one in found)
    return max(
        (one for one in found if one.name == newest), key=lambda one: (_objective(one), str(one))
    )


def _objective(path: Path) -> float:
    """The last objective of the trial that played these episodes; the worst if it isn't known."""
    from experiments.history import read_history

    rows = [row for row in read_history(path.parent.parent) if "eval/objective" in row]
    value = number(rows[-1]["eval/objective"]) if rows else None
    return -math.inf if value is None else value
