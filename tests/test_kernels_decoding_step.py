from __future__ import annotations

import array
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kernels import decoding_step
from kernels.decoding_step import Plan, PlannedStep, place
from kernels.packed import pack_panels, pack_rows, round_up

REASON = decoding_step.unavailable()
SETS = ["portable"] if REASON else decoding_step.instruction_sets()
built = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def run(steps: list[PlannedStep], slots: list[Tensor], **options: object) -> None:
    """Runs steps on slots at position 37, with room for 48."""
    addresses = array.array("q", [slot.data_ptr() for slot in slots])
    plan = Plan(steps, **options)  # pyright: ignore[reportArgumentType]
    plan.run(addresses.buffer_info()[0], 0, 37, 48)


def linear(weight: Tensor, bias: Tensor | None, int8: bool, **fields: int) -> PlannedStep:
    """y = weight · x + bias, x in slot 0 and y in slot 1."""
    packed = pack_panels(weight, int8)
    KEPT.append(packed)
    defaults = {
        "weights": packed.weights.data_ptr(),
        "scales": 0 if packed.scales is None else packed.scales.data_ptr(),
        "bias": 0 if bias is None else bias.data_ptr(),
        "x": place(0),
        "y": place(1),
        "rows": weight.shape[-2],
        "depth": weight.shape[-1],
        "inputs": 1,
        "x_stride": 0,
        "y_stride": 0,
        "bias_stride": 0,
        "adds": 0,
        "relu": 0,
    }
    return PlannedStep("linear", {**defaults, **fields})


KEPT: list[object] = []


@built
@pytest.mark.parametrize("simd", SETS)
@pytest.mark.parametrize("n_inputs", [1, 2, 7, 25])
@pytest.mark.parametrize(("n_rows", "depth"), [(1, 1), (16, 64), (37, 29), (200, 515)])
def test_products(
    simd: str, n_inputs: int, n_rows: int, depth: int, assert_near: Callable[..., None]
) -> None:
    weight, bias = torch.randn(n_rows, depth), torch.randn(n_rows)
    x, y = torch.randn(n_inputs, depth), torch.randn(n_inputs, n_rows)
    expected = y + functional.linear(x, weight, bias)
    fields = {"inputs": n_inputs, "x_stride": depth, "y_stride": n_rows, "adds": 1}
    run([linear(weight, bias, False, **fields)], [x, y], instruction_set=simd)
    assert_near(y, expected)


@built
@pytest.mark.parametrize("simd", SETS)
def test_int8_products_are_those_of_the_rounded_weights(
    simd: str, assert_near: Callable[..., None]
) -> None:
    weight, x, y = torch.randn(37, 29), torch.randn(29), torch.empty(37)
    scales = weight.abs().amax(dim=1, keepdim=True) / 127
    run([linear(weight, None, True, relu=1)], [x, y], instruction_set=simd)
    assert_near(y, ((weight / scales).round() * scales @ x).relu())


@built
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_change_nothing(n_threads: int) -> None:
    weights = [torch.randn(300, 300) / 17 for _ in range(2)]
    x, y = torch.randn(300), torch.empty(300)
    steps = [linear(w, None, False) for w in weights]
    back = steps[1].fields | {"x": place(1), "y": place(0)}
    plan = Plan([steps[0], PlannedStep("linear", back)], n_threads)
    x_alone, y_alone = x.clone(), y.clone()
    for _ in range(100):
        x, y = torch.relu(x / x.norm()), torch.empty(300)
        x_alone = x.clone()
        addresses = array.array("q", [x.data_ptr(), y.data_ptr()])
        plan.run(addresses.buffer_info()[0], 0, 0, 16)
        run([steps[0], PlannedStep("linear", back)], [x_alone, y_alone])
        assert torch.equal(x, x_alone)


@built
@pytest.mark.parametrize("simd", SETS)
@pytest.mark.parametrize("width", [1, 8, 21, 100])
def test_layer_norm(simd: str, width: int, assert_near: Callable[..., None]) -> None:
    x, y = 3 + torch.randn(width), torch.empty(width)
    gain, bias = torch.randn(width), torch.randn(width)
    fields = {
        "x": place(0),
        "y": place(1),
        "width": width,
        "gain": gain.data_ptr(),
        "bias": bias.data_ptr(),
        "epsilon": 1e-3,
    }
    run([PlannedStep("norm", fields)], [x, y], instruction_set=simd)
    assert_near(y, functional.layer_norm(x, (width,), gain, bias, 1e-3))


