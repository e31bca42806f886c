"""Projections around attention: to queries, keys and values, and back."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    DenseQKVConfig,
    ModularQKVConfig,
    MultiplicativeQKVConfig,
    QKVConfig,
)
from terraformer.sparse_dense import ModularDense, MultiplicativeDense, new_dense
from terraformer.sparse_qkv import QKV, ConvolutionalOutput, ConvolutionalQKV, QKVState


class SeparateQKV(nn.Module):
    """Queries, keys and values by one layer each; each position is projected by itself.

    Args:
        new_layer: Makes a layer d_model → d_model.
        share_qk: Whether one layer makes both queries and keys.
    """

    def __init__(self, new_layer: Callable[[], nn.Module], share_qk: bool = False) -> None:
        super().__init__()
        self.shares_qk = share_qk
        if share_qk:
            self.w_qk = new_layer()
        else:
            self.w_q, self.w_k = new_layer(), new_layer()
        self.w_v = new_layer()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> QKV:
        """Projects x [..., D] to queries, keys and values, [..., D] each.

        Keys are the very tensor of the queries where they are shared. The mask changes nothing.
        """
        if self.shares_qk:
            qk = self.w_qk(x)
            return qk, qk, self.w_v(x)
        return self.w_q(x), self.w_k(x), self.w_v(x)

    def prefill(self, x: Tensor) -> tuple[QKV, None]:
        """Projects x [B, L, D]; there is nothing to remember."""
        return self(x), None

    def step(self, x_t: Tensor, state: QKVState | None = None) -> tuple[QKV, None]:
        """Projects one position, [B, D]; there is nothing to remember."""
        return self(x_t), None


class SeparateOutput(nn.Module):
    """The layer after attention; each position is projected by itself.

    Args:
        layer: d_model → d_model.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.w_o = layer

    def forward(self, out: Tensor, mask: Tensor | None = None) -> Tensor:
        """Projects out [..., D] to [..., D]. The mask changes nothing."""
        return self.w_o(out)

    def prefill(self, out: Tensor) -> tuple[Tensor, None]:
        """Projects out [B, L, D]; there is nothing to remember."""
        return self(out), None

    def step(self, out_t: Tensor, state: Tensor | None = None) -> tuple[Tensor, None]:
        """Projects one position, [B, D]; there is nothing to remember."""
        return self(out_t), None


def build_qkv(config: QKVConfig, d_model: int) -> SeparateQKV | ConvolutionalQKV:
    """Returns the projections before attention that belong to the type of the config."""
    if isinstance(config, ConvolutionalQKVConfig):
        return ConvolutionalQKV(config, d_model)
    share_qk = isinstance(config, DenseQKVConfig) and config.share_qk
    return SeparateQKV(lambda: _new_layer(config, d_model), share_qk)


def build_output(config: QKVConfig, d_model: int) -> SeparateOutput | ConvolutionalOutput:
    """Returns the projection after attention that belongs to the type of the config."""
    if isinstance(config, ConvolutionalQKVConfig):
        return ConvolutionalOutput(config, d_model)
    return SeparateOutput(_new_layer(config, d_model))


def _new_layer(
    config: DenseQKVConfig | MultiplicativeQKVConfig | ModularQKVConfig, d_model: int
) -> nn.Module:
    if isinstance(config, MultiplicativeQKVConfig):
        return MultiplicativeDense(config.n_modules, d_model, d_model)
    if isinstance(config, ModularQKVConfig):
        return ModularDense(config.n_modules, d_model)
    return new_dense(d_model, d_model, config.bias)
