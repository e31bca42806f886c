"""How many papers are worked on at once, and where the model of an evaluation works."""

from __future__ import annotations

import argparse

import pytest
import torch

from eval.evaluation import load_terraformer
from eval.system_arguments import add_device_argument, add_run_arguments, n_processes
from terraformer.errors import DeviceError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_device_argument(parser)
    add_run_arguments(parser)
    return parser.parse_args(words)


def test_papers_are_spread_over_processes_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert n_processes(parsed("--threads", "4"), 9) == 4
    assert n_processes(parsed("--threads", "4"), 3) == 3
    assert n_processes(parsed("--threads", "4"), 0) == 1
    for device in ("cuda", "cuda:0", "auto"):
        assert n_processes(parsed("--threads", "4", "--device", device), 9) == 1


def test_a_missing_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert n_processes(parsed("--threads", "2", "--device", "auto"), 9) == 2
    with pytest.raises(DeviceError, match="--device cuda"):
        n_processes(parsed("--device", "cuda"), 9)
    with pytest.raises(DeviceError, match="--device cuda"):
        load_terraformer(None, "normal", device="cuda")


def test_other_names_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parsed("--device", "gpu")
    assert end.value.code == 2
    assert "'gpu' must be auto, cpu, cuda or cuda:N" in capsys.readouterr().err
