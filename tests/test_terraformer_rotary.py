from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from terraformer.rotary import real_positions, rotate


def test_pairs_turn_like_complex_numbers(assert_near: Callable[..., None]) -> None:
    x = torch.randn(2, 3, 50, 8, dtype=torch.float64)
    speeds = torch.tensor([1.0, 1e-1, 1e-2, 1e-3], dtype=torch.float64)
    turn = torch.exp(1j * torch.arange(50)[:, None] * speeds)
    turned = torch.complex(x[..., :4], x[..., 4:]) * turn
    expected = torch.cat([turned.real, turned.imag], dim=-1)
    # Angles are float32: 50 rad is known to 4e-6.
    torch.testing.assert_close(rotate(x, torch.arange(50)), expected, rtol=0, atol=2e-5)


def test_products_hang_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def product(at_q: int, at_k: int) -> float:
        turned = rotate(q, torch.tensor([at_q])) * rotate(k, torch.tensor([at_k]))
        return turned.sum().item()

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert abs(product(7, 3) - product(3, 7)) > 1e-2
    assert product(5, 5) == pytest.approx((q * k).sum().item(), abs=1e-5)


def test_positions_of_each_example(assert_near: Callable[..., None]) -> None:
    x = torch.randn(2, 3, 6, 8)
    positions = torch.stack([torch.arange(6), torch.arange(6) + 9])
    turned = rotate(x, positions)
    for i in range(2):
        assert_near(turned[i : i + 1], rotate(x[i : i + 1], positions[i]))
    assert not torch.allclose(turned[1:], rotate(x[1:], positions[0]))


def test_angles_of_half_precision_are_exact(assert_near: Callable[..., None]) -> None:
    x = torch.randn(1, 1, 3, 8, dtype=torch.bfloat16)
    positions = torch.tensor([4001, 4002, 4003])  # bfloat16 would round them to 4000
    turned = rotate(x, positions)
    assert turned.dtype == torch.bfloat16
    assert_near(turned, rotate(x.float(), positions), dtype=torch.bfloat16)


def test_only_real_tokens_are_counted() -> None:
    mask = torch.tensor([[True, True, False, True, False], [False, False, True, False, True]])
    positions = real_positions(mask, 5, mask.device)
    assert positions[mask].tolist() == [0, 1, 2, 0, 1]
    assert real_positions(None, 3, mask.device).tolist() == [0, 1, 2]


def test_an_odd_width_raises() -> None:
    with pytest.raises(ValueError, match=r"width of a head \(5\) must be even"):
        rotate(torch.randn(1, 1, 2, 5), torch.arange(2))
