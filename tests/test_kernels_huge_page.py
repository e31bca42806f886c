from __future__ import annotations

import pytest
import torch

from kernels import huge_page

LARGE = torch.ones(2, 1024, 512)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32], ids=str)
def test_a_tensor_is_like_another(dtype: torch.dtype) -> None:
    x = LARGE.to(dtype)
    for shape in (None, (4, 1024, 512), (3,)):
        made = huge_page.empty_like(x, shape)
        assert (made.dtype, made.shape) == (dtype, x.shape if shape is None else torch.Size(shape))
        assert made.is_contiguous()
        assert (made.fill_(7) == 7).all()


def test_memory_is_taken_again_when_no_view_is_left() -> None:
    with huge_page.reused():
        first = huge_page.empty_like(LARGE)
        address, part = first.data_ptr(), first[1]
        del first
        assert huge_page.empty_like(LARGE).data_ptr() != address
        kept = part.fill_(3.0)
        huge_page.empty_like(LARGE).fill_(5.0)
        assert (kept == 3.0).all()
        del part, kept
        again = huge_page.empty_like(LARGE)
        assert again.data_ptr() == address
        other_size = huge_page.empty_like(LARGE, (3, 1024, 512))
        assert other_size.data_ptr() != address
    assert (again.fill_(2.0) == 2.0).all()  # it outlives the `with`


def test_memory_is_not_taken_again_outside() -> None:
    with huge_page.reused():
        kept = huge_page.empty_like(LARGE).fill_(1.0)
    del kept
    tensors = [huge_page.empty_like(LARGE) for _ in range(3)]
    assert len({tensor.data_ptr() for tensor in tensors}) == 3
