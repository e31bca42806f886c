"""Decoding on a GPU: a whole step is one captured graph, which the host only asks to run again."""

from __future__ import annotations

from collections.abc import Callable

import torch

from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel
from terraformer.static_decoding import StaticDecoder
from terraformer.static_step import StaticStep
from terraformer.writing_config import WritingConfig

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
        UncoveredError: if the model is in training or not on a GPU.
    Source: CUDA graphs as PyTorch captures them, torch.cuda.graph.
    """

    def __init__(
        self,
        model: LanguageModel | EncoderDecoder,
        config: WritingConfig | None = None,
        n_ahead: int = 512,
        compiled: bool = False,
    ) -> None:
        device = model.embedding.weight.device
        if device.type != "cuda":
            raise UncoveredError(f"a step is captured on cuda, the model is on {device.type}")
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
