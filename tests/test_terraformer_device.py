"""Which device is meant, and what is said where it is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from terraformer.device import find_device, is_device_name, uses_gpu
from terraformer.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Makes PyTorch say that it finds so many GPUs."""

    def find(n: int, cuda: str | None = "13.0") -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(torch.version, "cuda", cuda)

    return find


def test_the_cpu_is_meant_unless_a_gpu_is_asked_for(gpus) -> None:
    gpus(2)
    assert find_device() == find_device("cpu") == torch.device("cpu")
    assert not uses_gpu("cpu")


@pytest.mark.parametrize(("n_gpus", "expected"), [(0, "cpu"), (1, "cuda"), (3, "cuda")])
def test_auto_is_a_gpu_where_there_is_one(gpus, n_gpus: int, expected: str) -> None:
    gpus(n_gpus)
    assert find_device("auto") == torch.device(expected)
    assert uses_gpu("auto") == (n_gpus > 0)


def test_a_gpu_that_is_there_is_taken(gpus) -> None:
    gpus(2)
    assert find_device("cuda") == torch.device("cuda")
    assert find_device("cuda:1") == find_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert uses_gpu("cuda:1")


@pytest.mark.parametrize(
    ("n_gpus", "cuda", "wanted", "message"),
    [
        (
            0,
            None,
            "cuda",
            "--device cuda: .* built for the CPU alone: install a CUDA build of torch",
        ),
        (0, "13.0", "cuda:1", "--device cuda:1: PyTorch finds no GPU .* nvidia-smi .* --gpus all"),
        (1, "13.0", "cuda:1", "there is no cuda:1: PyTorch finds cuda:0 alone"),
        (4, "13.0", "cuda:4", "there is no cuda:4: PyTorch finds cuda:0 to cuda:3"),
    ],
)
def test_a_missing_gpu_is_told_with_the_way_out(gpus, n_gpus, cuda, wanted, message) -> None:
    gpus(n_gpus, cuda)
    for ask in (find_device, uses_gpu):
        with pytest.raises(DeviceError, match=message):
            ask(wanted)


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:", "cuda:-1", "cuda:01", "cpu:0", "mps", "auto "]
)
def test_other_names_mean_nothing(text: str) -> None:
    assert not is_device_name(text)
    with pytest.raises(ValueError, match="must be auto, cpu, cuda or cuda:N"):
        find_device(text)


def test_the_cpu_is_known_without_torch() -> None:
    code = (
        "import sys\nfrom terraformer.device import uses_gpu\nassert not uses_gpu('cpu')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
