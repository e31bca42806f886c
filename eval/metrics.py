"""ROUGE of summaries, and how sure a mean over documents is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer

from finetune.rouge_tokens import RougeTokenizer
from terraformer.sentence_splitter import split_sentences

ROUGE_NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
METRIC_NAMES = (*ROUGE_NAMES, "words")
N_RESAMPLES = 1000
BOOTSTRAP_SEED = 0

_SCORER = RougeScorer(list(ROUGE_NAMES), tokenizer=RougeTokenizer())


def one_sentence_a_line(text: str) -> str:
    """Returns `text` with a newline between sentences, as ROUGE-Lsum wants it."""
    return "\n".join(
        line[start:end] for line in text.splitlines() for start, end in split_sentences(line)
    )


def score_summary(prediction: str, reference: str) -> dict[str, float]:
    """Scores one summary against its reference.

    Both sides are split into sentences by `terraformer.sentence_splitter`.

    Args:
        prediction: The summary; an empty one scores 0.
        reference: The abstract.
    Returns:
        ROUGE-1, -2, -L (sentence order matters, whole text) and -Lsum (union over sentences) as F1
        with Porter stems, in percent; and the words of the prediction, split at white space.
    Source: rouge-score of Google Research, whose numbers these are.
    """
    scores = _SCORER.score(one_sentence_a_line(reference), one_sentence_a_line(prediction))
    values = {name: 100.0 * float(scores[name].fmeasure) for name in ROUGE_NAMES}
    return {**values, "words": float(len(prediction.split()))}


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
        ours, floor, ceiling: One score a document, [N], of three systems on the same documents.
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
