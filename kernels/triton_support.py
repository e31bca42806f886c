"""Where Triton kernels run, and in what precision they multiply."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

import torch
from torch import Tensor

_LEAST_CAPABILITY = (8, 0)  # the first with bfloat16 and asynchronous copies


def needs_triton(device: torch.device) -> str | None:
    """The `available` of backends written in Triton: None where they run, else the reason."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if interpreted():
        return None
    if device.type != "cuda":
        return f"it computes on cuda or with TRITON_INTERPRET=1, the tensors are on {device.type}"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    capability = torch.cuda.get_device_capability(device)
    if capability < _LEAST_CAPABILITY:
        found, least = (".".join(map(str, item)) for item in (capability, _LEAST_CAPABILITY))
        return f"the device has compute capability {found}, it needs {least}"
    if not _finds_compiler():
        return "triton builds its launchers with a C compiler: install gcc or clang, or set CC"
    return None


def _finds_compiler() -> bool:
    """Whether there is a C compiler where Triton looks for one."""
    return bool(os.environ.get("CC") or shutil.which("clang") or shutil.which("gcc"))


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, which TRITON_INTERPRET=1 asks for.

    Triton looks at the variable when it is first imported.
    """
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def dot_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a kernel multiplies matrices of a dtype.

    The interpreter gets products of bfloat16 wrong, so it multiplies them in float32.
    """
    return torch.float32 if dtype == torch.bfloat16 and interpreted() else dtype


def dot_precision() -> str:
    """How tensor cores may multiply float32: "tf32" only where PyTorch may, else "ieee"."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the values have it."""
    return torch.promote_types(dtype, torch.float32)


def in_triton(dtype: torch.dtype) -> Any:
    """Triton's name of a dtype."""
    import triton.language as tl

    return getattr(tl, str(dtype).removeprefix("torch."))


def with_rows(x: Tensor) -> Tensor:
    """Returns x, copied if the numbers of a row (the last axis) do not stand side by side."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
