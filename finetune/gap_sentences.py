"""Gap sentences: the sentences that say most of a text give way to a sentinel and are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from finetune.span_corruption import TokenPair
from terraformer.tokenizer import EOS_ID

GAP_SHARE = 0.3
GapStrategy = Literal["principal", "random", "lead"]


def principal_scores(sentences: Sequence[str]) -> NDArray[np.float32]:
    """Returns the ROUGE-1 F1 of each sentence against all others together, [S], in [0, 1].

    Every sentence is scored by itself, and repeated words count as often as they occur: the variant
    "Ind-Orig".

    Source: Zhang et al. 2020 (PEGASUS), arXiv:1912.08777, section 3.1.
    """
    from finetune.rouge_tokens import RougeTokenizer  # who cuts gaps alone does without ROUGE

    tokenizer = RougeTokenizer()
    counts = [Counter(tokenizer.tokenize(sentence)) for sentence in sentences]
    whole: Counter[str] = Counter()
    for count in counts:
        whole.update(count)
    hits = [sum(min(n, whole[token] - n) for token, n in count.items()) for count in counts]
    # Precision is hits / n and recall hits / (total - n), so n leaves their harmonic mean.
    return (2 * np.array(hits) / max(1, whole.total())).astype(np.float32)


def choose_gaps(
    scores: NDArray[np.float32],
    share: float,
    strategy: GapStrategy,
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """Chooses which sentences to leave out.

    Args:
        scores: From `principal_scores`, [S], S at least 2.
        share: Of the sentences; one at least is chosen, and one is left.
        strategy: "principal" takes those of highest score, "lead" the first, "random" any.
        random: Source of the choice of "random".
    Returns:
        Mask, [S], True for gaps.
    """
    n_sentences = len(scores)
    if n_sentences < 2:
        raise ValueError(f"scores of {n_sentences} sentences: at least 2 are needed")
    n_gaps = min(max(round(share * n_sentences), 1), n_sentences - 1)
    order = {
        "principal": lambda: np.argsort(-scores, kind="stable"),
        "lead": lambda: np.arange(n_sentences),
        "random": lambda: random.permutation(n_sentences),
    }[strategy]()
    gaps = np.zeros(n_sentences, bool)
    gaps[order[:n_gaps]] = True
    return gaps


def cut_gaps(
    ids: NDArray[np.int64],
    sentence_of_token: NDArray[np.int32],
    gaps: NDArray[np.bool_],
    sentinel: int,
) -> TokenPair:
    """Replaces each gap in the source by `sentinel`; the target is the gaps in reading order.

    Args:
        ids: Token ids, [L].
        sentence_of_token: See `TokenizedDocument`, [L].
        gaps: From `choose_gaps`, [S].
        sentinel: The id that stands for a sentence.
    """
    lost = np.append(gaps, False)[sentence_of_token]  # -1, outside sentences, is the last
    starts = lost & (np.diff(sentence_of_token, prepend=-1) != 0)
    source = np.where(starts, sentinel, ids)[starts | ~lost]
    return TokenPair(np.append(source, EOS_ID), np.append(ids[lost], EOS_ID))


class GapSentences:
    """Makes a pair of an article, "random" gaps drawn anew at every epoch.

    The sentinel is the tokenizer's last piece, one of its rarest, as in span corruption.

    Args:
        vocab_size: Pieces of the tokenizer.
        seed: Of "random".
        share: See `choose_gaps`.
        strategy: See `choose_gaps`.
    """

    def __init__(
        self,
        vocab_size: int,
        seed: int,
        share: float = GAP_SHARE,
        strategy: GapStrategy = "principal",
    ) -> None:
        self._sentinel = vocab_size - 1
        self._seed = seed
        self._share = share
        self._strategy: GapStrategy = strategy
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tells the epoch that begins."""
        self._epoch = epoch

    def __call__(self, article: dict[str, Any]) -> TokenPair:
        """Cuts the gaps out of a row of `finetune.article`, of at least two sentences."""
        random = np.random.default_rng((self._seed, self._epoch, int(article["index"])))
        gaps = choose_gaps(article["principal"], self._share, self._strategy, random)
        ids = article["ids"].astype(np.int64)
        return cut_gaps(ids, article["sentence_of_token"], gaps, self._sentinel)
