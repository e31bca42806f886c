"""Extract, then rewrite: the source of an abstract is the sentences that were picked for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from finetune.span_corruption import TokenPair
from terraformer.tokenizer import EOS_ID, TokenizedDocument
from terraformer.writer_source import choose_extract

MAX_EXTRACTED = 1024
"""Most tokens that are ranked in each paper, and so the most that a model can be given."""


class Rewrites:
    """Makes a pair of an article: picked sentences, and its abstract.

    In training, half of the time, the sentences are those of the oracle first, then the
    extractor's: a source that holds nearly all that the abstract says teaches to trust it, and the
    extractor's own picks are what there will be in use. Rows without an oracle get those alone.

    Args:
        n_tokens: Most tokens of a source; see `WritingConfig.n_extracted`.
        seed: Of the choice.
        oracle_share: How often the oracle's sentences come first.
    """

    def __init__(self, n_tokens: int, seed: int, oracle_share: float = 0.5) -> None:
        if n_tokens > MAX_EXTRACTED:
            raise ValueError(f"n_tokens ({n_tokens}) must be at most {MAX_EXTRACTED}")
        self._n_tokens = n_tokens
        self._seed = seed
        self._oracle_share = oracle_share
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tells the epoch that begins."""
        self._epoch = epoch

    def __call__(self, article: dict[str, Any]) -> TokenPair:
        """Returns source and target, each with an end-of-sequence."""
        random = np.random.default_rng((self._seed, self._epoch, int(article["index"])))
        ranking = [int(sentence) for sentence in article["ranking"]]
        oracle = [int(sentence) for sentence in article.get("oracle", ())]
        if random.random() < self._oracle_share:
            ranking = list(dict.fromkeys(oracle + ranking))
        tokenized = TokenizedDocument(article["ids"], article["sentence_of_token"])
        chosen = choose_extract(tokenized, ranking, self._n_tokens)
        source = tokenized.only(chosen).first(self._n_tokens)
        ids, abstract = source.ids.astype(np.int64), article["abstract_ids"].astype(np.int64)
        return TokenPair(np.append(ids, EOS_ID), np.append(abstract, EOS_ID))