@built
@pytest.mark.parametrize("simd", SETS)
@pytest.mark.parametrize("d_head", [3, 16, 64, 100])
@pytest.mark.parametrize("loud", [1.0, 30.0])
def test_attention_to_a_cache(
    simd: str, d_head: int, loud: float, assert_near: Callable[..., None]
) -> None:
    q, k, v = (torch.randn(2, 38, d_head) for _ in range(3))
    q *= loud
    cached = [functional.pad(item[:, :37], (0, 0, 0, 11)) for item in (k, v)]
    keys = pack_panels(cached[0]).weights
    values = pack_rows([cached[1]]).weights
    now = torch.stack([item[:, 37] for item in (q, k, v)])  # [3, 2, d_head]
    out = torch.full((2, d_head), torch.nan)
    fields = {"q": place(0), "k": place(0, 2 * d_head), "v": place(0, 4 * d_head)}
    fields |= {"out": place(1), "keys": place(2), "values": place(3), "heads": 2}
    fields |= {"d_head": d_head, "shares_qk": 0, "frequencies": 0, "chunk_len": 0}
    reals = {"scale": d_head**-0.5, "epsilon": 0.0, "chunks_before": 0}
    step = PlannedStep("self_attention", {**fields, **reals})
    run([step], [now, out, keys, values], instruction_set=simd)
    expected = functional.scaled_dot_product_attention(q[:, 37:], k, v)[:, 0]
    assert_near(out, expected)


@built
def test_what_a_plan_cannot_be_made_of() -> None:
    step = linear(torch.randn(2, 2), None, False)
    with pytest.raises(ValueError, match="no step conjure"):
        Plan([PlannedStep("conjure", {})])
    with pytest.raises(ValueError, match="lacks its field depth"):
        Plan([PlannedStep("linear", {k: v for k, v in step.fields.items() if k != "depth"})])
    with pytest.raises(ValueError, match="instruction set mmx does not run here"):
        Plan([step], instruction_set="mmx")
    with pytest.raises(ValueError, match=r"n_threads \(0\)"):
        Plan([step], n_threads=0)


@built
def test_every_machine_runs_the_portable_set() -> None:
    assert decoding_step.instruction_sets()[-1] == "portable"


def test_without_the_extension_a_plan_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_step, "_extension", None)
    monkeypatch.setattr(decoding_step, "_reason", "no compiler", raising=False)
    assert decoding_step.unavailable() == "no compiler"
    with pytest.raises(RuntimeError, match="no compiler"):
        Plan([])


def test_panels_hold_sixteen_rows_side_by_side() -> None:
    weight = torch.randn(3, 21, 5)
    panels = pack_panels(weight).weights
    assert panels.shape == (3, 2, 5, 16)
    assert torch.equal(panels[1, 1, 4, :5], weight[1, 16:, 4])
    assert not panels[1, 1, :, 5:].any()


def test_rows_are_filled_up_and_beside_one_another() -> None:
    first, second = torch.randn(2, 4, 21)
    rows = pack_rows([first, second]).weights
    assert rows.shape == (4, 2, round_up(21))
    assert torch.equal(rows[:, 1, :21], second)
    assert not rows[..., 21:].any()


@pytest.mark.parametrize("pack", [pack_panels, lambda w, int8: pack_rows([w], int8)])
def test_int8_rows_miss_by_half_a_step_at_most(pack: Callable[..., tuple[Tensor, Tensor]]) -> None:
    weight = torch.randn(32, 16) * torch.logspace(-3, 3, 32)[:, None]
    weight[5] = 0.0
    numbers, scales = pack(weight, True)
    assert numbers.dtype == torch.int8
    if numbers.shape[-1] == numbers.shape[-2] == 16 and numbers.shape[0] == 2:
        numbers = numbers.transpose(-1, -2)
    missed = (numbers.reshape(32, 16) * scales.reshape(32, 1) - weight).abs()
    assert (missed <= weight.abs().amax(dim=1, keepdim=True) / 127 * 0.501).all()
