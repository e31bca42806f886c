from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import dispatch, ops
from kernels.sparse_feed_forward.reference import (
    Selection,
    draw_choice,
)

BACKENDS = [name for name in dispatch.backends("sparse_feed_forward") if name != "reference"]
ON_CPU = dispatch.backends("sparse_feed_forward", torch.device("cpu"))
SELECTIONS: list[Selection] = ["hard", "straight_through", "soft"]


def _inputs(n_tokens: int, dtype: torch.dtype, block_size: int = 4) -> list[Tensor]:
    n_blocks, d_model = 2048, 8  # more units than are computed at once
    shapes = (
        (n_tokens, d_model),
        (n_tokens, n_blocks, block_size),
        (n_blocks * block_size, d_model),
        (n_blocks * block_size, d_model),
        (d_model,),
    )
    return [(0.3 * torch.randn(shape)).to(dtype) for shape in shapes]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("multiply", [False, True], ids=["plain", "multiplied"])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16], ids=lambda dtype: str(dtype)[6:]
)
@pytest.mark.parametrize("n_tokens", [1, 63, 150], ids=lambda n: f"T{n}-D8-F8192")
def test_backends_agree_with_the_reference(
    n_tokens: int,
    dtype: torch.dtype,
    selection: Selection,
    multiply: bool,
    device: str,
    backend: str,
    assert_near: Callable[..., None],
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    inputs = [item.to(device) for item in _inputs(n_tokens, dtype)]
    try:
        dispatch.resolve("sparse_feed_forward", inputs[0].device, backend)
    except RuntimeError as error:
        pytest.skip(str(error))
    choice = torch.randint(0, 4, (n_tokens, 2048), device=device).to(torch.uint8)
    results = []
    for name in ("reference", backend):
        leaves = [item.clone().requires_grad_() for item in inputs]
        out = ops.sparse_feed_forward(
            *leaves,
            selection=selection,
            choice=choice,
            multiply_by_controller=multiply,
            backend=name,
        )
        grads = torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)
        results.append((out.detach(), *grads))
    for i, (expected, actual) in enumerate(zip(*results, strict=True)):
        if selection == "hard" and not multiply and i == 2:
            assert expected is None
            assert actual is None
        else:
            assert_near(actual, expected, grad=i > 0)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("backend", ON_CPU)
def test_blocks_of_one_unit_are_dense(
    backend: str, selection: Selection, assert_near: Callable[..., None]
) -> None:
    x, logits, w1, w2, b2 = _inputs(5, torch.float64, block_size=1)
    out = ops.sparse_feed_forward(x, logits, w1, w2, b2, selection=selection, backend=backend)
    assert_near(out, (x @ w1.T).relu() @ w2 + b2)


def test_hard_selection_reads_one_unit_of_a_block(assert_near: Callable[..., None]) -> None:
    x, logits, w1, w2, b2 = _inputs(2, torch.float64)
    expected = b2.repeat(2, 1)
    for t in range(2):
        for block in range(2048):
            row = 4 * block + int(logits[t, block].argmax())
            expected[t] += F.relu(w1[row] @ x[t]) * w2[row]
    assert_near(ops.sparse_feed_forward(x, logits, w1, w2, b2, selection="hard"), expected)
    assert_near(ops.sparse_feed_forward_step(x, logits, w1, w2, b2), expected)


def test_mixed_precision_runs_in_float32() -> None:
    inputs = _inputs(63, torch.float32)
    plain = ops.sparse_feed_forward(*inputs, selection="soft")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ops.sparse_feed_forward(*inputs, selection="soft", backend="cpu")
    assert torch.equal(mixed, plain)


def test_noise_of_temperature_one_draws_from_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(20000, 1, 3)
    uniform = torch.rand(logits.shape).clamp(1e-6, 1 - 1e-6)
    share = draw_choice(logits, 1.0, uniform).flatten().bincount(minlength=3) / 20000
    torch.testing.assert_close(share, logits[0, 0].softmax(-1), atol=0.02, rtol=0)


