"""Decoding on a GPU: a whole step is one captured graph, which the host only asks to run again."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from kernels.dispatch import backends
from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.experts import Experts
from terraformer.language_model import LanguageModel
from terraformer.static_decoding import StaticDecoder
from terraformer.static_step import StaticStep
from terraformer.writing_config import WritingConfig

_log = logging.getLogger(__name__)
_told: set[str] = set()
_N_WARM_UP = 3


class GraphedDecoder(StaticDecoder):
    """Decodes like its model with one launch a token.

    Args:
        model: In evaluation, on a GPU, in any dtype.
        config: How `write` chooses tokens: temperature, `top_p` and seed.
        n_ahead: Tokens for which there is room from the beginning; then the room doubles, and the
            step is captured anew.
        compiled: Whether torch.compile joins the small kernels before they are captured, which
            takes a minute or more.
    Raises:
        UncoveredError: if the model is in training, or its step cannot be captured where it is.
    Source: CUDA graphs as PyTorch captures them, torch.cuda.graph.
    """

    def __init__(
        self,
        model: LanguageModel | EncoderDecoder,
        config: WritingConfig | None = None,
        n_ahead: int = 512,
        compiled: bool = False,
    ) -> None:
        reason = uncaptured(model, model.embedding.weight.device)
        if reason is not None:
            raise UncoveredError(reason)
        super().__init__(model, config, n_ahead)
        self._compiled = compiled

    def _runner(self, step: StaticStep) -> Callable[[], None]:
        run = torch.compile(step.run, dynamic=False) if self._compiled else step.run
        generator, device = self._draw.generator, step.ids.device
        before = None if generator is None else generator.get_state()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_N_WARM_UP):
                    run()
            torch.cuda.current_stream().wait_stream(side)
            if generator is not None:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph):
                run()
        if generator is not None and before is not None:
            generator.set_state(before)
        return graph.replay


def uncaptured(model: LanguageModel | EncoderDecoder, device: torch.device) -> str | None:
    """Returns why a model's step cannot be captured on a device, None if it can."""
    if device.type != "cuda":
        return f"a step is captured on cuda, the model is on {device.type}"
    has_experts = any(isinstance(part, Experts) for part in model.modules())
    if has_experts and "triton" not in backends("expert_feed_forward", device):
        return "without their Triton kernel, experts ask the device how many tokens each gets"
    return None


def graphed_or_plain(
    model: LanguageModel | EncoderDecoder, n_ahead: int = 512
) -> GraphedDecoder | LanguageModel | EncoderDecoder:
    """Returns a graphed decoder of the model or, where there can be none, the model itself.

    Both have `begin` and `step`. The reason is logged once. The arguments are those of
    `GraphedDecoder`.
    """
    try:
        return GraphedDecoder(model, n_ahead=n_ahead)
    except UncoveredError as error:
        if str(error) not in _told:
            _told.add(str(error))
            _log.warning("decoding goes on without a captured step, slower: %s", error)
        return model
