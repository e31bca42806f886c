"""Feed-forward layers of several experts, in plain PyTorch: one expert after another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def expert_feed_forward(
    tokens: Tensor,
    n_tokens: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    kept: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Maps each token by its expert, a dense layer with ReLU and another one.

    Args:
        tokens: [N, D], sorted by expert.
        n_tokens: How many each of E experts takes, [E], int64; N together.
        w1: [E, F, D].
        b1: [E, F].
        w2: [E, D, F].
        b2: [E, D].
        kept: Units that dropout leaves, [N, F], bool; all if None.
        dropout: Rate at which `kept` was drawn: what is left is divided by 1 - dropout.
    Returns:
        [N, D].
    Raises:
        ValueError: if shapes do not fit.
    Source: Fedus et al. 2021, arXiv:2101.03961, section 2.1.
    """
    check_shapes(tokens, n_tokens, w1, b1, w2, b2, kept)
    counts = n_tokens.tolist()
    used = [e for e, n in enumerate(counts) if n] or [0]
    lengths = [counts[e] for e in used]
    weights = [weight.unbind() for weight in (w1, b1, w2, b2)]
    masks = [None] * len(used) if kept is None else kept.split(lengths)
    outputs = []
    for e, part, mask in zip(used, tokens.split(lengths), masks, strict=True):
        own_w1, own_b1, own_w2, own_b2 = (weight[e] for weight in weights)
        units = F.linear(part, own_w1, own_b1).relu_()
        if mask is not None:
            units = (units / (1.0 - dropout)).masked_fill(~mask, 0.0)
        outputs.append(F.linear(units, own_w2, own_b2))
    return torch.cat(outputs)


def check_shapes(
    tokens: Tensor,
    n_tokens: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    kept: Tensor | None,
) -> None:
    """Raises a ValueError if the arguments of `expert_feed_forward` do not fit one another."""
    if tokens.dim() != 2 or w1.dim() != 3 or tokens.shape[1] != w1.shape[2]:
        raise ValueError(
            f"tokens {tuple(tokens.shape)} must be [N, D], w1 {tuple(w1.shape)} [E, F, D]"
        )
    n_experts, d_ff, d_model = w1.shape
    expected = {
        "n_tokens": (n_tokens, (n_experts,)),
        "b1": (b1, (n_experts, d_ff)),
        "w2": (w2, (n_experts, d_model, d_ff)),
        "b2": (b2, (n_experts, d_model)),
        "kept": (kept, (len(tokens), d_ff)),
    }
    for name, (item, shape) in expected.items():
        if item is not None and item.shape != shape:
            raise ValueError(f"{name} {tuple(item.shape)} must be {shape}")
