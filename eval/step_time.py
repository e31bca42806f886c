"""How long a written token takes, models in turn on the same papers."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from eval.timing import interleave
from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.fast_decoding import FastDecoder
from terraformer.generation import Decoder

_BURST = 8  # steps in a row, the first of which is not counted


def measure_steps(
    models: Mapping[str, EncoderDecoder], source: Tensor, n_rounds: int
) -> dict[str, dict[str, float]]:
    """Times steps of decoding, each model's in C++ and in PyTorch, in turn.

    Every decoder goes on with its own text, so all have written the same number of tokens when they
    are timed.

    Args:
        models: In evaluation, float32, on the CPU.
        source: What all of them read, [1, S], int64.
        n_rounds: Rounds that are counted, each of some steps of every decoder.
    Returns:
        Medians in microseconds, by the model's name and then "pytorch" and "cpp", which is missing
        where there is no decoding step in C++.
    """
    decoders: dict[tuple[str, str], Decoder] = {}
    for name, model in models.items():
        decoders[name, "pytorch"] = model
        try:
            decoders[name, "cpp"] = FastDecoder.of(model, torch.get_num_threads())
        except UncoveredError as error:
            print(f"{name} is not timed in C++: {error}", file=sys.stderr)
    # `interleave` knows its calls by one word.
    keys = {" ".join(key): key for key in decoders}
    with torch.inference_mode():
        calls = {word: _steps_of(decoders[key], source) for word, key in keys.items()}
        seconds = interleave(calls, n_rounds, _BURST)
    medians: dict[str, dict[str, float]] = {name: {} for name in models}
    for word, (name, kind) in keys.items():
        medians[name][kind] = 1e6 * statistics.median(seconds[word])
    return medians


def _steps_of(decoder: Decoder, source: Tensor) -> Callable[[], None]:
    """Returns what writes one more token, the likeliest."""
    logits, state = decoder.begin(source)

    def step() -> None:
        nonlocal logits, state
        logits, state = decoder.step(logits.argmax(dim=-1), state)

    return step
