"""Switch feed-forward: a router sends each token to one of many experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from terraformer.experts import Experts, init_scaled
from terraformer.feed_forward_config import SwitchFFConfig
from terraformer.replay import Replay


class SwitchFF(nn.Module):
    """Each token goes to the expert that the router gives the highest probability.

    The output is the expert's times that probability. Tokens over an expert's capacity get zeros,
    so that the residual stream passes them unchanged; earlier tokens come first. In training,
    capacity is counted over the real tokens of the call, of all examples together; in a process
    group, over those of each process. Routing is computed in float32 whatever the model's dtype.

    The gradient of the load-balancing loss joins that of the output in the backward pass, once
    also where a reversible stack runs the layer twice: a training objective must report the loss,
    with `load_balancing_loss`, but not add it to what it differentiates.

    Args:
        config: Sizes, capacity and noise.
        d_model: Width of the input and the output, D.
        dropout: Unused: experts have a rate of their own.
        group: Processes over which the experts are spread; None keeps all in this one.
    Attributes:
        n_routed: Real tokens routed so far by `forward`.
        n_dropped: How many of them found no room.
        load_balancing_loss: Of the last call, its weight included; a scalar, float32.
        loss_scale: What the loss is multiplied by before the backward pass, such as 1 / k where the
            gradients of k calls are added up for one step.
    Source: Fedus et al. 2021, arXiv:2101.03961, sections 2.1, 2.2 and 2.4.
    Differs: capacity in evaluation is counted for each example by itself, without limit by default.
    """

    def __init__(
        self,
        config: SwitchFFConfig,
        d_model: int,
        dropout: float = 0.0,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.router = nn.Parameter(torch.empty(config.n_experts, d_model))
        init_scaled(self.router, config.init_scale)
        self.experts = Experts(
            config.n_experts,
            d_model,
            config.d_ff,
            config.expert_dropout,
            config.init_scale,
            group,
        )
        self.n_routed = 0
        self.n_dropped = 0
        self.load_balancing_loss = torch.zeros(())
        self.loss_scale = 1.0

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Maps x [B, L, D] to [B, L, D].

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens; all are real if None.
            replay: Keeps the routing and the random numbers.
        Returns:
            [B, L, D]; zero at padded positions and at tokens over capacity.
        """
        replay = replay or Replay()
        flat = x.flatten(0, 1)
        rows = torch.arange(flat.shape[0], device=x.device)
        if mask is not None:
            rows = rows[mask.flatten()]
        tokens = flat if mask is None else flat.index_select(0, rows)
        probability = self._route(tokens, replay)
        choice = replay.keep(lambda: probability.argmax(dim=-1))
        example = rows // max(1, x.shape[1])
        order = replay.keep(lambda: self._admit(choice, example, x.shape[0]))
        out = self._apply_experts(tokens, probability, choice, order, replay)
        out = out.new_zeros(flat.shape).index_copy(0, rows.index_select(0, order), out)
        loss = self._balance(probability, choice)
        self.load_balancing_loss = loss.detach()
        if self.training:
            out = _WithGradientOf.apply(out, loss, self.loss_scale)
        return out.view(x.shape)  # pyright: ignore[reportAttributeAccessIssue]

    def step(self, x_t: Tensor) -> Tensor:
        """Maps one position, [B, D] to [B, D], without limit of capacity."""
        probability = self._route(x_t, Replay())
        choice = probability.argmax(dim=-1)
        order = choice.argsort(stable=True)
        out = self._apply_experts(x_t, probability, choice, order, Replay())
        return torch.empty_like(out).index_copy(0, order, out)

    def _route(self, tokens: Tensor, replay: Replay) -> Tensor:
        """Probability of each expert for tokens [T, D], [T, E], float32 or more."""
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
            if self.training and self.config.jitter:
                low, high = 1.0 - self.config.jitter, 1.0 + self.config.jitter
                with replay.same_random(tokens.device):
                    tokens = tokens * torch.empty_like(tokens).uniform_(low, high)
            return F.linear(tokens, self.router.to(tokens.dtype)).softmax(dim=-1)

    def _admit(self, choice: Tensor, example: Tensor, n_examples: int) -> Tensor:
        """Returns the tokens that find room, sorted by expert, then by place; counts the others.

        Args:
            choice: Expert of each token, [T].
            example: Of each token, [T], ascending.
            n_examples: B.
        """
        order = choice.argsort(stable=True)
        factor = self.config.capacity_factor
        if not self.training:
            factor = self.config.eval_capacity_factor
        self.n_routed += len(order)
        if factor is None:
            return order
        if self.training:
            example, n_examples = torch.zeros_like(example), 1
        n_tokens = example.bincount(minlength=n_examples)
        capacity = (n_tokens.double() / self.config.n_experts * factor).ceil()
        queue = (choice * n_examples + example).index_select(0, order)
        n_in_queue = queue.bincount()
        start = n_in_queue.cumsum(0) - n_in_queue
        place = torch.arange(len(order), device=order.device) - start.index_select(0, queue)
        admitted = order[place < capacity.index_select(0, queue % n_examples)]
        self.n_dropped += len(order) - len(admitted)
        return admitted

    def _apply_experts(
        self, tokens: Tensor, probability: Tensor, choice: Tensor, order: Tensor, replay: Replay
    ) -> Tensor:
        """Outputs of the tokens in `order`, which sorts them by expert, times their probability."""
        chosen = choice.index_select(0, order)
        n_tokens = chosen.bincount(minlength=self.config.n_experts)
        out = self.experts(tokens.index_select(0, order), n_tokens, replay)
        return (out * probability[order, chosen][:, None]).to(out.dtype)

    def _balance(self, probability: Tensor, choice: Tensor) -> Tensor:
        """The weighted loss: E times the sum of the experts' shares of tokens and probability."""
        n_tokens = max(1, len(choice))
        share = choice.bincount(minlength=self.config.n_experts).to(probability) / n_tokens
        mean = probability.sum(dim=0) / n_tokens
        return self.config.load_balancing_weight * self.config.n_experts * (share * mean).sum()


def load_balancing_loss(model: nn.Module) -> Tensor:
    """Returns what the Switch layers of a model added in its last call to what is minimized."""
    losses = [layer.load_balancing_loss for layer in model.modules() if isinstance(layer, SwitchFF)]
    return torch.stack(losses).sum() if losses else torch.zeros(())


class _WithGradientOf(torch.autograd.Function):
    """Passes `out`; going back, gives `loss` the gradient `scale` as if it had been added."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, loss: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(loss)
        ctx.scale = scale
        return out.view_as(out)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        (loss,) = ctx.saved_tensors
        return grad, torch.full_like(loss, ctx.scale), None
