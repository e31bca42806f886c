"""Experts in two processes give what they give in one; this file is also those processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from terraformer.branch import BranchOptions, FeedForwardBranch
from terraformer.experts import (
    average_gradients,
    join_experts,
    shard_experts,
    spread_experts,
)
from terraformer.feed_forward_config import DenseFFConfig, SwitchFFConfig
from terraformer.reversible import ReversibleBlock, ReversibleSequence
from terraformer.switch import SwitchFF

N_PROCESSES = 2
D_MODEL = 8
CONFIG = SwitchFFConfig(
    d_ff=12, n_experts=4, jitter=0.0, expert_dropout=0.0, init_scale=1.0, load_balancing_weight=0.0
)
TIGHT = replace(CONFIG, capacity_factor=0.6, load_balancing_weight=0.7)


class _Stack(nn.Module):
    """Reversible blocks with experts, recomputed."""

    def __init__(self) -> None:
        super().__init__()
        options = BranchOptions(D_MODEL, causal=False)
        branches = (DenseFFConfig(d_ff=12), TIGHT)
        self.sequence = ReversibleSequence(
            ReversibleBlock(FeedForwardBranch(config, None, options) for config in branches)
            for _ in range(2)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y1, y2 = self.sequence(x, x, mask)
        return y1 + y2


def _build(case: str, group: dist.ProcessGroup | None = None) -> nn.Module:
    if case == "stack":
        return _Stack().double()
    config = TIGHT if case == "tight" else replace(CONFIG, capacity_factor=4.0)
    return SwitchFF(config, D_MODEL, group=group).double()


def _inputs(case: str) -> list[tuple[Tensor, Tensor]]:
    """Each process's x [B, L, D] and mask [B, L]; of other sizes, where capacity hangs on them."""
    lengths = (30, 30) if case == "roomy" else (30, 17)
    inputs = []
    for n in lengths:
        x, mask = torch.randn(2, n, D_MODEL, dtype=torch.float64), torch.rand(2, n) < 0.8
        if case != "roomy" and n == lengths[0]:
            x = torch.cat([x[:, :1].expand(2, n - 4, D_MODEL), x[:, :4]], dim=1)  # few experts
        inputs.append((x, mask))
    return inputs


def _run(model: nn.Module, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Runs forward and backward; returns the output and the gradient of x."""
    x = x.clone().requires_grad_()
    out = model(x, mask)
    out[mask].sin().sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad


def _process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=N_PROCESSES
    )
    group = dist.group.WORLD
    assert group is not None
    results = {}
    for case, (state, inputs) in torch.load(folder / "cases.pt").items():
        model = _build(case, group)
        if case == "stack":
            model.load_state_dict(state)
            spread_experts(model, group)
        else:
            model.load_state_dict(shard_experts(state, rank, N_PROCESSES))
        out, dx = _run(model, *inputs[rank])
        average_gradients(model, group)
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results[case] = (out, dx, gradients, model.state_dict())
    torch.save(results, folder / f"results{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The cases, and what each of the processes made of them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("spread")
    cases = {
        case: (_build(case).state_dict(), _inputs(case)) for case in ("roomy", "tight", "stack")
    }
    torch.save(cases, folder / "cases.pt")
    root = Path(__file__).resolve().parents[1]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env={**os.environ, "PYTHONPATH": str(root), "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(N_PROCESSES)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return cases, [torch.load(folder / f"results{rank}.pt") for rank in range(N_PROCESSES)]


@pytest.mark.parametrize("case", ["tight", "stack"])
def test_processes_do_what_one_does_with_each_of_their_batches(
    case: str, spread: Any, assert_near: Callable[..., None]
) -> None:
    """Capacity and load-balancing loss are those of a process's own tokens."""
    cases, results = spread
    state, inputs = cases[case]
    model = _build(case)
    model.load_state_dict(state)
    for batch, result in zip(inputs, results, strict=True):
        for actual, expected in zip(result[case][:2], _run(model, *batch), strict=True):
            assert_near(actual, expected, grad=True)
    layers = [layer for layer in model.modules() if isinstance(layer, SwitchFF)]
    assert all(layer.n_dropped > 0 for layer in layers)
    _compare_gradients(model, [result[case][2] for result in results], assert_near)


def test_processes_with_room_for_all_do_what_one_does_with_the_whole_batch(
    spread: Any, assert_near: Callable[..., None]
) -> None:
    cases, results = spread
    state, inputs = cases["roomy"]
    model = _build("roomy")
    model.load_state_dict(state)
    x, mask = (torch.cat(parts) for parts in zip(*inputs, strict=True))
    for i, expected in enumerate(_run(model, x, mask)):
        assert_near(torch.cat([result["roomy"][i] for result in results]), expected, grad=i > 0)
    _compare_gradients(model, [result["roomy"][2] for result in results], assert_near)


def test_shards_join_to_the_whole(spread: Any) -> None:
    cases, results = spread
    for case, (whole, _) in cases.items():
        joined = join_experts([result[case][3] for result in results])
        assert joined.keys() == whole.keys()
        assert all(torch.equal(joined[name], whole[name]) for name in whole)
    held = results[0]["tight"][3]
    assert held["experts.w1"].shape == (CONFIG.n_experts // N_PROCESSES, CONFIG.d_ff, D_MODEL)
    assert held["router"].shape == (CONFIG.n_experts, D_MODEL)


def test_experts_must_divide_among_the_processes() -> None:
    with pytest.raises(ValueError, match=r"n_experts \(4\) must be divisible by processes \(3\)"):
        shard_experts(_build("tight").state_dict(), 0, 3)


def _compare_gradients(
    model: nn.Module, shards: list[dict[str, Tensor]], assert_near: Callable[..., None]
) -> None:
    """Gradients of the processes are those of the mean of both losses, `model` has their sum."""
    joined = join_experts(shards)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert_near(joined[name], parameter.grad / N_PROCESSES, grad=True)


if __name__ == "__main__":
    _process(int(sys.argv[1]), Path(sys.argv[2]))
