"""Feed-forward of which a low-rank controller keeps one unit in each block, in plain PyTorch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Selection = Literal["hard", "straight_through", "soft"]


class Controller(NamedTuple):
    """Weights of the low-rank controller.

    Attributes:
        w_in: [r, D].
        w_out: [F, r].
        bias: [F].
    """

    w_in: Tensor
    w_out: Tensor
    bias: Tensor

    def logits(self, x: Tensor, block_size: int) -> Tensor:
        """Returns the logits of x [T, D], [T, G, N] for G blocks of N = `block_size` units."""
        low = F.linear(x, self.w_in)
        return F.linear(low, self.w_out, self.bias).unflatten(-1, (-1, block_size))


def sparse_feed_forward(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    selection: Selection,
    choice: Tensor | None = None,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Computes all units and masks them; the form for whole sequences and for training.

    Args:
        x: [T, D].
        logits: The controller's, [T, G, N], for G blocks of N units.
        w1: Rows of the first projection, [F, D], F = G * N; unit n of block g is row g * N + n.
        w2: Rows of the second projection, [F, D].
        b2: [D].
        selection: "hard" keeps the chosen unit of each block; "straight_through" too, with the
            gradient of the softmax of the logits; "soft" weighs the units by that softmax.
        choice: Chosen unit of each block, [T, G], integer; the argmax of the logits if None.
            `draw_choice` draws one for training.
        multiply_by_controller: Whether the activations of chosen units are also scaled by the
            softmax of the logits; its gradient is left out with "straight_through".
    Returns:
        [T, D].
    Raises:
        ValueError: if shapes do not fit.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.1; google/trax SparseFF.
    """
    check_shapes(x, logits, w1, w2)
    n_tokens, _, block_size = logits.shape
    soft = logits.softmax(dim=-1)
    if selection == "soft":
        mask = soft
    else:
        if choice is None:
            choice = logits.argmax(dim=-1)
        mask = F.one_hot(choice.long(), block_size).to(x.dtype)
        if selection == "straight_through":
            mask = mask + soft - soft.detach()
    units = F.relu((x @ w1.T).view_as(logits) * mask)
    if multiply_by_controller and selection != "soft":
        units = units * (soft if selection == "hard" else soft.detach())
    return torch.addmm(b2, units.view(n_tokens, -1), w2)


def sparse_feed_forward_step(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Reads the rows of chosen units only; the form for decoding, equal to "hard" selection.

    All arguments are those of `sparse_feed_forward`.

    Returns:
        [T, D].
    Raises:
        ValueError: if shapes do not fit.
    """
    check_shapes(x, logits, w1, w2)
    n_tokens, n_blocks, block_size = logits.shape
    choice = logits.argmax(dim=-1)  # [T, G]
    rows = choice + torch.arange(0, n_blocks * block_size, block_size, device=x.device)
    near = w1.index_select(0, rows.flatten()).view(n_tokens, n_blocks, -1)
    units = F.relu(torch.bmm(near, x[:, :, None]))[..., 0]  # [T, G]
    if multiply_by_controller:
        units = units * logits.softmax(dim=-1).gather(-1, choice[..., None])[..., 0]
    far = w2.index_select(0, rows.flatten()).view(n_tokens, n_blocks, -1)
    return b2 + torch.bmm(units[:, None, :], far)[:, 0]


def sparse_feed_forward_inference(
    x: Tensor,
    controller: Controller,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    block_size: int,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Runs the controller and "hard" selection; the form for whole sequences in evaluation.

    Args:
        x: [T, D].
        controller: Its weights.
        w1: [F, D], as in `sparse_feed_forward`.
        w2: [F, D].
        b2: [D].
        block_size: Units of a block, N.
        multiply_by_controller: As in `sparse_feed_forward`.
    Returns:
        [T, D]; backends may leave out its gradient.
    Raises:
        ValueError: if shapes do not fit.
    """
    check_controller(x, controller, w1, w2, block_size)
    return sparse_feed_forward(
        x,
        controller.logits(x, block_size),
        w1,
        w2,
        b2,
        selection="hard",
        multiply_by_controller=multiply_by_controller,
    )


def draw_choice(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Draws the unit of each block that training keeps.

    Args:
        logits: [T, G, N].
        temperature: Scale of the Gumbel noise, -log(-log(uniform)), added to the log-softmax.
        uniform: Draws from (0, 1), both ends left out, shape of logits; overwritten.
    Returns:
        [T, G], int64.
    Differs: adding to the logits rather than to their log-softmax gives the same argmax.
    """
    noise = uniform.log_().neg_().log_()
    return noise.mul_(-temperature).add_(logits.detach()).argmax(dim=-1)


def check_shapes(x: Tensor, logits: Tensor, w1: Tensor, w2: Tensor) -> None:
    """Raises a ValueError if the arguments of `sparse_feed_forward` do not fit one another."""
    if logits.dim() != 3 or x.shape[:1] != logits.shape[:1]:
        raise ValueError(
            f"x {tuple(x.shape)} must be [T, D], logits {tuple(logits.shape)} [T, G, N]"
        )
    expected = (logits.shape[1] * logits.shape[2], x.shape[1])
    for name, weight in (("w1", w1), ("w2", w2)):
        if weight.shape != expected:
            raise ValueError(f"{name} {tuple(weight.shape)} must be {expected}")


def check_controller(
    x: Tensor, controller: Controller, w1: Tensor, w2: Tensor, block_size: int
) -> None:
    """Raises a ValueError if the arguments of `sparse_feed_forward_inference` do not fit."""
    n_units, d_model = w1.shape
    d_lowrank = controller.w_in.shape[0]
    if x.dim() != 2 or x.shape[1] != d_model or w2.shape != w1.shape or n_units % block_size:
        raise ValueError(
            f"x {tuple(x.shape)} must be [T, D], w1 {tuple(w1.shape)} and w2 {tuple(w2.shape)}"
            f" [F, D], F a multiple of block_size ({block_size})"
        )
    expected = (d_lowrank, d_model), (n_units, d_lowrank), (n_units,)
    for name, weight, shape in zip(Controller._fields, controller, expected, strict=True):
        if weight.shape != shape:
            raise ValueError(f"{name} {tuple(weight.shape)} of the controller must be {shape}")
