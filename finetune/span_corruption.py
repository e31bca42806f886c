"""Span corruption: spans of the text give way to sentinels, and the target holds what was lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from finetune.window import TokenWindows
from terraformer.tokenizer import EOS_ID

NOISE_DENSITY = 0.15
MEAN_SPAN_LENGTH = 3.0


class TokenPair(NamedTuple):
    """What an encoder reads and what its decoder is to write, both ended by end-of-sequence.

    Attributes:
        source_ids: [S], int64.
        target_ids: [T], int64.
    """

    source_ids: NDArray[np.int64]
    target_ids: NDArray[np.int64]


def draw_spans(
    length: int,
    random: np.random.Generator,
    *,
    noise_density: float = NOISE_DENSITY,
    mean_span_length: float = MEAN_SPAN_LENGTH,
) -> NDArray[np.bool_]:
    """Draws which tokens are noise, in spans; the first token never is, the last always.

    How many tokens and spans there are hangs on `length` alone. All masks with these numbers are
    equally likely.

    Args:
        length: Tokens, L, at least 2.
        random: Source of the choice.
        noise_density: Share of the tokens that are noise, in (0, 1).
        mean_span_length: Tokens of a span of noise, on average.
    Returns:
        Mask, [L], True for noise.
    Raises:
        ValueError: if `length` is below 2.
    Source: Raffel et al. 2020, arXiv:1910.10683, section 3.3.4; trax, MLM.
    """
    if length < 2:
        raise ValueError(f"length ({length}) must be at least 2")
    n_noise = min(max(round(length * noise_density), 1), length - 1)
    n_spans = min(max(round(n_noise / mean_span_length), 1), n_noise, length - n_noise)
    lengths = np.empty((n_spans, 2), np.int64)  # kept tokens, then noise
    for column, n_tokens in enumerate((length - n_noise, n_noise)):
        cuts = np.sort(random.choice(n_tokens - 1, n_spans - 1, replace=False)) + 1
        lengths[:, column] = np.diff(cuts, prepend=0, append=n_tokens)
    return np.repeat(np.tile([False, True], n_spans), lengths.ravel())


def corrupt(ids: NDArray[np.int64], noise: NDArray[np.bool_], vocab_size: int) -> TokenPair:
    """Replaces the spans of noise in the source, and those between them in the target.

    Span k, counted from 0, is replaced by the sentinel vocab_size - 1 - k; the same sentinel stands
    in the target before the tokens of that span. The sentinels are the tokenizer's last pieces, its
    rarest, which the text may hold too, as in the published code.

    Args:
        ids: Token ids, [L].
        noise: From `draw_spans`, [L].
        vocab_size: Pieces of the tokenizer.
    Source: trax, MLM.
    """
    return TokenPair(
        _replace_spans(ids, noise, vocab_size), _replace_spans(ids, ~noise, vocab_size)
    )


def _replace_spans(
    ids: NDArray[np.int64], replaced: NDArray[np.bool_], vocab_size: int
) -> NDArray[np.int64]:
    starts = replaced & ~np.append(False, replaced[:-1])
    with_sentinels = np.where(starts, vocab_size - starts.cumsum(), ids)
    return np.append(with_sentinels[starts | ~replaced], EOS_ID)


class CorruptedWindows(Dataset[TokenPair]):
    """Windows of text, corrupted anew at every epoch, but always the same for a seed.

    Args:
        windows: The text, without end-of-sequences.
        vocab_size: Pieces of the tokenizer.
        seed: Of the noise.
    Differs: windows of a document are of like length, where the published chunks are full but the
        last; a batch is padded to the longest of it, not to 512 and 256 always.
    """

    def __init__(self, windows: TokenWindows, vocab_size: int, seed: int) -> None:
        self._windows = windows
        self._vocab_size = vocab_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tells the epoch that begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> TokenPair:
        ids = self._windows[index]
        random = np.random.default_rng((self._seed, self._epoch, index))
        return corrupt(ids, draw_spans(len(ids), random), self._vocab_size)
