"""Adafactor and the learning rates of the published training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import ParamsT


class Adafactor(torch.optim.Adafactor):
    """Adafactor as the Terraformer was trained with it; second moments of matrices are factored.

    A weight of two axes or more keeps a moment a row and a moment a column of its last two.

    Args:
        params: Weights, or groups of them.
        lr: Learning rate, multiplied by the root mean square of each weight.
        beta2_decay: Second moments decay by 1 - t ** beta2_decay, t counted from 1.
        eps: Added to second moments; least root mean square by which `lr` is multiplied.
        d: Root mean square above which an update is scaled down to it.
        weight_decay: Share of a weight taken away at the first step, whatever `lr`.
        weight_decay_steps: Steps over which that share falls linearly to nothing.
    Source: Shazeer and Stern 2018, arXiv:1804.04235; trax, Adafactor.
    Differs (from torch's, in favour of the published code): `lr` is not held below 1 / sqrt(t);
        eps[0] is added to second moments, where torch takes it as the least value of their row mean
        and of the root of their estimate; weight decay is not multiplied by `lr`, and ends.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float, float] = (1e-16, 1e-3),
        d: float = 1.0,
        weight_decay: float = 1e-5,
        weight_decay_steps: int = 100_000,
    ) -> None:
        super().__init__(params, lr, beta2_decay, eps, d, weight_decay)
        for group in self.param_groups:
            group.setdefault("weight_decay_steps", weight_decay_steps)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Updates all weights that have a gradient; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights: list[Tensor] = []
            gradients: list[Tensor] = []
            rows, columns, moments, steps = [], [], [], []
            self._init_group(group, weights, gradients, rows, columns, moments, steps)
            for weight, gradient, row, column, moment, step in zip(
                weights, gradients, rows, columns, moments, steps, strict=True
            ):
                step += 1
                inverse_root = _update_moments(
                    gradient, row, column, moment, float(step) ** group["beta2_decay"], group["eps"]
                )
                update = inverse_root.mul_(gradient)
                update /= (_root_mean_square(update) / group["d"]).clamp_min(1.0)
                scale = group["lr"] * _root_mean_square(weight).clamp_min(group["eps"][1])
                left = max(0.0, 1.0 - (float(step) - 1.0) / group["weight_decay_steps"])
                weight.mul_(1.0 - group["weight_decay"] * left).sub_(update.mul_(scale))
        return loss


def _update_moments(
    gradient: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    moment: Tensor | None,
    share: float,
    eps: tuple[float, float],
) -> Tensor:
    """Mixes `share` of the squared gradient into the moments; returns 1 / sqrt of the estimate."""
    squared = gradient.square()
    if row is None or column is None:
        assert moment is not None
        return moment.lerp_(squared, share).add(eps[0]).rsqrt_()
    row.lerp_(squared.mean(dim=-1, keepdim=True), share)
    column.lerp_(squared.mean(dim=-2, keepdim=True), share)
    of_rows = (row.mean(dim=-2, keepdim=True) / (row + eps[0])).sqrt_()
    return of_rows * (column + eps[0]).rsqrt_()


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean().sqrt_()


def rsqrt_decay(
    step: int, *, constant: float = 1.0, warmup_steps: int = 10_000, linear_warmup: bool = False
) -> float:
    """Returns the learning rate constant / sqrt(max(step, warmup_steps)).

    Args:
        step: Counted from 1.
        constant: The learning rate that step 1 would have without a warm-up.
        warmup_steps: Up to here the rate stays the same.
        linear_warmup: Up to `warmup_steps` the rate rises from 0 instead.
    Source: trax, multifactor "constant * rsqrt_decay", and "* linear_warmup" in fine-tuning.
    """
    rate = constant / max(step, warmup_steps) ** 0.5
    return rate * min(1.0, step / warmup_steps) if linear_warmup else rate


def rsqrt_schedule(
    optimizer: torch.optim.Optimizer, warmup_steps: int, linear_warmup: bool
) -> LambdaLR:
    """Returns a scheduler of `rsqrt_decay` whose highest rate is the optimizer's own."""
    options = {
        "constant": max(1, warmup_steps) ** 0.5,
        "warmup_steps": max(1, warmup_steps),
        "linear_warmup": linear_warmup,
    }
    return LambdaLR(optimizer, lambda steps_done: rsqrt_decay(steps_done + 1, **options))
