"""What a layer decided or drew in its forward pass, to be decided the same when it runs again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


class Replay:
    """Records the discrete choices and the random states of a forward pass, then plays them back.

    A reversible layer runs twice: once forwards, and once more in the backward pass on inputs that
    are reconstructed, so equal only up to rounding. What hangs on rounding (hash buckets, the
    controller's choices) or on random numbers (dropout, Gumbel noise) passes through here.

    Attributes:
        output_grad: While playing, the gradient of what is returned, where it is known already;
            then a layer may go on to the backward pass of each of its parts at once.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._states: list[tuple[Tensor, Tensor | None]] = []
        self._n_tensors = 0
        self._n_states = 0
        self._playing = False
        self.output_grad: Tensor | None = None

    def play(self, output_grad: Tensor | None = None) -> Replay:
        """Turns from recording to playing back from the start, and returns itself."""
        self._playing = True
        self.output_grad = output_grad
        self._n_tensors = self._n_states = 0
        return self

    def keep(self, compute: Callable[[], Tensor]) -> Tensor:
        """Returns what `compute` returned when it was recorded, else calls and records it."""
        if self._playing:
            self._n_tensors += 1
            return self._tensors[self._n_tensors - 1]
        self._tensors.append(compute().detach())
        return self._tensors[-1]

    @contextlib.contextmanager
    def same_random(self, device: torch.device) -> Iterator[None]:
        """Draws random numbers inside the `with` as they were drawn when it was recorded.

        While playing, the generators outside the `with` are left as they were.
        """
        on_cuda = device.type == "cuda"
        if not self._playing:
            self._states.append(
                (torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_cuda else None)
            )
            yield
            return
        state, cuda_state = self._states[self._n_states]
        self._n_states += 1
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            torch.set_rng_state(state)
            if cuda_state is not None:
                torch.cuda.set_rng_state(cuda_state, device)
            yield
