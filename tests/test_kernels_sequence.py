"""Whole sequences in C++: every instruction set, any number of threads, and doing without."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels import dispatch, ops, sequence
from kernels.lsh_attention import reference

CPU = torch.device("cpu")
needs_extension = pytest.mark.skipif(
    sequence.needs_extension(CPU) is not None, reason=str(sequence.needs_extension(CPU))
)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def _heads(length: int, d_key: int = 12, d_value: int = 20, n_rounds: int = 2) -> list[Tensor]:
    """Queries, values (rows within longer rows, as layers have them), buckets and a mask."""
    qk = torch.randn(2, length, 3, d_key + 4).transpose(1, 2)[..., :d_key]
    v = torch.randn(2, length, 3, d_value + 4).transpose(1, 2)[..., :d_value]
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, ::5] = length < 5
    return [qk, v, torch.randint(0, 9, (2, 3, n_rounds, length)), mask]


def _run(backend: str, inputs: list[Tensor], **options: Any) -> list[Tensor]:
    """Outputs of attention, and gradients by queries and values."""
    qk, v = (item.clone().requires_grad_() for item in inputs[:2])
    out = ops.lsh_attention(qk, v, *inputs[2:], backend=backend, **options)
    cotangent = torch.linspace(-1, 1, out.numel()).view_as(out)
    return [out.detach(), *torch.autograd.grad(out, (qk, v), cotangent)]


@needs_extension
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D12")
@pytest.mark.parametrize("name", sequence.instruction_sets())
def test_attention_on_every_instruction_set(
    name: str,
    length: int,
    n_threads: int,
    causal: bool,
    threads: Callable[[int], None],
    assert_near: Callable[..., None],
) -> None:
    threads(n_threads)
    inputs = _heads(length)
    options = {"chunk_len": 20, "n_chunks_before": 2, "n_chunks_after": 0 if causal else 1}
    expected = _run("reference", inputs, causal=causal, **options)
    with sequence.forced_instruction_set(name):
        actual = _run("cpp", inputs, causal=causal, **options)
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert_near(one, other, grad=i > 0)


@needs_extension
def test_threads_change_no_bit(threads: Callable[[int], None]) -> None:
    inputs = _heads(700, n_rounds=3)
    options = {"chunk_len": 4, "n_chunks_before": 1, "n_chunks_after": 2}
    results = []
    for n_threads in (1, 2, 5):
        threads(n_threads)
        results.append(_run("cpp", inputs, **options))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_extension
def test_large_scores_and_lonely_queries(assert_near: Callable[..., None]) -> None:
    qk, v, buckets, mask = _heads(90)
    inputs = [40.0 * qk, v, buckets, mask]
    for chunk_len, causal in ((1, False), (1, True), (8, True)):
        options = {"chunk_len": chunk_len, "n_chunks_before": 0, "causal": causal}
        actual, expected = (_run(name, inputs, **options) for name in ("cpp", "reference"))
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_near(one, other, grad=i > 0)


@needs_extension
def test_buckets_with_gaps_are_sorted_too(assert_near: Callable[..., None]) -> None:
    qk, v, buckets, mask = _heads(200)
    inputs = [qk, v, (buckets - 4) * 2**60, mask]
    actual, expected = (_run(name, inputs, chunk_len=16) for name in ("cpp", "reference"))
    assert_near(actual[0], expected[0])


@needs_extension
@pytest.mark.parametrize("n_buckets", [(2,), (14, 10), (128,)], ids=str)
@pytest.mark.parametrize("length", [1, 63, 500], ids=lambda n: f"B2-L{n}-D12")
@pytest.mark.parametrize("name", sequence.instruction_sets())
def test_hashing_on_every_instruction_set(
    name: str, length: int, n_buckets: tuple[int, ...], threads: Callable[[int], None]
) -> None:
    qk, _, _, mask = _heads(length)
    qk[:, :, -1] = 0.0  # equally near to all
    rotations = torch.randn(3, 12, 4, sum(n_buckets) // 2)
    expected = reference.hash_buckets(qk.double(), rotations.double(), n_buckets, mask)
    for n_threads in (1, 2):
        threads(n_threads)
        with sequence.forced_instruction_set(name):
            buckets = ops.hash_buckets(qk, rotations, n_buckets, mask, backend="cpp")
        assert torch.equal(buckets, expected)


@needs_extension
@pytest.mark.parametrize("n_tokens", [1, 63, 500], ids=lambda n: f"T{n}-D36")
@pytest.mark.parametrize("name", sequence.instruction_sets())
def test_feed_forward_on_every_instruction_set(
    name: str, n_tokens: int, threads: Callable[[int], None], assert_near: Callable[..., None]
) -> None:
    x = torch.randn(n_tokens, 36)
    controller = ops.Controller(torch.randn(5, 36), torch.randn(40, 5), torch.randn(40))
    weights = torch.randn(40, 36), torch.randn(40, 36), torch.randn(36)
    expected = ops.sparse_feed_forward_inference(
        x, controller, *weights, block_size=8, backend="reference"
    )
    for n_threads in (1, 2):
        threads(n_threads)
        with sequence.forced_instruction_set(name):
            actual = ops.sparse_feed_forward_inference(
                x, controller, *weights, block_size=8, backend="cpp"
            )
        assert_near(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("multiply", [False, True])
def test_feed_forward_of_other_kinds(
    multiply: bool, dtype: torch.dtype, assert_near: Callable[..., None]
) -> None:
    x = torch.randn(9, 6).to(dtype)
    controller = ops.Controller(*(torch.randn(size).to(dtype) for size in ((2, 6), (8, 2), (8,))))
    weights = [torch.randn(size).to(dtype) for size in ((8, 6), (8, 6), (6,))]
    logits = controller.logits(x, 4)
    expected = ops.sparse_feed_forward(
        x, logits, *weights, selection="hard", multiply_by_controller=multiply, backend="reference"
    )
    actual = ops.sparse_feed_forward_inference(
        x, controller, *weights, block_size=4, multiply_by_controller=multiply
    )
    assert_near(actual, expected)


def test_wrong_shapes_of_a_controller_raise() -> None:
    controller = ops.Controller(torch.randn(2, 6), torch.randn(8, 2), torch.randn(8))
    w, b2 = torch.randn(8, 6), torch.randn(6)
    with pytest.raises(ValueError, match=r"F a multiple of block_size \(3\)"):
        ops.sparse_feed_forward_inference(torch.randn(4, 6), controller, w, w, b2, block_size=3)
    narrow = controller._replace(w_out=torch.randn(8, 3))
    with pytest.raises(ValueError, match=r"w_out \(8, 3\) of the controller must be \(8, 2\)"):
        ops.sparse_feed_forward_inference(torch.randn(4, 6), narrow, w, w, b2, block_size=4)


@needs_extension
def test_scan_reads_parts_of_rows(
    threads: Callable[[int], None], assert_near: Callable[..., None]
) -> None:
    threads(2)
    gates = torch.randn(2, 37, 300, requires_grad=True)
    c0 = torch.randn(2, 100, requires_grad=True)
    results = []
    for backend in ("cpp", "reference"):
        x, f, _ = gates.chunk(3, dim=-1)
        cells, last = ops.sru_scan(x, f.sigmoid(), c0, backend=backend)
        loss = cells.square().sum() + last.sum()
        results.append([cells.detach(), last.detach(), *torch.autograd.grad(loss, (gates, c0))])
    for i, (one, other) in enumerate(zip(*results, strict=True)):
        assert_near(one, other, grad=i > 1)


def _attend_in_child(inputs: list[Tensor], connection: Any) -> None:
    connection.send(ops.lsh_attention(*inputs, chunk_len=4, backend="cpp").tolist())


@needs_extension
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own(threads: Callable[[int], None]) -> None:
    threads(2)
    inputs = _heads(200)  # so small that torch itself, which does not bear a fork, has no threads
    expected = ops.lsh_attention(*inputs, chunk_len=4, backend="cpp").tolist()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_attend_in_child, args=(inputs, sender), daemon=True)
    child.start()
    assert receiver.poll(30)
    assert receiver.recv() == expected
    child.join(30)
    assert child.exitcode == 0


def test_without_the_extension_another_backend_runs(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    assert_near: Callable[..., None],
) -> None:
    inputs = _heads(40)
    expected = _run("reference", inputs, chunk_len=8)[0]
    monkeypatch.setattr(sequence, "_extension", None)
    monkeypatch.setattr(sequence, "_reason", "there was no compiler", raising=False)
    monkeypatch.setattr(dispatch, "_told", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_near(ops.lsh_attention(*inputs, chunk_len=8), expected)
    assert [record.getMessage() for record in caplog.records] == [
        "op lsh_attention falls back from backend cpp: there was no compiler"
    ]
    assert sequence.instruction_sets() == []
    with pytest.raises(RuntimeError, match="no operation attend in C\\+\\+: there was no compiler"):
        sequence.run("attend", {})
    with pytest.raises(RuntimeError, match="cpp of op sru_scan cannot run: there was no compiler"):
        dispatch.resolve("sru_scan", CPU, "cpp")


@needs_extension
def test_what_does_not_fit_raises() -> None:
    with pytest.raises(ValueError, match="unknown operation halve"):
        sequence.run("halve", {})
    with pytest.raises(ValueError, match="lacks its field"):
        sequence.run("scan", {})
    with (
        sequence.forced_instruction_set("sse9"),
        pytest.raises(ValueError, match="instruction set sse9 does not run here"),
    ):
        sequence.run("scan", {})
    with pytest.raises(ValueError, match="x has stride 3 within a row"):
        sequence.rows(x=torch.randn(2, 4, 3).transpose(1, 2))
    with pytest.raises(ValueError, match="x must be contiguous"):
        sequence.arrays(x=torch.randn(4, 3).T)
