"""Greedy writing of many abstracts at once, for a first look at a model while a GPU is there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetune.packed_rows import Articles
from finetune.shard_task import load_articles, present_shards
from finetune.token_objective import article_and_abstract, collate_pairs
from terraformer.checkpoint import load_model
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.errors import CheckpointError
from terraformer.tokenizer import EOS_ID

_LOG = logging.getLogger(__name__)


class TrigramBlock:
    """Which pieces would repeat a trigram of their text, for several texts at once.

    Args:
        n_texts: Texts.
    """

    def __init__(self, n_texts: int) -> None:
        self._texts: list[list[int]] = [[] for _ in range(n_texts)]
        self._followed = [defaultdict[tuple[int, ...], set[int]](set) for _ in range(n_texts)]

    def add(self, ids: list[int]) -> None:
        """Appends a piece to each text."""
        for text, followed, item in zip(self._texts, self._followed, ids, strict=True):
            if len(text) > 1:
                followed[tuple(text[-2:])].add(item)
            text.append(item)

    def block(self, logits: Tensor) -> None:
        """Sets the logits [B, V] of pieces that would repeat a trigram to minus infinity."""
        for row, (text, followed) in enumerate(zip(self._texts, self._followed, strict=True)):
            repeated = followed.get(tuple(text[-2:]), ()) if len(text) > 1 else ()
            if repeated:
                logits[row, list(repeated)] = -torch.inf


@torch.no_grad()
def write_greedily(
    model: EncoderDecoder, source_ids: Tensor, source_mask: Tensor, max_tokens: int
) -> list[list[int]]:
    """Writes the likeliest next piece again and again, but no trigram of a text twice.

    Args:
        model: In evaluation.
        source_ids: [B, S], int64; B is 1 where the decoder joins source and target.
        source_mask: [B, S], True for real tokens, padding at the end.
        max_tokens: Longest text.
    Returns:
        Ids of each text, without end-of-sequence.
    """
    logits, state = model.begin(source_ids, source_mask)
    block = TrigramBlock(len(source_ids))
    texts: list[list[int]] = [[] for _ in source_ids]
    open_texts = set(range(len(texts)))
    for _ in range(max_tokens):
        logits = logits.float()
        block.block(logits)
        chosen = logits.argmax(dim=-1)
        ids = chosen.tolist()
        block.add(ids)
        for row in list(open_texts):
            if ids[row] == EOS_ID:
                open_texts.remove(row)
            else:
                texts[row].append(ids[row])
        if not open_texts:
            break
        logits, state = model.step(chosen, state)
    return texts


def write_abstracts(
    checkpoint: Path,
    data: Path,
    device: torch.device,
    *,
    n_papers: int,
    batch_tokens: int,
    max_tokens: int,
) -> Iterator[dict[str, Any]]:
    """Writes abstracts of papers of validation, the shortest papers first.

    Args:
        checkpoint: Folder of an encoder and decoder.
        data: Folder of unpacked shards.
        device: Where the model runs.
        n_papers: Most papers.
        batch_tokens: Most source tokens of a batch, padding included.
        max_tokens: Longest abstract.
    Yields:
        A paper's "id", "group", "prediction" and "reference" (the abstract as the tokenizer gives
        it back), and the tokens of its source and of the prediction.
    Raises:
        CheckpointError: if the model is of another kind.
    """
    model, tokenizer = load_model(checkpoint)
    if not isinstance(model, EncoderDecoder):
        raise CheckpointError(
            f"the model in {checkpoint} is a {type(model).__name__}, not a writer"
        )
    model.to(device)
    articles = load_articles(data, present_shards(data, "articles", "validation"))
    for rows in _batches(articles, n_papers, 0 if model.joins else batch_tokens):
        batch = collate_pairs([article_and_abstract(row) for row in rows])
        source_ids, source_mask = (batch[n].to(device) for n in ("source_ids", "source_mask"))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            texts = write_greedily(model, source_ids, source_mask, max_tokens)
        for row, text in zip(rows, texts, strict=True):
            yield {
                "id": row["id"],
                "group": row["group"],
                "prediction": tokenizer.decode(text),
                "reference": tokenizer.decode(row["abstract_ids"].tolist()),
                "n_source_tokens": len(row["ids"]),
                "n_tokens": len(text),
            }


def _batches(
    articles: Articles, n_papers: int, batch_tokens: int
) -> Iterator[list[dict[str, Any]]]:
    whole = np.flatnonzero((articles.n_tokens > 0) & (articles.n_abstract > 0))[:n_papers]
    rows: list[dict[str, Any]] = []
    for index in whole[np.argsort(articles.n_tokens[whole], kind="stable")].tolist():
        if rows and (len(rows) + 1) * articles.n_tokens[index] > batch_tokens:
            yield rows
            rows = []
        rows.append(articles[index])
    if rows:
        yield rows
