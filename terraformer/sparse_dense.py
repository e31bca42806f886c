"""Dense layers, and those with fewer weights, whose width is cut into modules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops import module_convolution, multiplicative_dense


def new_dense(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    """Returns a dense layer d_in → d_out, initialized as published."""
    layer = nn.Linear(d_in, d_out, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.normal_(layer.bias, std=1e-6)
    return layer


class MultiplicativeDense(nn.Module):
    """A dense layer whose modules of the output share one projection of the gated input.

    y[s * M + m] = Σ_d x[d] * gate[s, d] * projection[m, d] + bias[s * M + m], M = d_out / S. A
    dense layer that permutes or mixes modules can be expressed with about 1 / S of its weights.

    Args:
        n_modules: Modules of the output, S.
        d_in: Width of the input.
        d_out: Width of the output, a multiple of n_modules.
        bias: Whether a bias is added.
    Raises:
        ValueError: if n_modules does not divide d_out.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.2 (multiplicative layer).
    Differs: `projection` is stored as rows of d_in numbers, so that a step reads it in order.
    """

    def __init__(self, n_modules: int, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        d_module = require_modules("d_out", d_out, n_modules)
        self.gate = nn.Parameter(torch.empty(n_modules, d_in))
        self.projection = nn.Parameter(torch.empty(d_module, d_in))
        self.bias = nn.Parameter(torch.empty(d_out)) if bias else None
        nn.init.normal_(self.gate, std=0.5)
        nn.init.xavier_uniform_(self.projection)
        if self.bias is not None:
            nn.init.normal_(self.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [..., d_in] to [..., d_out]."""
        return multiplicative_dense(x, self.projection, self.gate, self.bias)


class ModularDense(nn.Module):
    """A multiplicative layer, then a dense layer within each module.

    Args:
        n_modules: Modules, S.
        d_model: Width of the input and the output, a multiple of n_modules.
    Raises:
        ValueError: if n_modules does not divide d_model.
    Source: `MultiplicativeModularSparseDense` of the published code.
    """

    def __init__(self, n_modules: int, d_model: int) -> None:
        super().__init__()
        d_module = require_modules("d_model", d_model, n_modules)
        self.multiplicative = MultiplicativeDense(n_modules, d_model, d_model, bias=False)
        self.weight = nn.Parameter(torch.empty(n_modules, d_module, d_module))
        self.bias = nn.Parameter(torch.empty(d_model))
        bound = (3 / d_module) ** 0.5  # Glorot for each module by itself
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.normal_(self.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [..., D] to [..., D]."""
        modules = self.multiplicative(x).unflatten(-1, (len(self.weight), -1))
        out = torch.einsum("...sm,snm->...sn", modules, self.weight)
        return out.flatten(-2) + self.bias


class ConvolutionalDense(nn.Module):
    """A convolution over modules and length that all modules share.

    Each module of the output sees the modules around its own, at its position and at those just
    before it: zeros stand beyond the first and the last module and before the first position.

    Args:
        n_modules: Modules of input and output, S.
        d_in: Width of the input, a multiple of n_modules.
        d_out: Width of the output, a multiple of n_modules.
        kernel_size: Modules under the kernel, odd.
        length_kernel_size: Positions under the kernel, the present one and those before it.
    Raises:
        ValueError: if n_modules does not divide d_in and d_out, or kernel_size is even.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.2 (convolutional layer).
    Differs: one module convolves along the length like several; the published one is then a dense
        layer, as here with a length_kernel_size of 1.
    """

    def __init__(
        self, n_modules: int, d_in: int, d_out: int, kernel_size: int, length_kernel_size: int
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size ({kernel_size}) must be odd")
        d_module_in = require_modules("d_in", d_in, n_modules)
        d_module_out = require_modules("d_out", d_out, n_modules)
        self.n_modules = n_modules
        self.weight = nn.Parameter(
            torch.empty(d_module_out, length_kernel_size, kernel_size, d_module_in)
        )
        self.bias = nn.Parameter(torch.empty(d_module_out))
        nn.init.normal_(self.weight, std=(2 / (d_module_in + d_module_out)) ** 0.5)
        nn.init.normal_(self.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [B, L, d_in] to [B, L, d_out]."""
        return self._convolve(F.pad(x, (0, 0, self.weight.shape[1] - 1, 0)))

    def prefill(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps x as `forward` does; also returns the state from which `step` goes on.

        The state is the last inputs, [B, length_kernel_size - 1, d_in], zeros before the first.
        """
        n_before = self.weight.shape[1] - 1
        padded = F.pad(x, (0, 0, n_before, 0))
        return self._convolve(padded), padded[:, x.shape[1] :].detach().clone()

    def step(self, x_t: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps one position.

        Args:
            x_t: [B, d_in].
            state: The inputs before it, [B, length_kernel_size - 1, d_in]; zeros if None.
        Returns:
            [B, d_out]; the state after it.
        """
        if state is None:
            state = x_t.new_zeros(x_t.shape[0], self.weight.shape[1] - 1, x_t.shape[1])
        window = torch.cat([state, x_t[:, None]], dim=1)
        return self._convolve(window)[:, 0], window[:, 1:]

    def _convolve(self, x: Tensor) -> Tensor:
        """Maps x [B, L + length_kernel_size - 1, d_in] to [B, L, d_out]."""
        return module_convolution(x, self.weight, self.bias, self.n_modules)


class LocallyConnectedDense(nn.Module):
    """Modules that each see those around their own, with weights of their own.

    The first and the last module are neighbours.

    Args:
        n_modules: Modules of input and output, S.
        d_in: Width of the input, a multiple of n_modules.
        d_out: Width of the output, a multiple of n_modules.
        kernel_size: Modules that a module sees, odd and at most n_modules.
    Raises:
        ValueError: if n_modules does not divide d_in and d_out, or kernel_size does not fit.
    Source: `LocallyConnectedDense` of the published code.
    Differs: weights are stored with the module that sees, not with the one that is seen, so that
        a step reads them in order.
    """

    def __init__(self, n_modules: int, d_in: int, d_out: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size > n_modules:
            raise ValueError(
                f"kernel_size ({kernel_size}) must be odd and at most n_modules ({n_modules})"
            )
        d_module_in = require_modules("d_in", d_in, n_modules)
        d_module_out = require_modules("d_out", d_out, n_modules)
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(n_modules, d_module_out, kernel_size * d_module_in))
        self.bias = nn.Parameter(torch.empty(n_modules, d_module_out))
        bound = (6 / (d_module_in + d_module_out)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.normal_(self.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [..., d_in] to [..., d_out]."""
        d_module = x.shape[-1] // len(self.weight)
        d_around = self.kernel_size // 2 * d_module
        ring = torch.cat([x[..., x.shape[-1] - d_around :], x, x[..., :d_around]], dim=-1)
        seen = ring.unfold(-1, self.kernel_size * d_module, d_module)  # [..., S, window]
        out = torch.einsum("...sw,sow->...so", seen, self.weight) + self.bias
        return out.flatten(-2)


def require_modules(name: str, width: int, n_modules: int) -> int:
    """Returns the width of a module, or raises a ValueError if n_modules does not divide it."""
    if n_modules < 1 or width % n_modules:
        raise ValueError(f"{name} ({width}) must be divisible by n_modules ({n_modules})")
    return width // n_modules
