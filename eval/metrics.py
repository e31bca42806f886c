"""ROUGE of summaries, and how sure a mean over documents is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from eval.lcs import LcsTarget
from finetune.rouge_tokens import RougeTokenizer
from terraformer.sentence_splitter import split_sentences

ROUGE_NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
METRIC_NAMES = (*ROUGE_NAMES, "words")
N_RESAMPLES = 1000
BOOTSTRAP_SEED = 0

_TOKENIZER = RougeTokenizer()


def score_summary(prediction: str, reference: str) -> dict[str, float]:
    """Scores one summary against its reference.

    Both sides are split into sentences by `terraformer.sentence_splitter`.

    Args:
        prediction: The summary; an empty one scores 0.
        reference: The abstract.
    Returns:
        What `score_stems` returns, and the words of the prediction, split at white space.
    """
    sides = (
        [stems(sentence) for sentence in sentences_of(text)] for text in (prediction, reference)
    )
    return {**score_stems(*sides), "words": float(len(prediction.split()))}


def score_stems(prediction: list[list[str]], reference: list[list[str]]) -> dict[str, float]:
    """Scores one summary against its reference.

    Args:
        prediction: The `stems` of each of its sentences.
        reference: Those of the abstract.
    Returns:
        ROUGE-1, -2, -L (over the whole text) and -Lsum (union over sentences) as F1 with Porter
        stems, in percent.
    Source: Lin 2004, as rouge-score 0.1.2 computes it, many times faster than that.
    """
    tokens, reference_tokens = list(chain(*prediction)), list(chain(*reference))
    lcs = LcsTarget(tokens).length(reference_tokens)
    n_union = _union_lcs_hits(prediction, reference)
    return {
        "rouge1": _ngram_f1(tokens, reference_tokens, 1),
        "rouge2": _ngram_f1(tokens, reference_tokens, 2),
        "rougeL": _f1(lcs, len(tokens), len(reference_tokens)),
        "rougeLsum": _f1(n_union, len(tokens), len(reference_tokens)),
    }


def sentences_of(text: str) -> list[str]:
    """Returns the sentences of a summary; a new line ends one too."""
    return [line[start:end] for line in text.splitlines() for start, end in split_sentences(line)]


def stems(sentence: str) -> list[str]:
    """Returns the tokens of a sentence that ROUGE counts: lower-cased, alphanumeric, stemmed."""
    return _TOKENIZER.tokenize(sentence)


def _f1(n_hits: int, n_prediction: int, n_reference: int) -> float:
    """Returns the harmonic mean of precision and recall in percent, 0 where nothing is hit."""
    return 200.0 * n_hits / (n_prediction + n_reference) if n_hits else 0.0


def _ngram_f1(prediction: list[str], reference: list[str], n: int) -> float:
    counts = [
        Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
        for tokens in (prediction, reference)
    ]
    return _f1((counts[0] & counts[1]).total(), counts[0].total(), counts[1].total())


def _union_lcs_hits(prediction: list[list[str]], reference: list[list[str]]) -> int:
    """Counts, for each reference sentence, the tokens in its LCS with any predicted sentence.

    A token counts at most as often as it stands in the prediction and in the reference.
    """
    targets = [LcsTarget(sentence) for sentence in prediction]
    available = Counter(chain(*prediction))
    hits: Counter[str] = Counter()
    for sentence in reference:
        places = {place for target in targets for place in target.indices(sentence)}
        hits.update(sentence[place] for place in places)
    return (hits & available).total()


def bootstrap_means(
    values: NDArray[np.float64], n_resamples: int = N_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> NDArray[np.float64]:
    """Resamples documents with replacement and takes the mean of each resample.

    The documents drawn depend only on their number and the seed, so that two systems scored on the
    same documents are resampled as pairs.

    Args:
        values: One value a document in the first axis, [N, ...].
        n_resamples: Resamples, M.
        seed: Seed of the draws.
    Returns:
        Means, [M, ...].
    Raises:
        ValueError: if there is no document.
    """
    n = len(values)
    if n == 0:
        raise ValueError("values must hold at least one document, got 0")
    draws = np.random.default_rng(seed).integers(0, n, (n_resamples, n))
    weights = np.stack([np.bincount(draw, minlength=n) for draw in draws]) / n  # [M, N]
    return np.tensordot(weights, np.asarray(values, np.float64), axes=1)


def confidence_interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the mean of `values`, [N]."""
    low, high = np.percentile(bootstrap_means(np.asarray(values, np.float64)), [2.5, 97.5])
    return float(low), float(high)


def share_of_gap(
    ours: NDArray[np.float64], floor: NDArray[np.float64], ceiling: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Returns how much of the way from a floor to a ceiling a system has gone.

    Args:
        ours: One score a document, [N].
        floor: Scores of the weaker system on the same documents, [N].
        ceiling: Scores of the best possible system on the same documents, [N].
    Returns:
        (mean ours - mean floor) / (mean ceiling - mean floor), and its 95 % interval by a paired
        bootstrap over documents; NaN where the ceiling does not lie above the floor.
    """
    columns = np.stack([ours, floor, ceiling], axis=1)  # [N, 3]
    means = np.concatenate([columns.mean(axis=0, keepdims=True), bootstrap_means(columns)])
    gap = means[:, 2] - means[:, 1]
    shares = np.full(len(means), np.nan)
    np.divide(means[:, 0] - means[:, 1], gap, out=shares, where=gap > 0)
    if np.isnan(shares).any():
        return float(shares[0]), float("nan"), float("nan")
    low, high = np.percentile(shares[1:], [2.5, 97.5])
    return float(shares[0]), float(low), float(high)
