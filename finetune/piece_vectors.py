"""Vectors for the pieces of a tokenizer, as a pretrained encoder of text understands them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from terraformer.errors import TerraformerError
from terraformer.tokenizer import Tokenizer

_BATCH_SIZE = 256
_RANK_OF_HALF = 100.0  # the piece of that rank counts half: common ones say little


@torch.inference_mode()
def piece_vectors(tokenizer: Tokenizer, encoder: str | Path, width: int) -> NDArray[np.float32]:
    """Reads every piece alone with a pretrained encoder and keeps the main directions.

    Args:
        tokenizer: Whose pieces are read; a unigram model, its pieces by falling frequency.
        encoder: Folder or Hub id of an encoder of transformers with its tokenizer.
        width: Directions that are kept, at most the encoder's width.
    Returns:
        One vector a piece, [V, width], of length at most 1.
    Raises:
        TerraformerError: if the encoder cannot be read or is narrower.
    Source: Tulkens and van Dongen 2024 (Model2Vec).
    """
    try:
        reader = AutoTokenizer.from_pretrained(str(encoder))
        model = AutoModel.from_pretrained(str(encoder)).eval()
    except (OSError, ValueError) as error:
        raise TerraformerError(f"no encoder in {encoder}: {error}") from error
    texts = [tokenizer.decode([piece]).strip() or "." for piece in range(tokenizer.vocab_size)]
    parts = []
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = reader(texts[start : start + _BATCH_SIZE], return_tensors="pt", padding=True)
        parts.append(_mean(model(**batch).last_hidden_state, batch["attention_mask"]))
    vectors = torch.cat(parts)
    if width > vectors.shape[1]:
        raise TerraformerError(
            f"the encoder in {encoder} is {vectors.shape[1]} wide, the embeddings {width}"
        )
    vectors = vectors - vectors.mean(dim=0)
    directions = torch.linalg.svd(vectors, full_matrices=False).Vh[:width]  # [width, encoder's]
    kept = nn.functional.normalize(vectors @ directions.T, dim=-1)
    rank = torch.arange(len(kept), dtype=torch.float32)[:, None]
    return (kept * (rank / (rank + _RANK_OF_HALF)).clamp_min(0.1)).numpy()


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Means of states [B, T, D] where the mask [B, T] is 1, [B, D]."""
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(dim=1) / weight.sum(dim=1)
