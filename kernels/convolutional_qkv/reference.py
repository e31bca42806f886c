"""A multiplicative layer and convolutions to queries, keys and values, in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels.multiplicative.reference import check_layer, multiplicative_dense


def convolutional_qkv(
    x: Tensor,
    projection: Tensor,
    gate: Tensor,
    bias: Tensor | None,
    w_q: Tensor,
    b_q: Tensor,
    w_v: Tensor,
    b_v: Tensor,
    w_k: Tensor | None = None,
    b_k: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Projects whole sequences to queries, keys and values.

    Args:
        x: [B, L, D], D = S * M.
        projection: Of the multiplicative layer, [M, D].
        gate: [S, D].
        bias: [D], or none.
        w_q: Kernel that all modules share, [M, length, modules, M]: of the output within a module,
            positions up to the present one, an odd number of modules around it, and the input.
        b_q: [M].
        w_v: [M, length, 1, M].
        b_v: [M].
        w_k: As that of the queries; None where queries serve as keys.
        b_k: [M], beside w_k.
    Returns:
        Queries, keys (the very tensor of the queries where they are shared) and values, [B, L, D].
    Raises:
        ValueError: if shapes do not fit.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.2.
    """
    check_shapes(x, projection, gate, bias, w_q, b_q, w_v, b_v, w_k, b_k)
    mixed = multiplicative_dense(x, projection, gate, bias)
    padded = F.pad(mixed, (0, 0, w_q.shape[1] - 1, 0))
    q = module_convolution(padded, w_q, b_q, len(gate))
    k = q if w_k is None else module_convolution(padded, w_k, b_k, len(gate))
    return q, k, module_convolution(padded, w_v, b_v, len(gate))


def module_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, n_modules: int) -> Tensor:
    """Convolves over length and modules; zeros stand beyond the first and the last module.

    Args:
        x: [B, L + length - 1, d_in], what stands before the first position included.
        weight: [d_out / S, length, modules, d_in / S].
        bias: [d_out / S], or none.
        n_modules: S.
    Returns:
        [B, L, d_out].
    """
    image = x.unflatten(-1, (n_modules, -1)).permute(0, 3, 1, 2)  # channels last
    kernel = weight.permute(0, 3, 1, 2)
    out = F.conv2d(image, kernel, bias, padding=(0, weight.shape[2] // 2))
    return out.permute(0, 2, 3, 1).flatten(-2)


def check_shapes(
    x: Tensor,
    projection: Tensor,
    gate: Tensor,
    bias: Tensor | None,
    w_q: Tensor,
    b_q: Tensor,
    w_v: Tensor,
    b_v: Tensor,
    w_k: Tensor | None,
    b_k: Tensor | None,
) -> None:
    """Raises a ValueError if the arguments of `convolutional_qkv` do not fit one another."""
    if x.dim() != 3:
        raise ValueError(f"x {tuple(x.shape)} must be [B, L, D]")
    n_modules, d_module = check_layer(x.flatten(0, 1), projection, gate, bias)
    if n_modules * d_module != x.shape[2]:
        raise ValueError(
            f"gate {tuple(gate.shape)} and projection {tuple(projection.shape)} must be [S, D] and "
            f"[M, D], S * M = D"
        )
    if w_q.dim() != 4 or w_q.shape[2] % 2 == 0:
        raise ValueError(f"w_q {tuple(w_q.shape)} must be [M, length, modules (odd), M]")
    length, around = w_q.shape[1:3]
    expected = {
        "w_q": (w_q, (d_module, length, around, d_module)),
        "b_q": (b_q, (d_module,)),
        "w_v": (w_v, (d_module, length, 1, d_module)),
        "b_v": (b_v, (d_module,)),
        "w_k": (w_k, (d_module, length, around, d_module)),
        "b_k": (b_k, (d_module,)),
    }
    for name, (item, shape) in expected.items():
        if item is not None and item.shape != shape:
            raise ValueError(f"{name} {tuple(item.shape)} must be {shape}")
