from __future__ import annotations

import pytest
import torch

from kernels import huge_pages
from kernels.huge_pages import PAGE_BYTES, Arena, zeros

LARGE = 3 * PAGE_BYTES // 4 + 5


@pytest.mark.parametrize("advice", [huge_pages._ADVICE, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8, torch.int64])
@pytest.mark.parametrize("shape", [(0, 4), (3, 5), (1, LARGE)])
def test_zeros(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    advice: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huge_pages, "_ADVICE", advice)
    made = zeros(shape, dtype)
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert not made.any()


def test_large_ones_begin_a_page() -> None:
    if huge_pages._ADVICE is None:
        pytest.skip("this system has no huge pages by advice")
    assert zeros((LARGE,)).data_ptr() % PAGE_BYTES == 0


def test_an_arena_keeps_copies_apart() -> None:
    arena = Arena()
    tensors = [
        torch.randn(7, 3),
        torch.randint(-9, 9, (5,), dtype=torch.int8),
        torch.randn(()),
        torch.randn(9, 4).T,
        torch.randn(LARGE),
        torch.randn(40, huge_pages._ARENA_BYTES // 160),
        torch.randn(0, 3),
    ]
    kept = [arena.keep(tensor) for tensor in tensors]
    for tensor, copy in zip(tensors, kept, strict=True):
        assert torch.equal(tensor, copy)
        assert copy.is_contiguous()
        assert copy.data_ptr() % 64 == 0
    kept[0].zero_()
    assert tensors[0].any()
    assert all(map(torch.equal, tensors[1:], kept[1:]))
