from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from finetune.optimizer import Adafactor, rsqrt_decay, rsqrt_schedule


def options_of(golden: dict[str, Any]) -> dict[str, Any]:
    return {
        "lr": golden["p_learning_rate"],
        "beta2_decay": -golden["p_decay_rate"],
        "eps": (golden["p_epsilon1"], golden["p_epsilon2"]),
        "d": golden["p_clipping_threshold"],
        "weight_decay": golden["p_weight_decay_rate"],
        "weight_decay_steps": golden["p_weight_decay_n_steps"],
    }


@pytest.mark.golden("adafactor")
def test_adafactor_follows_the_published_steps(
    golden: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    assert golden["p_beta1"] == 0, "the published Adafactor is used without momentum"
    names = [match[1] for name in golden if (match := re.fullmatch(r"g([a-z]+)0", name))]
    weights = {name: torch.nn.Parameter(golden[f"{name}0"].clone()) for name in names}
    optimizer = Adafactor(weights.values(), **options_of(golden))
    n_steps = sum(re.fullmatch(rf"g{names[0]}\d+", name) is not None for name in golden)
    assert len(names) >= 2
    assert n_steps >= 3
    for step in range(n_steps):
        for name, weight in weights.items():
            weight.grad = golden[f"g{name}{step}"].clone()
        optimizer.step()
        for name, weight in weights.items():
            assert_near(weight.detach(), golden[f"{name}{step + 1}"])


@pytest.mark.golden("adafactor")
def test_learning_rates_follow_the_published_schedules(golden: dict[str, Any]) -> None:
    steps = golden["steps"].tolist()
    flat, warm = golden["lr_rsqrt"], golden["lr_warm_rsqrt"]
    constant = flat[-1].item() * steps[-1] ** 0.5
    warmup_steps = round((constant / flat[0].item()) ** 2)
    for linear_warmup, expected in ((False, flat), (True, warm)):
        rates = [
            rsqrt_decay(
                step, constant=constant, warmup_steps=warmup_steps, linear_warmup=linear_warmup
            )
            for step in steps
        ]
        torch.testing.assert_close(
            torch.tensor(rates, dtype=torch.float64), expected, rtol=1e-5, atol=0
        )


def test_where_nothing_differs_the_steps_are_those_of_torch() -> None:
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 6), (5,), (2, 3, 4))]
    theirs = copy.deepcopy(ours)
    optimizers = (
        Adafactor(ours, lr=0.01, eps=(1e-16, 1e-3), weight_decay=0.0),
        torch.optim.Adafactor(theirs, lr=0.01, eps=(1e-16, 1e-3)),
    )
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def step_once(gradient: Tensor, **options: Any) -> Tensor:
    """Returns how far one step takes a weight of ones."""
    weight = torch.nn.Parameter(torch.ones_like(gradient))
    weight.grad = gradient
    Adafactor([weight], **options).step()
    return 1.0 - weight.detach()


def test_the_rate_is_not_clamped_and_epsilon_damps_tiny_gradients() -> None:
    gradient = torch.tensor([2.0, -3.0])
    moved = step_once(gradient, lr=4.0, weight_decay=0.0)
    torch.testing.assert_close(moved, 4.0 * gradient.sign())
    tiny = step_once(gradient * 1e-9, lr=4.0, weight_decay=0.0)
    expected = 4.0 * gradient * 1e-9 / ((gradient * 1e-9).square() + 1e-16).sqrt()
    torch.testing.assert_close(tiny, expected)


def test_weight_decay_ends() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Adafactor([weight], weight_decay=0.5, weight_decay_steps=2)
    left = []
    for _ in range(4):
        weight.grad = torch.zeros(3)
        optimizer.step()
        left.append(weight[0].item())
    assert left == pytest.approx([0.5, 0.375, 0.375, 0.375])


def test_a_run_goes_on_from_its_state() -> None:
    def gradients(step: int) -> Tensor:
        return torch.sin(torch.arange(12.0).view(3, 4) * (step + 1))

    whole = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = Adafactor([whole], lr=0.1)
    for step in range(2):
        whole.grad = gradients(step)
        optimizer.step()
    part = torch.nn.Parameter(whole.detach().clone())
    resumed = Adafactor([part], lr=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(2, 4):
        for weight, each in ((whole, optimizer), (part, resumed)):
            weight.grad = gradients(step)
            each.step()
    torch.testing.assert_close(part, whole, rtol=0, atol=0)


def test_the_schedule_counts_steps_from_one_up_to_the_optimizers_rate() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=2.0)
    schedule = rsqrt_schedule(optimizer, warmup_steps=4, linear_warmup=True)
    rates = []
    for _ in range(16):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[15] == pytest.approx(1.0)
