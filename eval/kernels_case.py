"""What `eval.kernels` runs: checks of a kernel against its reference, and races against others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TOLERANCES = {  # largest error relative to the largest value: outputs, gradients
    torch.float64: (1e-10, 1e-10),
    torch.float32: (1e-5, 1e-4),
    torch.float16: (4e-3, 1e-2),
    torch.bfloat16: (3e-2, 6e-2),
}

Function = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Check:
    """An operation on inputs for which its reference can be computed as well.

    Attributes:
        case: Sizes and dtype, for reading.
        dtype: Of the values.
        inputs: Makes the inputs on a device; gradients of those of floating point are compared.
        options: Of the operation.
        has_backward: Whether there are gradients.
    """

    case: str
    dtype: torch.dtype
    inputs: Callable[[torch.device], list[Tensor | None]]
    options: dict[str, Any] = field(default_factory=dict)
    has_backward: bool = True


@dataclass(frozen=True)
class Race:
    """The same work done in several ways.

    Attributes:
        case: Sizes and dtype, for reading.
        inputs: Makes the inputs on a device; those of floating point get gradients.
        contestants: By name, what builds the function of the inputs that is timed.
        forward_bytes, backward_bytes: Least that must be moved; 0 where arithmetic is the limit.
        forward_flops, backward_flops: Multiplications and additions of matrix products.
        has_backward: Whether the backward pass is timed as well.
    """

    case: str
    inputs: Callable[[torch.device], list[Tensor | None]]
    contestants: dict[str, Callable[[], Function]]
    forward_bytes: int = 0
    backward_bytes: int = 0
    forward_flops: int = 0
    backward_flops: int = 0
    has_backward: bool = True


@dataclass(frozen=True)
class Suite:
    """All checks and races of one operation; `dtypes` are in the names of cases."""

    op: str
    checks: Sequence[Check]
    races: Sequence[Race]


def leaves_of(inputs: Sequence[Tensor | None], dtype: torch.dtype | None = None) -> list[Any]:
    """Copies of inputs that gradients can be taken of, values in another dtype if one is given."""
    leaves = []
    for item in inputs:
        if item is not None and item.is_floating_point():
            item = item.detach().to(dtype or item.dtype, copy=True).requires_grad_()
        leaves.append(item)
    return leaves


def dtype_name(dtype: torch.dtype) -> str:
    """float32 of torch.float32."""
    return str(dtype).removeprefix("torch.")
