"""Distillation: a student learns from a teacher's distributions beside the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from terraformer.build import Model

Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Teacher:
    """A trained model of the student's task and tokenizer, and how much it counts.

    Attributes:
        model: In evaluation.
        weight: Of its divergence in the student's loss; the data have 1 - weight.
        temperature: Logits of both are divided by it before they are compared.
    Source: Fedus et al. 2021, arXiv:2101.03961, section 4.2, for the weight; Hinton et al. 2015,
        arXiv:1503.02531, for the temperature.
    """

    model: Model
    weight: float = 0.25
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight ({self.weight}) must be between 0 and 1")
        if self.temperature <= 0:
            raise ValueError(f"temperature ({self.temperature}) must be above 0")

    def mix(self, loss: Tensor, divergence: Tensor) -> Tensor:
        """Returns the student's loss, of that of the data and the divergence from the teacher."""
        return (1 - self.weight) * loss + self.weight * divergence


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of a student's distributions from a teacher's.

    Args:
        student: Logits, [..., V].
        teacher: Logits, the same shape.
        temperature: Divides the logits; the result is scaled by its square, so that gradients
            stay as large.
    Returns:
        In nats, [...], float32.
    """
    logs, expected = (F.log_softmax(x.float() / temperature, dim=-1) for x in (student, teacher))
    each = F.kl_div(logs, expected, reduction="none", log_target=True)
    return each.sum(dim=-1) * temperature**2


def token_divergence(
    student: tuple[Head, Tensor],
    teacher: tuple[Head, Tensor],
    mask: Tensor,
    temperature: float,
    chunk_len: int = 1024,
) -> Tensor:
    """Mean `divergence` over the tokens of a batch; only the logits of one chunk are held.

    Args:
        student: Its head, and the states from which it foresees each token, [B, L, D].
        teacher: The same of the teacher; its width may differ.
        mask: [B, L], True where a token counts.
        temperature: See `divergence`.
        chunk_len: Tokens of a chunk, over all examples.
    Returns:
        In nats, a scalar, float32; 0 if no token counts.
    """
    (head, states), (teacher_head, teacher_states) = student, teacher

    def of_chunk(chunk: Tensor, teacher_chunk: Tensor) -> Tensor:
        with torch.no_grad():
            expected = teacher_head(teacher_chunk)
        return divergence(head(chunk), expected, temperature).sum()

    total = torch.zeros((), device=states.device)
    chunks = states[mask].split(chunk_len), teacher_states[mask].split(chunk_len)
    for pair in zip(*chunks, strict=True):
        total = total + checkpoint(of_chunk, *pair, use_reentrant=False, preserve_rng_state=False)
    return total / mask.sum().clamp_min(1)


def copy_weights(source: nn.Module, target: nn.Module) -> int:
    """Starts a model from the weights of another, where name and shape agree.

    So a dense student takes all of a Switch teacher but its experts and routers.

    Args:
        source: A trained model.
        target: Changed in place.
    Returns:
        How many tensors were copied.
    """
    found = target.state_dict()
    copied = {
        name: value
        for name, value in source.state_dict().items()
        if name in found and found[name].shape == value.shape
    }
    target.load_state_dict(copied, strict=False)
    return len(copied)
