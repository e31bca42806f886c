"""Fixtures of all tests: golden vectors, tolerances, and memory that shows when it was not set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(
    os.environ.get("TERRAFORMER_GOLDEN")
    or Path(__file__).resolve().parents[1] / "../shared/reference/golden"
)

TOLERANCES = {  # relative to the largest value: outputs, gradients
    torch.float64: (1e-10, 1e-10),
    torch.float32: (1e-5, 1e-4),
    torch.bfloat16: (2e-2, 4e-2),  # eight bits of mantissa
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "golden(prefix): runs once for every golden file of the family"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is None:
        return
    files = sorted(GOLDEN.glob(f"{marker.args[0]}*.npz"))
    missing = pytest.param(
        None,
        id="missing",
        marks=pytest.mark.skip(f"no {marker.args[0]}*.npz in TERRAFORMER_GOLDEN ({GOLDEN})"),
    )
    metafunc.parametrize(
        "golden", [pytest.param(file, id=file.stem) for file in files] or [missing], indirect=True
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arrays of one golden file, tensors where they have axes, else numbers."""
    with np.load(request.param) as arrays:
        return {
            name: torch.from_numpy(arrays[name]) if arrays[name].ndim else arrays[name].item()
            for name in arrays.files
        }


@pytest.fixture
def assert_near() -> Callable[..., None]:
    """Compares tensors by the one table of tolerances."""

    def compare(
        actual: Tensor, expected: Tensor, *, grad: bool = False, dtype: torch.dtype | None = None
    ) -> None:
        assert actual.shape == expected.shape
        dtype = dtype or actual.dtype
        tolerance = TOLERANCES[dtype][grad]
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(
            actual.double(), expected.double(), rtol=tolerance, atol=tolerance * scale
        )

    return compare


@pytest.fixture(autouse=True)
def _nan_in_empty_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `empty` tensors NaN (integers: far out of range) in tests of our own layers."""
    if not request.path.name.startswith(("test_kernels_", "test_terraformer_")):
        return

    def filled(create: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def create_filled(*args: Any, **kwargs: Any) -> Tensor:
            made = create(*args, **kwargs)
            with torch.no_grad():
                if made.is_floating_point():
                    made.fill_(torch.nan)
                elif made.dtype != torch.bool:
                    made.fill_(torch.iinfo(made.dtype).max)
            return made

        return create_filled

    monkeypatch.setattr(torch, "empty", filled(torch.empty))
    monkeypatch.setattr(torch, "empty_like", filled(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", filled(torch.Tensor.new_empty))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
