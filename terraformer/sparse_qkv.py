"""Convolutional projections around attention: a multiplicative layer, then small kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels import ops
from terraformer.attention_config import ConvolutionalQKVConfig
from terraformer.sparse_dense import ConvolutionalDense, MultiplicativeDense

QKV = tuple[Tensor, Tensor, Tensor]  # queries, keys and values, of one shape
QKVState = tuple[Tensor, Tensor]  # last inputs of the convolutions to queries and keys, to values


class ConvolutionalQKV(nn.Module):
    """Queries, keys and values by convolutions over one multiplicative layer's output.

    Args:
        config: Modules, kernels, and what values are made of.
        d_model: Width of the input and of each output, D.
    Raises:
        ValueError: if n_modules does not divide d_model.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.2.
    """

    def __init__(self, config: ConvolutionalQKVConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.shares_qk = config.share_qk
        sizes = config.n_modules, d_model, d_model
        kernel = config.kernel_size, config.length_kernel_size
        self.mix = MultiplicativeDense(*sizes)
        if self.shares_qk:
            self.w_qk = ConvolutionalDense(*sizes, *kernel)
        else:
            self.w_q = ConvolutionalDense(*sizes, *kernel)
            self.w_k = ConvolutionalDense(*sizes, *kernel)
        d_value = d_model if config.value_input == "mixed" else 2 * d_model
        self.w_v = ConvolutionalDense(
            config.n_modules, d_value, d_model, 1, config.length_kernel_size
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> QKV:
        """Projects whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens; all are real if None.
        Returns:
            Queries, keys (the very tensor of the queries where they are shared) and values,
            [B, L, D] each.
        Raises:
            ValueError: if padding stands before a real token.
        """
        require_padding_last(mask, self.config.length_kernel_size)
        if self.config.value_input == "mixed":
            mix, w_q = self.mix, self.w_qk if self.shares_qk else self.w_q
            layers = [w_q, self.w_v] if self.shares_qk else [w_q, self.w_v, self.w_k]
            weights = [item for layer in layers for item in (layer.weight, layer.bias)]
            return ops.convolutional_qkv(x, mix.projection, mix.gate, mix.bias, *weights)
        mixed = self.mix(x)
        v = self.w_v(self._value_input(mixed, x))
        if self.shares_qk:
            qk = self.w_qk(mixed)
            return qk, qk, v
        return self.w_q(mixed), self.w_k(mixed), v

    def prefill(self, x: Tensor) -> tuple[QKV, QKVState]:
        """Projects x [B, L, D] without padding, and leaves the state from which `step` goes on."""
        mixed = self.mix(x)
        v, v_state = self.w_v.prefill(self._value_input(mixed, x))
        if self.shares_qk:
            qk, qk_state = self.w_qk.prefill(mixed)
            return (qk, qk, v), (qk_state, v_state)
        q, qk_state = self.w_q.prefill(mixed)
        return (q, self.w_k(mixed), v), (qk_state, v_state)

    def step(self, x_t: Tensor, state: QKVState | None = None) -> tuple[QKV, QKVState]:
        """Projects one position, [B, D], to [B, D] each; `state` is left as it was."""
        qk_before, v_before = state or (None, None)
        mixed = self.mix(x_t)
        v, v_state = self.w_v.step(self._value_input(mixed, x_t), v_before)
        if self.shares_qk:
            qk, qk_state = self.w_qk.step(mixed, qk_before)
            return (qk, qk, v), (qk_state, v_state)
        q, qk_state = self.w_q.step(mixed, qk_before)
        k, _ = self.w_k.step(mixed, qk_before)
        return (q, k, v), (qk_state, v_state)

    def _value_input(self, mixed: Tensor, x: Tensor) -> Tensor:
        """What values are made of, [..., D] or [..., 2 * D]."""
        if self.config.value_input == "mixed":
            return mixed
        if self.config.value_input == "joined":
            return torch.cat([mixed, x], dim=-1)
        modules = (part.unflatten(-1, (self.config.n_modules, -1)) for part in (mixed, x))
        return torch.cat(list(modules), dim=-1).flatten(-2)


class ConvolutionalOutput(nn.Module):
    """What follows attention: nothing, a multiplicative layer, a convolution, or both in turn.

    Args:
        config: Which, modules and kernels.
        d_model: Width of the input and the output, D.
    Raises:
        ValueError: if n_modules does not divide d_model.
    """

    def __init__(self, config: ConvolutionalQKVConfig, d_model: int) -> None:
        super().__init__()
        self.length_kernel_size = config.length_kernel_size
        sizes = config.n_modules, d_model, d_model
        self.mix = self.w_o = None
        if config.output in ("multiplicative", "both"):
            self.mix = MultiplicativeDense(*sizes)
        if config.output in ("convolutional", "both"):
            self.w_o = ConvolutionalDense(*sizes, config.kernel_size, config.length_kernel_size)

    def forward(self, out: Tensor, mask: Tensor | None = None) -> Tensor:
        """Projects out [B, L, D] to [B, L, D].

        Args:
            out: What attention returned.
            mask: [B, L], True for real tokens; all are real if None.
        Raises:
            ValueError: if a convolution meets padding before a real token.
        """
        mixed = out if self.mix is None else self.mix(out)
        if self.w_o is None:
            return mixed
        require_padding_last(mask, self.length_kernel_size)
        return self.w_o(mixed)

    def prefill(self, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """Projects out [B, L, D] without padding, and leaves the state for `step`."""
        mixed = out if self.mix is None else self.mix(out)
        return (mixed, None) if self.w_o is None else self.w_o.prefill(mixed)

    def step(self, out_t: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Projects one position, [B, D]; `state` is left as it was."""
        mixed = out_t if self.mix is None else self.mix(out_t)
        return (mixed, None) if self.w_o is None else self.w_o.step(mixed, state)


def require_padding_last(mask: Tensor | None, length_kernel_size: int) -> None:
    """Raises a ValueError if padding stands where a kernel would carry it into real tokens.

    Args:
        mask: [B, L], True for real tokens; all are real if None.
        length_kernel_size: Positions under the kernel.
    """
    if mask is None or length_kernel_size == 1:
        return
    if not padding_is_last(mask):
        raise ValueError(
            f"a convolution along the length (length_kernel_size {length_kernel_size}) needs "
            "padding at the end of a sequence; this mask has padding before real tokens"
        )


def padding_is_last(mask: Tensor) -> bool:
    """Returns whether no real token, True in mask [B, L], stands after padding."""
    return not bool((mask[:, 1:] & ~mask[:, :-1]).any())
