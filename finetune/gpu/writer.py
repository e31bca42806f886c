"""Greedy writing of many abstracts at once, for a first look at a model while a GPU is there."""

from __future__ import annotations

import logging
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
from terraformer.generation import FreeEnding, WritingRules
from terraformer.repetition import TrigramBlock

_LOG = logging.getLogger(__name__)


@torch.no_grad()
def write_greedily(
    model: EncoderDecoder, source_ids: Tensor, source_mask: Tensor, rules: WritingRules
) -> list[list[int]]:
    """Writes the likeliest next piece that may follow, again and again, for several texts.

    Args:
        model: In evaluation.
        source_ids: [B, S], int64; B is 1 where the decoder joins source and target.
        source_mask: [B, S], True for real tokens, padding at the end.
        rules: What each text must obey.
    Returns:
        Ids of each text, without end-of-sequence.
    """
    logits, state = model.begin(source_ids, source_mask)
    texts: list[list[int]] = [[] for _ in source_ids]
    blocks = [rules.new_block() if rules.new_block else None for _ in texts]
    open_texts = set(range(len(texts)))
    for _ in range(rules.max_tokens):
        allowed = [
            rules.allowed(row, text, block)
            for row, text, block in zip(logits, texts, blocks, strict=True)
        ]
        chosen = torch.stack(allowed).argmax(dim=-1)
        for row, token in enumerate(chosen.tolist()):
            if row in open_texts and rules.ending.ends(texts[row], token):
                open_texts.remove(row)
            if row not in open_texts:
                continue
            texts[row].append(token)
            block = blocks[row]
            if block is not None:
                block.add(token)
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
    rules = WritingRules(
        *(FreeEnding(), max_tokens),
        lambda: TrigramBlock(tokenizer.starts_word, tokenizer.begins_number),
    )
    articles = load_articles(data, present_shards(data, "articles", "validation"))
    for rows in _batches(articles, n_papers, 0 if model.joins else batch_tokens):
        batch = collate_pairs([article_and_abstract(row) for row in rows])
        source_ids, source_mask = (batch[n].to(device) for n in ("source_ids", "source_mask"))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            texts = write_greedily(model, source_ids, source_mask, rules)
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
