from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch, ops
from kernels.sru_scan.reference import sru_scan

BACKENDS = [name for name in dispatch.backends("sru_scan") if name != "reference"]
ON_CPU = dispatch.backends("sru_scan", torch.device("cpu"))


def _run(x: Tensor, f: Tensor, c0: Tensor | None, backend: str) -> list[Tensor]:
    inputs = [item.clone().requires_grad_() for item in (x, f, c0) if item is not None]
    cells, last = ops.sru_scan(*inputs, backend=backend)
    weights = torch.linspace(-1, 1, cells.numel()).view_as(cells)
    grads = torch.autograd.grad((cells * weights).sum() + last.square().sum(), inputs)
    return [cells.detach(), last.detach(), *grads]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("gate", [0.0, 8.0, 40.0], ids=lambda scale: f"gate{scale:g}")
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
@pytest.mark.parametrize("length", [1, 2, 63, 500], ids=lambda n: f"B2-L{n}-D32")
def test_backends_agree_with_the_reference(
    length: int,
    dtype: torch.dtype,
    gate: float,
    device: str,
    backend: str,
    assert_near: Callable[..., None],
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x = torch.randn(2, length, 32, device=device).to(dtype)
    f = (gate * torch.randn(2, length, 32, device=device)).sigmoid().to(dtype)
    c0 = torch.randn(2, 32, device=device)
    try:
        dispatch.resolve("sru_scan", x.device, backend)
    except RuntimeError as error:
        pytest.skip(str(error))
    for start in (None, c0):
        expected, actual = (_run(x, f, start, name) for name in ("reference", backend))
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert one.dtype == other.dtype
            assert_near(one, other, grad=i > 1)


@pytest.mark.parametrize("backend", ON_CPU)
def test_zero_gate_passes_x_and_full_gate_keeps_the_cell(backend: str) -> None:
    x, c0 = torch.randn(2, 37, 4), torch.randn(2, 4)
    cells, last = ops.sru_scan(x, torch.zeros_like(x), c0, backend=backend)
    assert torch.equal(cells, x)
    assert torch.equal(last, x[:, -1])
    cells, last = ops.sru_scan(x, torch.ones_like(x), c0, backend=backend)
    assert torch.equal(cells, c0[:, None].expand_as(x))
    assert torch.equal(last, c0)


@settings(deadline=None, max_examples=30)
@given(first=st.integers(0, 70), second=st.integers(0, 70), seed=st.integers(0, 99))
def test_two_halves_are_the_whole(first: int, second: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, f = torch.rand(2, 1, first + second, 3, generator=generator, dtype=torch.float64)
    cells, last = ops.sru_scan(x, f)
    head, state = ops.sru_scan(x[:, :first], f[:, :first])
    tail, end = ops.sru_scan(x[:, first:], f[:, first:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), cells)
    torch.testing.assert_close(end, last)


def test_wrong_shapes_raise() -> None:
    x = torch.rand(2, 5, 3)
    with pytest.raises(ValueError, match=r"x \(2, 5, 3\) and f \(2, 4, 3\)"):
        ops.sru_scan(x, x[:, 1:])
    with pytest.raises(ValueError, match=r"c0 \(3, 3\) must be \[2, 3\]"):
        sru_scan(x, x, torch.zeros(3, 3))
