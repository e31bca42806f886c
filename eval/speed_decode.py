"""Times of one decoding step, sparse in C++ against dense in PyTorch."""

from __future__ import annotations

import copy
import itertools
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from eval.decode_figure import FIGURES, N_SOURCE, PAIRS, Figure, Pair
from eval.dense_decoder import DenseDecoder, dense_variants
from eval.timing import interleave, measure_bandwidth, spread
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.cross_attention import CrossAttention
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.fast_decoding import FastDecoder
from terraformer.feed_forward import SparseFF
from terraformer.language_model import LanguageModel, TokenState
from terraformer.residual import ResidualState
from terraformer.selected_cache import SelectedCacheConfig

SELECTED_CACHE = SelectedCacheConfig()
_BURST = 4
_MOST_COPIES = 8
_MOST_COPIED_BYTES = 4 << 30


def measure_decode(names: Sequence[str], n_rounds: int) -> list[dict[str, Any]]:
    """Times steps of the sparse and the dense model of some figures.

    Weights are random, texts as well. Of sparse models that read little a token there are several
    copies, used in turn, so that their weights come from memory as the dense ones do.

    Args:
        names: Of `FIGURES`.
        n_rounds: Rounds that are counted; a round is a burst of steps of each.
    Returns:
        One row a figure: milliseconds of ours and of the fastest dense variant, their ratio, how
        many bytes ours reads and which share of the measured bandwidth that is.
    """
    bandwidth = measure_bandwidth()
    rows = []
    progress = tqdm(total=len(names), desc="figures", file=sys.stderr)
    for pair, group in itertools.groupby(names, key=lambda name: FIGURES[name].pair):
        models = _Models(PAIRS[pair])
        for name in group:
            rows.append({"name": name, **_measure(models, FIGURES[name], n_rounds, bandwidth)})
            progress.update()
        del models  # before the next are made
    progress.close()
    return rows


class _Models:
    """The models of a pair, with random weights."""

    def __init__(self, pair: Pair) -> None:
        torch.manual_seed(0)
        self.sparse = _build(pair.sparse)
        self.dense = _build(pair.dense)


def _measure(models: _Models, figure: Figure, n_rounds: int, bandwidth: float) -> dict[str, Any]:
    n_calls = (n_rounds + 1) * _BURST
    start = max(1, figure.context - n_calls)
    ours, n_bytes, n_copies = _ours(models.sparse, figure, start)
    calls = {"ours": ours, **_dense(models.dense, figure)}
    with torch.inference_mode():
        seconds = interleave(calls, n_rounds, _BURST)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    baseline = min((name for name in medians if name != "ours"), key=medians.__getitem__)
    return {
        "context": figure.context,
        "cache": "selected" if figure.selected else "full",
        "dtype": "int8" if figure.int8 else "float32",
        "threads": torch.get_num_threads(),
        **spread("ours", seconds["ours"]),
        **spread("baseline", seconds[baseline]),
        "ratio": round(medians[baseline] / medians["ours"], 2),
        "baseline": baseline,
        "parameters_m": round(_size(models.sparse) / 1e6, 1),
        "baseline_parameters_m": round(_size(models.dense) / 1e6, 1),
        "read_mb": round(n_bytes / 1e6, 1),
        "bandwidth_share": round(n_bytes / medians["ours"] / bandwidth, 2),
        "copies": n_copies,
    }


