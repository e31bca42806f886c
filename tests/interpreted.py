"""Operations with their gradients, here or in Triton's interpreter.

Triton decides for a whole process, when it is first imported, whether it interprets. A process that
does is slow in every other use of Triton, and its automatic choice of a backend is another one; so
the interpreter has a process of its own, which all tests share.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from kernels.triton_launch import Launch, force_launch


def evaluate(
    op: str,
    backend: str | None,
    inputs: Sequence[Any],
    options: dict[str, Any],
    launch: Launch | None = None,
) -> list[Tensor | None]:
    """Returns outputs of an operation, then gradients of those inputs that have any.

    The function that is derived weighs the outputs from -1 to 1 in their order. `launch` takes the
    place of the settings of the kernels that bear the operation's name.
    """
    from kernels import ops

    force_launch(op, launch)
    leaves = [
        item.detach().clone().requires_grad_() if _has_gradient(item) else item for item in inputs
    ]
    outputs = getattr(ops, op)(*leaves, backend=backend, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    value = torch.zeros(())
    for out in outputs:
        if out.requires_grad:
            weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
            value = value + (out * weights.to(out)).sum()
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    grads = torch.autograd.grad(value, found, allow_unused=True) if value.requires_grad else ()
    return [*(out.detach() for out in outputs), *grads]


def without_gradients(*arguments: Any) -> list[Tensor | None]:
    """Returns the outputs of `evaluate` alone."""
    with torch.no_grad():
        return evaluate(*arguments)


def in_interpreter(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of this module, or of one that can be imported, in the interpreter.

    Skips the test where there is none.
    """
    require_interpreter()
    answer = _process().submit(_answer, pickle.dumps((function, arguments))).result()
    return pickle.loads(answer)


def require_interpreter() -> None:
    """Skips a test where Triton's interpreter is missing or cannot count loops."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    old_triton, new_numpy = _version(triton) < (3, 7), _version(np) >= (2, 4)
    if old_triton and new_numpy:
        pytest.skip("before 3.7 Triton's interpreter needs NumPy below 2.4")


def _version(module: Any) -> tuple[int, int]:
    major, minor = module.__version__.split(".")[:2]
    return int(major), int(minor)


def _has_gradient(item: object) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()


@functools.cache
def _process() -> ProcessPoolExecutor:
    process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare)
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    with mock.patch.dict(os.environ, environment):  # before anything can import Triton there
        process.submit(_prepare).result()
    return process


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # fills empty memory with NaN


def _answer(question: bytes) -> bytes:  # as bytes: tensors would go by shared memory
    function, arguments = pickle.loads(question)
    return pickle.dumps(function(*arguments))
