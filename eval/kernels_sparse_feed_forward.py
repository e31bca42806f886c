"""The sparse feed-forward in `eval.kernels`: training against a dense layer, and decoding."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.kernels_case import Check, Function, Race, Suite, dtype_name
from kernels import ops
from kernels.sparse_feed_forward import reference

_HALF = (torch.float32, torch.float16, torch.bfloat16)
_SIZES = (1024, 4096, 64)  # of terraformer-800m: d_model, d_ff, block_size


def suite(tiny: bool) -> Suite:
    """The training form: every selection checked; races at 16k and 64k tokens."""
    if tiny:
        checks = [_check(5, (8, 12, 4), torch.float32, "straight_through")]
        return Suite("sparse_feed_forward", checks, [_race(5, (8, 12, 4), torch.float32, "soft")])
    checks = [
        _check(1_001, (512, 2048, 64), dtype, selection)
        for dtype in _HALF
        for selection in ("hard", "straight_through", "soft")
    ]
    checks.append(_check(301, (96, 480, 5), torch.float64, "straight_through"))
    races = [
        _race(n_tokens, _SIZES, torch.bfloat16, selection)
        for n_tokens, selection in (
            (16_384, "straight_through"),
            (65_536, "straight_through"),
            (16_384, "soft"),
        )
    ]
    return Suite("sparse_feed_forward", checks, races)


def step_suite(tiny: bool) -> Suite:
    """The decoding form: batches of 1 to 64 tokens, limited by the weights that are read."""
    if tiny:
        sizes = (8, 12, 4)
        checks = [_check(2, sizes, torch.float32)]
        return Suite("sparse_feed_forward_step", checks, [_step_race(2, sizes, torch.float32)])
    checks = [_check(n, _SIZES, dtype) for dtype in _HALF for n in (1, 7)]
    checks.append(_check(3, (100, 480, 5), torch.float64))
    races = [_step_race(n, _SIZES, torch.bfloat16) for n in (1, 8, 64)]
    return Suite("sparse_feed_forward_step", checks, races)


def _inputs(
    n_tokens: int,
    sizes: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor | None]:
    d_model, d_ff, block_size = sizes
    shapes = (
        (n_tokens, d_model),
        (n_tokens, d_ff // block_size, block_size),
        (d_ff, d_model),
        (d_ff, d_model),
        (d_model,),
    )
    scales = (1.0, 1.0, d_model**-0.5, d_model**-0.5, 1.0)
    return [
        (scale * torch.randn(shape, device=device)).to(dtype)
        for scale, shape in zip(scales, shapes, strict=True)
    ]


def _check(
    n_tokens: int, sizes: tuple[int, int, int], dtype: torch.dtype, selection: str | None = None
) -> Check:
    options: dict[str, Any] = {"multiply_by_controller": True}
    if selection is not None:
        options["selection"] = selection
    case = f"T{n_tokens} D{sizes[0]} F{sizes[1]} N{sizes[2]} {selection or ''}".rstrip()
    inputs = partial(_inputs, n_tokens, sizes, dtype)
    return Check(case, dtype, inputs, options, has_backward=selection is not None)


def _race(n_tokens: int, sizes: tuple[int, int, int], dtype: torch.dtype, selection: str) -> Race:
    d_model, d_ff, block_size = sizes
    options: dict[str, Any] = {"selection": selection}
    return Race(
        f"T{n_tokens} D{d_model} F{d_ff} N{block_size} {dtype_name(dtype)} {selection}",
        partial(_inputs, n_tokens, sizes, dtype),
        {
            "triton": lambda: partial(ops.sparse_feed_forward, backend="triton", **options),
            "eager": lambda: partial(reference.sparse_feed_forward, **options),
            "compile": lambda: torch.compile(partial(reference.sparse_feed_forward, **options)),
            "dense": lambda: _dense,
        },
        forward_flops=4 * n_tokens * d_ff * d_model,
        backward_flops=8 * n_tokens * d_ff * d_model,
    )


def _step_race(n_tokens: int, sizes: tuple[int, int, int], dtype: torch.dtype) -> Race:
    d_model, d_ff, block_size = sizes
    step = reference.sparse_feed_forward_step
    return Race(
        f"T{n_tokens} D{d_model} F{d_ff} N{block_size} {dtype_name(dtype)}",
        partial(_inputs, n_tokens, sizes, dtype),
        {
            "triton": lambda: _graphed(partial(ops.sparse_feed_forward_step, backend="triton")),
            "eager": lambda: _graphed(step),
            "compile": lambda: _graphed(torch.compile(step)),
            "dense": lambda: _graphed(_dense),
        },
        forward_bytes=2 * n_tokens * d_ff // block_size * d_model * dtype.itemsize,
        has_backward=False,
    )


def _dense(x: Tensor, logits: Tensor, w1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """A dense layer of the same units; the logits are not used."""
    return torch.addmm(b2, F.linear(x, w1).relu(), w2)


def _graphed(function: Function) -> Function:
    """A function replayed as a CUDA graph of its first inputs, so that launches cost nothing.

    On other devices it is the function itself.
    """
    graphs: list[torch.cuda.CUDAGraph] = []
    outputs: list[Any] = []

    def call(*inputs: Tensor) -> Any:
        if inputs[0].device.type != "cuda":
            return function(*inputs)
        if not graphs:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    function(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs.append(function(*inputs))
            graphs.append(graph)
        graphs[0].replay()
        return outputs[0]

    return call