def test_wrong_shapes_raise() -> None:
    x, logits, w1, w2, b2 = _inputs(3, torch.float32)
    with pytest.raises(ValueError, match=r"logits \(2, 2048, 4\) \[T, G, N\]"):
        ops.sparse_feed_forward(x, logits[1:], w1, w2, b2, selection="hard")
    with pytest.raises(ValueError, match=r"w2 \(8191, 8\) must be \(8192, 8\)"):
        ops.sparse_feed_forward_step(x, logits, w1, w2[1:], b2)


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.golden("sparse_ff")
def test_as_published(
    golden: dict[str, Any], backend: str, assert_near: Callable[..., None]
) -> None:
    """Every mode of the published layer: outputs and the gradients of all its weights."""
    multiply = not torch.allclose(_evaluated(golden, False), golden["y_eval"], atol=1e-4)
    assert_near(_evaluated(golden, multiply), golden["y_eval"])
    leaves, logits, weights = _published(golden)
    stepped = ops.sparse_feed_forward_step(
        leaves["x"].flatten(0, 1), logits, *weights, multiply_by_controller=multiply
    )
    assert_near(stepped.view_as(golden["y_predict"]), golden["y_predict"])
    for mode in ("eval_", *_training_modes(golden)):
        leaves, logits, weights = _published(golden)
        choice = None
        if mode.startswith("train_hard_"):
            choice = golden[f"{mode}quant_mask"]
            drawn = draw_choice(logits, _temperature(mode), golden["u"].clone())
            assert torch.equal(drawn, choice.long())
        out = ops.sparse_feed_forward(
            leaves["x"].flatten(0, 1),
            logits,
            *weights,
            selection=_selection(mode),
            choice=choice,
            multiply_by_controller=multiply,
            backend=backend,
        ).view_as(golden["gy"])
        assert_near(out, golden[f"{mode}y" if mode != "eval_" else "y_eval"])
        out.backward(golden["gy"])
        for name, leaf in leaves.items():
            grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            expected = golden[f"{mode}gx" if name == "x" else f"{mode}g_{name}"]
            assert_near(grad, expected, grad=True)


def _training_modes(golden: dict[str, Any]) -> list[str]:
    modes = [name[:-1] for name in golden if name.startswith("train_") and name.endswith("_y")]
    assert {_selection(mode) for mode in modes} == {"straight_through", "soft"}
    return modes


def _selection(mode: str) -> Selection:
    if mode == "eval_":
        return "hard"
    return "soft" if mode == "train_soft_" else "straight_through"


def _temperature(mode: str) -> float:
    """Of a mode such as train_hard_t01_: the digits after the first are behind the point."""
    digits = mode.split("_")[2][1:]
    return int(digits) / 10 ** (len(digits) - 1)


def _published(golden: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor, tuple[Tensor, ...]]:
    """Leaves in the published layout; the logits and weights made of them in ours."""
    names = ("x", "m1", "m2", "mb", "w1", "w2", "b2")
    leaves = {name: golden[name].clone().requires_grad_() for name in names}
    x = leaves["x"].flatten(0, 1)
    logits = torch.einsum("tr,rgn->tgn", x @ leaves["m1"], leaves["m2"]) + leaves["mb"]
    w1 = leaves["w1"].flatten(1).T
    w2 = leaves["w2"].transpose(0, 1).flatten(0, 1)
    return leaves, logits, (w1, w2, leaves["b2"])


def _evaluated(golden: dict[str, Any], multiply: bool) -> Tensor:
    leaves, logits, weights = _published(golden)
    out = ops.sparse_feed_forward(
        leaves["x"].flatten(0, 1),
        logits,
        *weights,
        selection="hard",
        multiply_by_controller=multiply,
    )
    return out.detach().view_as(golden["y_eval"])
