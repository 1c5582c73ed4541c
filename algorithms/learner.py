"""The learner of SegmentPPO: PPO's losses on segments, advantages re-estimated as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.core import ALL_MODULES
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
)
from torch import Tensor

from algorithms.rollout import RolloutData
from algorithms.segments import (
    SegmentBuffer,
    count_minibatches,
    importance,
    permutations,
    priorities,
)
from models import EPISODE_START

SCHEDULED = ("entropy_coeff", "priority_beta")
"""Settings, beside the learning rate, that may be given as RLlib's schedules over env steps."""

# Names of a minibatch's parts that are ours.
ADVANTAGES, TARGETS, ACTIVE, OWNED, WEIGHTS = "advantages", "targets", "active", "owned", "weights"
NUM_ACTIVE, NUM_OWNED = "num_active", "num_owned"
VISITED = "visited"


class NonFiniteError(FloatingPointError):
    """A loss or gradient is NaN or infinite; the weights are still those before it."""


class SegmentPPOLearner(TorchLearner):  # type: ignore[misc]
    """Learns from `RolloutData`; see `SegmentPPOConfig` for the method and its settings."""

    def build(self) -> None:
        """Makes module, optimizer, schedules, and the generator of minibatches."""
        super().build()
        self._generator = torch.Generator().manual_seed(self.config.seed or 0)
        self._current: dict[str, dict[str, float]] = {}

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam in one call a step: RLlib's default takes one an operation and parameter."""
        parameters = self.get_parameters(self.module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.Adam(parameters, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    # -- RLlib's hook: one iteration

    def update(
        self,
        *,
        training_data: RolloutData,
        timesteps: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """All epochs over the rollouts.

        Raises:
            NonFiniteError: see there.
            ValueError: nothing to learn from, or a module that this learner hasn't.
        """
        self._check_is_built()
        timesteps = dict(timesteps or {})
        self.before_gradient_based_update(timesteps=timesteps)
        training_data.validate()
        training_data.solve_refs()
        self._weights_seq_no += 1
        for name, rollout in training_data.modules().items():
            if name not in self.module:
                raise ValueError(f"there is no module {name!r} in this learner to be trained.")
            if self.should_module_be_updated(name):
                config = self.config.get_config_for_module(name)
                self._update_module(name, config, self._buffer(config, rollout))
        assert training_data.rollouts is not None
        steps = sum(one.num_env_steps for one in training_data.rollouts)
        self._log_trained(ALL_MODULES, NUM_ENV_STEPS_TRAINED, steps)
        self._log_trained(ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME, steps)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Brings every schedule to the present, so that also the first update after a restore or
        an exchange of hyperparameters goes by its own config."""
        now = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        for optimizer, schedule in self._optimizer_lr_schedules.items():
            self._set_optimizer_lr(optimizer, lr=float(schedule.update(timestep=now)))
        for name in self.module.keys():  # noqa: SIM118 - no dict
            config = self.config.get_config_for_module(name)
            self._current[name] = {key: _at(getattr(config, key), now) for key in SCHEDULED}
        super().before_gradient_based_update(timesteps=timesteps)

    def _buffer(self, config: Any, rollout: Any) -> SegmentBuffer:
        return SegmentBuffer(
            rollout,
            self._device,
            gamma=config.gamma,
            lambda_=config.lambda_,
            mode=config.advantage,
            rho_clip=config.rho_clip,
            c_clip=config.c_clip,
        )

    def _update_module(self, name: str, config: Any, buffer: SegmentBuffer) -> None:
        """Every minibatch of a module."""
        log: list[Tensor] = []
        first: Tensor | None = None
        part_size = (config.microbatch_size or config.minibatch_size) // buffer.num_steps
        for rows, batch in self._minibatches(name, config, buffer):
            gradients: dict[Any, Tensor] = {}
            visits, losses = [], []
            for part in _parts(batch, max(1, part_size)):
                batches = {name: part}
                forward = self.module.forward_train(batches)
                loss = self.compute_losses(fwd_out=forward, batch=batches)
                found = self.compute_gradients(loss)
                gradients = _add(gradients, found) if gradients else found
                ratios, values, stats = part[VISITED]
                visits.append((ratios, values))
                losses.append(torch.stack([loss[name].detach(), *stats]))
            ratios, values = (torch.cat(one) for one in zip(*visits, strict=True))
            if first is None:
                first = ((ratios.log().abs()) * batch[ACTIVE]).max()
            self.apply_gradients(self.postprocess_gradients(gradients))
            buffer.visit(rows, ratios, values)
            log.append(torch.stack(losses).sum(0))
        assert first is not None
        means = torch.stack(log).mean(0).tolist()
        self.metrics.log_dict(
            {
                **dict(zip((self.TOTAL_LOSS_KEY, *_STATS), means, strict=True)),
                "first_log_ratio": float(first),
                "vf_explained_var": _explained_variance(buffer),
            },
            key=name,
            window=1,
        )
        steps = int(buffer.owned.sum())
        self._log_trained(name, NUM_MODULE_STEPS_TRAINED, steps)
        self._log_trained(name, NUM_MODULE_STEPS_TRAINED_LIFETIME, steps)

    def _log_trained(self, name: str, key: str, steps: int) -> None:
        """A counter of one iteration or of all, as its name says."""
        reduce = "lifetime_sum" if key.endswith("_lifetime") else "sum"
        self.metrics.log_value((name, key), steps, reduce=reduce, with_throughput=True)

    def _minibatches(
        self, name: str, config: Any, buffer: SegmentBuffer
    ) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Rows and contents of each minibatch, advantages estimated just before."""
        size = max(1, config.minibatch_size // buffer.num_steps)
        alpha = config.priority_alpha
        if alpha == 0:
            for rows in permutations(buffer.num_rows, size, config.num_epochs, self._generator):
                yield rows, self._minibatch(buffer, rows.to(self._device), None)
            return
        for _ in range(count_minibatches(buffer.num_rows, size, config.num_epochs)):
            advantages = buffer.advantages().advantages
            chances = priorities(advantages, buffer.active, alpha, config.priority_epsilon)
            if not torch.isfinite(chances).all():
                raise _non_finite("an advantage")
            # Drawn on the CPU, whose generator belongs to the checkpoint.
            rows = torch.multinomial(
                chances.cpu(), size, replacement=True, generator=self._generator
            ).to(self._device)
            weights = importance(chances, rows, self._current[name]["priority_beta"])
            yield rows, self._minibatch(buffer, rows, weights)

    def _minibatch(
        self, buffer: SegmentBuffer, rows: Tensor, weights: Tensor | None
    ) -> dict[str, Any]:
        estimated = buffer.advantages()

        def take(value: Tensor) -> Tensor:
            return value.index_select(0, rows)  # an index in brackets is 18 times as slow

        active, owned = take(buffer.active), take(buffer.owned)
        num_active = active.sum().clamp(min=1)
        return {
            Columns.OBS: {key: take(one) for key, one in buffer.observations.items()},
            Columns.STATE_IN: {key: take(one) for key, one in buffer.states.items()},
            EPISODE_START: take(buffer.episode_start),
            Columns.ACTIONS: take(buffer.actions),
            Columns.ACTION_LOGP: take(buffer.log_probabilities),
            Columns.VF_PREDS: take(buffer.behaviour_values),
            ADVANTAGES: _normalise(take(estimated.advantages), active, num_active),
            TARGETS: take(estimated.targets),
            ACTIVE: active,
            OWNED: owned,
            WEIGHTS: weights,
            NUM_ACTIVE: num_active,
            NUM_OWNED: owned.sum().clamp(min=1),
        }

    # -- RLlib's hook: the loss

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: Mapping[str, Any]
    ) -> Any:
        """PPO's clipped loss (Schulman et al. 2017, eq. 7 and 9), means over what isn't masked.

        Of a part of a minibatch it is the part's share: the whole's is the sum. Leaves the new
        ratios, values and statistics in the batch.
        """
        module = self.module[module_id].unwrapped()
        logits = fwd_out[Columns.ACTION_DIST_INPUTS].float()
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS)).float()
        log_probabilities = torch.log_softmax(logits, -1)
        taken = log_probabilities.gather(-1, batch[Columns.ACTIONS][..., None])[..., 0]
        active = batch[ACTIVE].float()
        owned = batch[OWNED].float()
        num_active, num_owned = batch[NUM_ACTIVE], batch[NUM_OWNED]
        weights = 1.0 if batch[WEIGHTS] is None else batch[WEIGHTS][:, None]

        # A waiting row's action does nothing: whatever the ratio is, it counts for nothing.
        log_ratios = (taken - batch[Columns.ACTION_LOGP]) * active
        ratios = log_ratios.exp()
        advantages = batch[ADVANTAGES]
        clipped = ratios.clamp(1 - config.clip_param, 1 + config.clip_param)
        surrogate = torch.minimum(advantages * ratios, advantages * clipped)
        policy_loss = -(surrogate * active * weights).sum() / num_active

        errors = (values - batch[TARGETS]).square()
        if config.value_clip is not None:
            before = batch[Columns.VF_PREDS]
            near = before + (values - before).clamp(-config.value_clip, config.value_clip)
            errors = torch.maximum(errors, (near - batch[TARGETS]).square())
        value_loss = (errors * owned * weights).sum() / num_owned

        entropy = -((log_probabilities.exp() * log_probabilities).sum(-1) * active).sum()
        entropy = entropy / num_active
        with torch.no_grad():
            # The estimator k3 of http://joschu.net/blog/kl-approx.html: never negative.
            divergence = ((ratios - 1 - log_ratios) * active).sum() / num_active
            is_clipped = ((ratios - 1).abs() > config.clip_param) * active
            stats = (policy_loss, value_loss, entropy, divergence, is_clipped.sum() / num_active)
            batch[VISITED] = (
                ratios.detach(),
                values.detach(),
                [one.detach() for one in stats],
            )
        return (
            policy_loss
            + config.vf_loss_coeff * value_loss
            - self._current[module_id]["entropy_coeff"] * entropy
        )

    # -- RLlib's hooks: gradients

    def compute_gradients(self, loss_per_module: dict[str, Tensor], **kwargs: Any) -> Any:
        """Gradients of the modules in this minibatch; RLlib's own has None for all others."""
        gradients = super().compute_gradients(loss_per_module, **kwargs)
        return {key: one for key, one in gradients.items() if one is not None}

    def postprocess_gradients(self, gradients_dict: dict[Any, Tensor]) -> dict[Any, Tensor]:
        """RLlib's clipping.

        Raises:
            NonFiniteError: a gradient is NaN or infinite. Clipping by value would hide it, and
                RLlib's own would set it to zero and go on; nobody would learn that training failed.
        """
        if gradients_dict:
            norm = torch.stack(torch._foreach_norm(list(gradients_dict.values()))).norm()
            if not torch.isfinite(norm):
                raise _non_finite("a gradient")
        return dict(super().postprocess_gradients(gradients_dict))

    def apply_gradients(self, gradients_dict: dict[Any, Tensor]) -> None:
        """One step of the optimizers that these gradients belong to."""
        for key, gradient in gradients_dict.items():
            self._params[key].grad = gradient
        for optimizer, keys in self._optimizer_parameters.items():
            if any(key in gradients_dict for key in keys):
                optimizer.step()

    # -- state

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        """RLlib's, and the generator that draws minibatches."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(GENERATOR, components, not_components):
            state[GENERATOR] = self._generator.get_state().numpy().copy()
        return state

    def set_state(self, state: Any) -> None:
        """RLlib's, and the generator's."""
        super().set_state(state)
        if GENERATOR in state:
            self._generator.set_state(torch.from_numpy(state[GENERATOR].copy()))


GENERATOR = "minibatch_generator"

_STATS = (POLICY_LOSS_KEY, VF_LOSS_KEY, ENTROPY_KEY, "mean_kl", "clip_share")


def _non_finite(what: str) -> NonFiniteError:
    return NonFiniteError(
        f"{what} is NaN or infinite, so the weights were left as they are; lower the learning rate "
        "or the rewards."
    )


def _at(setting: Any, now: int) -> float:
    """A setting, or RLlib's piecewise linear schedule of one, at so many env steps."""
    if isinstance(setting, int | float):
        return float(setting)
    steps, levels = zip(*setting, strict=True)
    return float(np.interp(now, steps, levels))


def _parts(batch: dict[str, Any], num_rows: int) -> Iterator[dict[str, Any]]:
    """Parts of a minibatch, so many rows each, that pass one after the other to save memory."""
    total = len(batch[ACTIVE])
    if num_rows >= total:
        yield batch
        return

    def cut(value: Any, start: int) -> Any:
        if isinstance(value, dict):
            return {key: cut(one, start) for key, one in value.items()}
        return value[start : start + num_rows] if value is not None and value.dim() else value

    for start in range(0, total, num_rows):
        yield {key: cut(one, start) for key, one in batch.items()}


def _add(sums: dict[Any, Tensor], more: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
    """Adds up the gradients of a minibatch's parts, in place."""
    for key, one in more.items():
        sums[key].add_(one)
    return sums


def _normalise(advantages: Tensor, mask: Tensor, count: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over what the mask leaves."""
    mean = (advantages * mask).sum() / count
    variance = ((advantages - mean).square() * mask).sum() / count
    return (advantages - mean) / (variance.sqrt() + 1e-8)


@torch.no_grad()
def _explained_variance(buffer: SegmentBuffer) -> float:
    """1 - Var(target - value) / Var(target), of the behaviour values, over owned steps."""
    targets = buffer.advantages().targets[buffer.owned]
    errors = targets - buffer.behaviour_values[buffer.owned]
    spread = targets.var(correction=0)
    return float(1 - errors.var(correction=0) / spread) if float(spread) > 0 else 0.0
