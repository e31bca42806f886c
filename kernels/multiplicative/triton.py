"""Launches of the multiplicative layer's kernels, which the operations that hold it share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.triton_launch import Launch, block_of, launch_of, run_kernel
from kernels.triton_support import accumulator_dtype, dot_dtype, dot_precision, in_triton

_STEP_BYTES = 128  # of a row of an operand that one step of a product reads


class Layer:
    """A multiplicative layer's weights, and how kernels go through it.

    Args:
        projection: [M, D].
        gate: [S, D]; None is one open module.
        bias: [S * M], or none.
    Attributes:
        n_modules, d_module, width: S, M and D.
    """

    def __init__(self, projection: Tensor, gate: Tensor | None, bias: Tensor | None) -> None:
        self.projection = projection.contiguous()
        self.gate = None if gate is None else gate.contiguous()
        self.bias = None if bias is None else bias.contiguous()
        self.n_modules = 1 if gate is None else len(gate)
        self.d_module, self.width = projection.shape

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Projection and gate as kernels take them; without a gate they do not look at it."""
        return self.projection, self.projection if self.gate is None else self.gate

    def tiles(self, kernel: str, n_rows: int) -> tuple[tuple[int, int], dict[str, Any]]:
        """Numbers of tiles of rows and of outputs, and compile-time arguments of their kernel."""
        settings = launch_of(kernel, self.projection.dtype, self.width)
        sizes = {
            "has_bias": self.bias is not None,
            "block_m": block_of(n_rows, settings.block_m),
            "block_n": block_of(self.d_module, settings.block_n),
            **self.sizes(settings),
        }
        n_columns = self.n_modules * -(-self.d_module // sizes["block_n"])
        return (-(-n_rows // sizes["block_m"]), n_columns), sizes

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [T, D], T > 0, to [T, S * M]."""
        from kernels.multiplicative.triton_product import multiplicative_fwd_kernel

        d_out = self.n_modules * self.d_module
        out = torch.empty(len(x), d_out, dtype=x.dtype, device=x.device)
        grid, sizes = self.tiles("multiplicative_fwd", len(x))
        weights = *self.weights, x if self.bias is None else self.bias
        run_kernel(multiplicative_fwd_kernel, grid, x, *weights, out, len(x), x.stride(0), **sizes)
        return out

    def sizes(self, settings: Launch) -> dict[str, Any]:
        """Compile-time arguments of all kernels but the blocks of rows and columns."""
        dtype = self.projection.dtype
        return {
            "width": self.width,
            "d_module": self.d_module,
            "n_modules": self.n_modules,
            "has_gate": self.gate is not None,
            "block_k": step_of(dtype),
            **product_options(dtype, settings),
        }

    def backward_rows(self, grad: Tensor, dx: Tensor, scale: Tensor | None) -> None:
        """Writes dx [T, D] of outputs' gradients [T, S * M], times a scale [] if there is one."""
        from kernels.multiplicative.triton_product import multiplicative_dx_kernel

        settings = launch_of("multiplicative_dx", grad.dtype, self.width)
        block_m, block_n = block_of(len(grad), settings.block_m), settings.block_n
        run_kernel(
            multiplicative_dx_kernel,
            (-(-len(grad) // block_m), -(-self.width // block_n)),
            *(grad, *self.weights, grad if scale is None else scale, dx, len(grad)),
            has_scale=scale is not None,
            block_m=block_m,
            block_n=block_n,
            **self.sizes(settings),
        )

    def backward_weights(self, grad: Tensor, x: Tensor, sums: WeightSums) -> None:
        """Adds what outputs' gradients [T, S * M] of rows x [T, D] make to the weights' sums."""
        from kernels.multiplicative.triton_product import multiplicative_dw_kernel

        settings = launch_of("multiplicative_dw", grad.dtype, self.width)
        run_kernel(
            multiplicative_dw_kernel,
            (len(sums.dgate), -(-self.width // settings.block_n)),
            *(grad, x, *self.weights, sums.dprojection, sums.dgate, len(x), x.stride(0)),
            block_m=sums.block,
            block_n=settings.block_n,
            **self.sizes(settings),
        )


class WeightSums:
    """Gradients of a layer's weights while they are added up, float32 or wider.

    Attributes:
        dprojection: [M, D].
        dgate: Shares of blocks of the projection's rows, [n, S, D].
        block: Rows of such a block.
    """

    def __init__(self, layer: Layer) -> None:
        projection = layer.projection
        settings = launch_of("multiplicative_dw", projection.dtype, layer.width)
        self.block = block_of(layer.d_module, settings.block_m)
        n_blocks = -(-layer.d_module // self.block)
        options: dict[str, Any] = {
            "dtype": accumulator_dtype(projection.dtype),
            "device": projection.device,
        }
        self.dprojection = torch.zeros(projection.shape, **options)
        n_gates = 0 if layer.gate is None else layer.n_modules
        self.dgate = torch.zeros(n_blocks, n_gates, layer.width, **options)


def step_of(dtype: torch.dtype) -> int:
    """Columns that one step of a product takes."""
    return _STEP_BYTES // dtype.itemsize


def product_options(dtype: torch.dtype, settings: Launch) -> dict[str, Any]:
    """How values of a dtype are multiplied and summed, and how the kernel is launched."""
    return {
        "operand": in_triton(dot_dtype(dtype)),
        "accumulator": in_triton(accumulator_dtype(dtype)),
        "precision": dot_precision(),
        "num_warps": settings.n_warps,
        "num_stages": settings.n_stages,
    }
