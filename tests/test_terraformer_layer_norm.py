from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

_PUBLISHED_EPSILON = 1e-6


@pytest.mark.golden("layernorm_center1")
def test_centred_norm_is_torch_layer_norm(
    golden: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    norm = nn.LayerNorm(golden["x"].shape[-1], eps=_PUBLISHED_EPSILON)
    with torch.no_grad():
        norm.weight.copy_(golden["scale"])
        norm.bias.copy_(golden["bias"])
    assert_near(norm(golden["x"]), golden["y"])


@pytest.mark.golden("layernorm_center0")
def test_uncentred_norm_is_torch_rms_norm(
    golden: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    norm = nn.RMSNorm(golden["x"].shape[-1], eps=_PUBLISHED_EPSILON)  # the bias has no effect
    with torch.no_grad():
        norm.weight.copy_(golden["scale"])
    assert_near(norm(golden["x"]), golden["y"])
