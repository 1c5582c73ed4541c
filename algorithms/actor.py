"""Acting for many rows at once: one forward pass a module and tick, whoever plays which seat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.lstm import State


class Acted(NamedTuple):
    """What B rows did in one tick; on the CPU."""

    actions: Tensor
    """int64 (B,)."""
    log_probabilities: Tensor
    """float32 (B, num_actions), of every action."""
    values: Tensor
    """float32 (B,)."""

    def of_actions(self) -> Tensor:
        """float32 (B,): log-probability of the action taken."""
        return self.log_probabilities.gather(1, self.actions[:, None])[:, 0]


class BatchedActor:
    """Modules that play the rows of many games, a row being a seat of a game.

    Every row belongs to one module and has its memory there. Games of one policy are the common
    case and cost no indexing; with several, each module's rows pass together.

    Attributes:
        names: of the modules.
        owners: int64 (num_rows,), index into `names` of the module that plays each row.
    """

    def __init__(
        self, modules: Mapping[str, Any], num_rows: int, *, generator: torch.Generator
    ) -> None:
        """Seats the first module everywhere.

        Args:
            modules: by name, each with `initial_states` and `act` (see
                `models.RecurrentActorCritic`), all on one device.
            num_rows: rows of all games.
            generator: of the sampled actions; on the CPU.
        """
        self.names = tuple(modules)
        self.modules = dict(modules)
        self.generator = generator
        self.owners: NDArray[np.int64] = np.zeros(num_rows, np.int64)
        self.states: dict[str, State] = {
            name: module.initial_states(num_rows) for name, module in modules.items()
        }
        first = next(iter(modules.values()))
        self.device = next(first.parameters()).device

    def add(self, name: str, module: Any) -> None:
        """Takes in one more module, which plays no row yet; games go on."""
        self.names = (*self.names, name)
        self.modules[name] = module
        self.states[name] = module.initial_states(len(self.owners))

    def seat(self, rows: NDArray[np.intp], names: Sequence[str]) -> None:
        """Gives rows to modules, one name a row; their episodes must start with the next tick."""
        for name in names:
            if name not in self.names:
                raise ValueError(
                    f"policy_mapping_fn seats {name!r}, which is no module here; choose from "
                    f"{', '.join(self.names)}."
                )
        self.owners[rows] = [self.names.index(name) for name in names]

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, Tensor],
        episode_start: Tensor,
        rows: Tensor | None = None,
        *,
        greedy: bool = False,
        remember: bool = True,
    ) -> Acted:
        """One tick.

        Args:
            observations: arrays (B, ...) by part, of these rows.
            episode_start: bool (B,), rows whose episode begins with this tick.
            rows: int64 (B,), which rows; None: all of them.
            greedy: takes the likeliest action instead of drawing one.
            remember: whether the memory moves on; not where only values are asked for.
        """
        observations = {name: one.to(self.device) for name, one in observations.items()}
        start = episode_start.to(self.device)
        if len(self.names) == 1:
            logits, values = self._forward(self.names[0], observations, start, rows, remember)
        else:
            logits, values = self._forward_each(observations, start, rows, remember)
        log_probabilities = torch.log_softmax(logits.float(), -1).cpu()
        if greedy:
            actions = log_probabilities.argmax(-1)
        else:
            # The first action at which the summed probabilities pass a uniform number: 2 to 3 times
            # as fast as torch.multinomial.
            uniform = torch.rand((len(logits), 1), generator=self.generator)
            passed = uniform >= log_probabilities.exp().cumsum(-1)
            actions = passed.sum(-1).clamp_(max=logits.shape[1] - 1)  # sums end at nearly 1
        return Acted(actions, log_probabilities, values.float().cpu())

    def _forward_each(
        self, observations: Mapping[str, Tensor], start: Tensor, rows: Tensor | None, remember: bool
    ) -> tuple[Tensor, Tensor]:
        """Every module on its own rows."""
        rows = torch.arange(len(self.owners)) if rows is None else rows
        owners = torch.from_numpy(self.owners)[rows]
        logits = values = torch.empty(0)
        for index, name in enumerate(self.names):
            mine = (owners == index).nonzero()[:, 0]
            if not len(mine):
                continue
            part = {key: one[mine.to(self.device)] for key, one in observations.items()}
            found = self._forward(name, part, start[mine.to(self.device)], rows[mine], remember)
            if not len(logits):
                logits = found[0].new_empty((len(rows), found[0].shape[1]))
                values = found[1].new_empty(len(rows))
            logits[mine], values[mine] = found
        return logits, values

    def _forward(
        self,
        name: str,
        observations: Mapping[str, Tensor],
        start: Tensor,
        rows: Tensor | None,
        remember: bool,
    ) -> tuple[Tensor, Tensor]:
        before = self.states[name]
        if rows is not None:
            rows = rows.to(self.device)
            before = {key: one[rows] for key, one in before.items()}
        logits, values, after = self.modules[name].act(observations, before, start)
        if remember and rows is None:
            self.states[name] = after
        elif remember:
            for key, one in after.items():
                self.states[name][key][rows] = one
        return logits, values

    def get_state(self) -> dict[str, Any]:
        """Memory, seats and generator as plain arrays."""
        return {
            "owners": self.owners.copy(),
            "states": {
                name: {key: one.cpu().numpy().copy() for key, one in state.items()}
                for name, state in self.states.items()
            },
            "generator": self.generator.get_state().numpy().copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave, for the same modules and rows."""
        self.owners[:] = state["owners"]
        self.states = {
            name: {key: torch.from_numpy(np.array(one)).to(self.device) for key, one in of.items()}
            for name, of in state["states"].items()
        }
        self.generator.set_state(torch.from_numpy(np.array(state["generator"])))
