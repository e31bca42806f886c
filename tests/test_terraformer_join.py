from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from terraformer.join import Joined


def test_joining_by_hand() -> None:
    first = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [99.0], [99.0]]])
    second = torch.tensor([[[5.0], [6.0]], [[7.0], [0.0]]])
    joined = Joined.of(
        torch.tensor([[True, True, True], [True, False, False]]),
        torch.tensor([[True, True], [True, False]]),
    )
    together = joined.join(first, second)
    assert together[..., 0].tolist() == [[1, 2, 3, 5, 6], [4, 7, 0, 0, 0]]
    assert joined.mask.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert joined.at.tolist() == [[3, 4], [1, 2]]
    assert torch.equal(joined.second(together), second)


def test_padding_before_the_text_is_refused() -> None:
    real = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="first_mask has padding before real positions"):
        Joined.of(torch.tensor([[False, True]]), real)
    with pytest.raises(ValueError, match="second_mask has padding"):
        Joined.of(real, torch.tensor([[False, True]]))


def test_gradients_go_to_their_own_sequence() -> None:
    first = torch.randn(2, 4, 3, requires_grad=True)
    second = torch.randn(2, 2, 3, requires_grad=True)
    first_mask = torch.tensor([[True] * 4, [True, False, False, False]])
    joined = Joined.of(first_mask, torch.ones(2, 2, dtype=torch.bool))
    together = joined.join(first, second)
    together[joined.mask].sum().backward()
    assert second.grad is not None
    assert torch.equal(second.grad, torch.ones_like(second))
    assert first.grad is not None
    assert torch.equal(first.grad.bool().all(dim=-1), first_mask)


@pytest.mark.golden("concat_with_padding")
def test_joining_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    source, target = golden["tok_e"] != 0, golden["tok_d"] != 0
    joined = Joined.of(source, torch.ones_like(target))
    together = joined.join(golden["vec_e"], golden["vec_d"])
    assert_near(together, golden["vec_ed"])
    assert_near(joined.second(together), golden["stripped"])
