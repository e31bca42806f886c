"""Where a model works: the CPU, or a GPU that is asked for. Light: imports torch when it looks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from terraformer.errors import DeviceError

if TYPE_CHECKING:
    import torch

DEFAULT_DEVICE = "cpu"
"""The shipped model is small: starting CUDA may take longer than a paper does on a core, and a CPU
gives the same summary every time."""

DEVICE_NAMES = "auto, cpu, cuda or cuda:N"
_NAME = re.compile(r"auto|cpu|cuda(?::(?:0|[1-9]\d*))?")


def is_device_name(text: str) -> bool:
    """Whether the text is one of `DEVICE_NAMES`; the device itself may be missing."""
    return _NAME.fullmatch(text) is not None


def find_device(wanted: str | torch.device = DEFAULT_DEVICE) -> torch.device:
    """Returns the device that is meant.

    Args:
        wanted: "auto" is the first GPU that PyTorch can use, else the CPU.
    Raises:
        DeviceError: if there is no such GPU, saying what is missing.
        ValueError: if it is none of `DEVICE_NAMES`.
    """
    import torch

    name = str(wanted)
    if not is_device_name(name):
        raise ValueError(f"device ({name!r}) must be {DEVICE_NAMES}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        _require_gpu(device)
    return device


def uses_gpu(wanted: str) -> bool:
    """Whether a device is a GPU; arguments and errors as those of `find_device`."""
    return wanted != "cpu" and find_device(wanted).type == "cuda"


def _require_gpu(device: torch.device) -> None:
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            reason = "this PyTorch is built for the CPU alone: install a CUDA build of torch"
        else:
            reason = (
                "PyTorch finds no GPU that it can use: see whether nvidia-smi shows one (a "
                "container needs --gpus all)"
            )
        raise DeviceError(f"--device {device}: {reason}, or leave --device out to work on the CPU")
    n_gpus = torch.cuda.device_count()
    if device.index is not None and device.index >= n_gpus:
        there = "cuda:0 alone" if n_gpus == 1 else f"cuda:0 to cuda:{n_gpus - 1}"
        raise DeviceError(f"there is no {device}: PyTorch finds {there}; give one of these")
