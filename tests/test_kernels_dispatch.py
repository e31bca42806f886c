from __future__ import annotations

import logging

import pytest
import torch

from kernels import dispatch, ops
from kernels.dispatch import ENVIRONMENT_VARIABLE, forced_backend, register, resolve

CPU = torch.device("cpu")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_table", {})
    monkeypatch.setattr(dispatch, "_told", set())
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    register("double", "reference", lambda x: ("reference", 2 * x))
    register("double", "cpu", lambda x: ("cpu", 2 * x))
    register("double", "triton", lambda x: ("triton", 2 * x), lambda device: "no GPU here")


@pytest.mark.usefixtures("table")
def test_automatic_choice_falls_back_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve("double", CPU)(3) == ("cpu", 6)
        resolve("double", CPU)
    assert [record.getMessage() for record in caplog.records] == [
        "op double falls back from backend triton: no GPU here"
    ]


@pytest.mark.usefixtures("table")
def test_a_backend_for_other_devices_is_passed_over_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    register("triple", "triton", abs, lambda device: "no GPU here", home="cuda")
    register("triple", "reference", lambda x: 3 * x)
    with caplog.at_level(logging.WARNING):
        assert resolve("triple", CPU)(2) == 6
        assert not caplog.records
        resolve("triple", torch.device("cuda"))
    assert [record.getMessage() for record in caplog.records] == [
        "op triple falls back from backend triton: no GPU here"
    ]
    assert dispatch.backends("triple", CPU) == ["reference"]


@pytest.mark.usefixtures("table")
def test_forced_backend_that_cannot_run_raises_with_the_reason() -> None:
    with pytest.raises(RuntimeError, match="triton of op double cannot run: no GPU here"):
        resolve("double", CPU, "triton")


@pytest.mark.usefixtures("table")
def test_ways_to_force_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    assert resolve("double", CPU)(1)[0] == "reference"
    with forced_backend("cpu"):
        assert resolve("double", CPU)(1)[0] == "cpu"
        assert resolve("double", CPU, "reference")(1)[0] == "reference"
    assert resolve("double", CPU)(1)[0] == "reference"


@pytest.mark.usefixtures("table")
def test_unknown_names_and_second_registration_raise() -> None:
    with pytest.raises(ValueError, match="unknown op halve; known: double"):
        resolve("halve", CPU)
    with pytest.raises(ValueError, match="has no backend cuda; it has: triton, cpu, reference"):
        resolve("double", CPU, "cuda")
    with pytest.raises(ValueError, match="must be one of triton, cpp, cpu, reference"):
        register("double", "numpy", abs)
    with pytest.raises(ValueError, match="has a backend cpu already"):
        register("double", "cpu", abs)


@pytest.mark.usefixtures("table")
def test_nothing_runs() -> None:
    register("triple", "triton", abs, lambda device: "no GPU here")
    with pytest.raises(RuntimeError, match=r"no backend of op triple can run \(triton: no GPU"):
        resolve("triple", CPU)


@pytest.mark.parametrize(
    "op",
    [
        "convolutional_qkv",
        "expert_feed_forward",
        "hash_buckets",
        "lsh_attention",
        "sru_scan",
        "sparse_feed_forward",
        "sparse_feed_forward_inference",
        "sparse_feed_forward_step",
        "vocabulary_loss",
    ],
)
def test_every_operation_has_a_reference_and_a_door(op: str) -> None:
    assert dispatch.backends(op)[-1] == "reference"
    assert callable(getattr(ops, op))


def test_a_cpu_backend_refuses_other_devices() -> None:
    with pytest.raises(RuntimeError, match="it computes on cpu, the tensors are on cuda"):
        resolve("sru_scan", torch.device("cuda"), "cpu")