def _ours(
    model: LanguageModel | EncoderDecoder, figure: Figure, start: int
) -> tuple[Callable[[], object], int, int]:
    """Returns what makes a step from position `start` on, its bytes, and the copies it rotates."""
    cache = SELECTED_CACHE if figure.selected else None
    n_bytes = bytes_a_step(model, figure)
    n_copies = min(
        _MOST_COPIES,
        -(-4 * _last_cache_bytes() // n_bytes),
        max(1, _MOST_COPIED_BYTES // (4 * _size(model))),
    )
    runs = []
    shallow = _shallow_state(model, start)
    for _ in range(n_copies):
        decoder = FastDecoder(model, torch.get_num_threads(), figure.int8, cache=cache)
        runs.append((decoder, decoder.take_over(_deepened(shallow, model.config.decoder.n_layers))))
    turns = itertools.cycle(runs)

    def step() -> None:
        decoder, state = next(turns)
        decoder.step(_token(model), state)

    return step, n_bytes, n_copies


def _dense(
    model: LanguageModel | EncoderDecoder, figure: Figure
) -> dict[str, Callable[[], object]]:
    """Returns what makes a step of each dense variant, always at the last position."""
    memory = None
    if isinstance(model, EncoderDecoder):
        state = model.begin(_source(model))[1].layers
        memory = [(cross.k, cross.v) for cross in state.cross]
    decoder = DenseDecoder(model, figure.context, memory).eval()
    return {
        name: lambda variant=variant: variant(_token(model), figure.context - 1)
        for name, variant in dense_variants(decoder, figure.int8).items()
    }


def bytes_a_step(model: LanguageModel | EncoderDecoder, figure: Figure) -> int:
    """Returns the bytes of weights and caches that a step of the sparse model reads.

    Of sparse feed-forward layers it reads one unit a block, of the embedding one row, and nothing
    of the layers that make keys and values of an encoder's states.
    """
    parts: list[nn.Module] = [model.decoder, model.norm, model.head]
    weights = sum(_size(part) for part in parts)
    for module in model.decoder.modules():
        if isinstance(module, SparseFF):
            n_blocks = module.config.d_ff // module.config.block_size
            weights -= 2 * (module.config.d_ff - n_blocks) * module.w1.shape[1]
        elif isinstance(module, CrossAttention):
            weights -= _size(module.w_k) + _size(module.w_v)
    reach = figure.context
    if figure.selected:
        reach = min(reach, SELECTED_CACHE.n_read)
    if isinstance(model, EncoderDecoder):
        reach += N_SOURCE
    caches = 2 * model.config.decoder.n_layers * model.config.d_model * reach
    return weights * (1 if figure.int8 else 4) + 4 * caches


def _shallow_state(model: LanguageModel | EncoderDecoder, n_tokens: int) -> TokenState:
    """Returns a state of `n_tokens` positions, read by the first layer alone."""
    config = replace(model.config, decoder=replace(model.config.decoder, n_layers=1))
    shallow = _build(config)
    ids = torch.randint(config.vocab_size, (1, n_tokens - 1))
    if not isinstance(shallow, EncoderDecoder):
        return shallow.begin(ids)[1]
    state = shallow.begin(_source(shallow))[1]
    for token in ids[0]:
        state = shallow.step(token[None], state)[1]
    return state


def _deepened(state: TokenState, n_layers: int) -> TokenState:
    """Returns a state in which all layers carry what the first does.

    That saves reading a long text with all of them; the time of a step does not depend on it.
    """
    branches, cross = (
        [copy.deepcopy(layers[0]) for _ in range(n_layers if layers else 0)]
        for layers in (state.layers.branches, state.layers.cross)
    )
    return TokenState(state.position, ResidualState(branches, cross))


def _build(config: LanguageModelConfig | EncoderDecoderConfig) -> LanguageModel | EncoderDecoder:
    if isinstance(config, EncoderDecoderConfig):
        return EncoderDecoder(config).eval()
    return LanguageModel(config).eval()


def _token(model: LanguageModel | EncoderDecoder) -> Tensor:
    return torch.randint(model.config.vocab_size, (1,))


def _source(model: EncoderDecoder) -> Tensor:
    return torch.randint(model.config.vocab_size, (1, N_SOURCE))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _last_cache_bytes() -> int:
    """Returns the size of the processor's last cache, a large one if it does not tell."""
    sizes = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    if not sizes:
        return 64 << 20
    return int(sizes[-1].read_text().strip().removesuffix("K")) << 10
