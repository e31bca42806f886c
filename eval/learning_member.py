"""Small members of the family, as language models for the synthetic tasks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from eval.learning_task import Task
from terraformer.attention_config import (
    AttentionConfig,
    ConvolutionalQKVConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
    QKVConfig,
)
from terraformer.config import LanguageModelConfig
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.language_model import LanguageModel
from terraformer.position_config import (
    AxialPositionsConfig,
    PositionsConfig,
    SinusoidalPositionsConfig,
)
from terraformer.positions import AxialPositions
from terraformer.stack_config import SRUConfig, StackConfig

D_MODEL = 64
N_LAYERS = 2
CHUNK_LEN = 64
_D_FF = 128
_D_HALF = 4  # width of what tells the halves of a copied sequence apart
_CONVOLUTION = ConvolutionalQKVConfig()
_SHARED_CONVOLUTION = ConvolutionalQKVConfig(share_qk=True)
_SPARSE = SparseFFConfig(d_ff=_D_FF, block_size=4, d_lowrank=16)


def _full(qkv: QKVConfig) -> FullAttentionConfig:
    return FullAttentionConfig(n_heads=1, qkv=qkv)


_LSH = LSHAttentionConfig(n_heads=1, n_hashes=4, chunk_len=CHUNK_LEN, qkv=_SHARED_CONVOLUTION)
_LOCAL = LocalAttentionConfig(n_heads=1, chunk_len=CHUNK_LEN, qkv=_CONVOLUTION)

MEMBERS = {
    "dense": StackConfig(
        N_LAYERS, _full(DenseQKVConfig()), DenseFFConfig(_D_FF), residual="standard"
    ),
    "scaling": StackConfig(N_LAYERS, _full(_CONVOLUTION), _SPARSE, residual="standard"),
    "terraformer": StackConfig(N_LAYERS, _LSH, _SPARSE, sru=SRUConfig()),
    "reformer": StackConfig(N_LAYERS, (_LSH, _LOCAL), DenseFFConfig(_D_FF)),
    "switch": StackConfig(
        N_LAYERS,
        _full(DenseQKVConfig()),
        SwitchFFConfig(_D_FF, n_experts=4, capacity_factor=2.0, expert_dropout=0.0),
        residual="standard",
    ),
}


def hashes_by_lsh(name: str) -> bool:
    """Returns whether a member has LSH attention."""
    return any(isinstance(config, LSHAttentionConfig) for config in MEMBERS[name].attentions)


def build_member(name: str, task: Task, n_hashes: int | None = None) -> LanguageModel:
    """Returns an untrained member, drawn from torch's seed; `fit_positions` makes it ready.

    Copying needs places: all have axial positions, of two halves. Else those whose projections do
    not look along the length have sinusoidal positions, the others none.

    Args:
        name: In `MEMBERS`.
        task: What it is for.
        n_hashes: Rounds of its LSH attention, if not those of `MEMBERS`.
    """
    stack = replace(
        MEMBERS[name],
        attention=tuple(
            _fit_attention(config, task, n_hashes) for config in MEMBERS[name].attentions
        ),
    )
    positions: PositionsConfig | None = None
    if task.name == "copying":
        positions = AxialPositionsConfig((2, 1), (_D_HALF, D_MODEL - _D_HALF))
    elif name in ("dense", "switch"):
        positions = SinusoidalPositionsConfig()
    model = LanguageModel(
        LanguageModelConfig(
            vocab_size=task.vocab_size,
            d_model=D_MODEL,
            decoder=stack,
            positions=positions,
            dropout=0.0,
        ),
        recompute=False,
    )
    # Tokens are neither to drown in axial positions, whose entries are about 1, nor to hide them.
    nn.init.normal_(model.embedding.weight, std=0.25 if task.name == "copying" else 1.0)
    return model


def _fit_attention(config: AttentionConfig, task: Task, n_hashes: int | None) -> AttentionConfig:
    """Returns the attention with that many rounds; where it hashes or is local, fit for the task.

    Sorting asks what else is in the list. Narrow heads of dense projections leave weight to others
    than the same symbol, which is found first where queries and keys are shared. Short chunks keep
    local attention from doing alone at short lengths what it cannot do at long ones.
    """
    if task.name == "sorting":
        if isinstance(config, LSHAttentionConfig):
            qkv = DenseQKVConfig(share_qk=True, bias=False)
            config = replace(config, n_heads=4, n_hashes=1, qkv=qkv)
        elif isinstance(config, LocalAttentionConfig):
            config = replace(config, n_heads=4, chunk_len=16, qkv=DenseQKVConfig())
    if n_hashes is not None and isinstance(config, LSHAttentionConfig):
        config = replace(config, n_hashes=n_hashes)
    return config


def fit_positions(model: LanguageModel, length: int) -> None:
    """Gives axial positions the places of sequences of `length`; those there are stay the same."""
    if isinstance(model.positions, AxialPositions):
        config = replace(model.positions.config, shape=(2, length // 2))
        grown = AxialPositions(config, model.config.d_model)
        with torch.no_grad():
            for table, known in zip(grown.tables, model.positions.tables, strict=True):
                table[: len(known)] = known
        model.positions = grown
