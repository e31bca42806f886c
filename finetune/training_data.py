"""The sets of training and validation: windows of text, or articles as a model takes them whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset as Table

from finetune.article import keep_whole, load_articles
from finetune.gap_sentences import GAP_SHARE, GapStrategy
from finetune.window import TokenWindows
from terraformer.errors import DataError
from terraformer.position_config import PositionsConfig, n_positions

N_EVALUATED = 200  # documents
N_EVALUATED_WINDOWS = 400


@dataclass(frozen=True)
class DataOptions:
    """Which data, and how much of them.

    Attributes:
        examples: Folder in which prepared papers are kept.
        limit: Only the first papers of each split, for a trial.
        max_tokens: Longer documents are left out of training; None keeps all.
        window: Most tokens of a window, for tasks that see documents through one.
        gap_share: See `choose_gaps`.
        gap_strategy: See `choose_gaps`.
        seed: Of what is drawn.
    """

    examples: Path
    limit: int | None = None
    max_tokens: int | None = None
    window: int = 512
    gap_share: float = GAP_SHARE
    gap_strategy: GapStrategy = "principal"
    seed: int = 0


def load_windows(
    folder: Path, window: int, *, with_end: bool, positions: PositionsConfig | None
) -> tuple[TokenWindows, TokenWindows]:
    """Returns the windows of training, and some of validation.

    Args:
        folder: Of prepared articles.
        window: Most tokens of a window.
        with_end: Whether an end-of-sequence follows each article.
        positions: Of the model.
    Raises:
        DataError: if the windows are longer than the positions, or there is no text.
    """
    most = n_positions(positions)
    if most is not None and window > most:
        raise DataError(
            f"windows of {window} tokens are longer than the model's {most} positions: "
            f"give --window {most}"
        )
    train, validation = (
        TokenWindows(
            load_articles(folder / f"{split}.parquet"), window, with_end=with_end, limit=limit
        )
        for split, limit in (("train", None), ("validation", N_EVALUATED_WINDOWS))
    )
    _check_not_empty(train, "text")
    return train, validation


def load_whole_articles(
    folder: Path,
    *,
    max_tokens: int | None,
    n_source: int | None,
    n_target: int | None,
    min_sentences: int = 1,
) -> tuple[Table, Table]:
    """Returns the articles of training and some of validation that a model takes whole.

    Args:
        folder: Of prepared articles.
        max_tokens: Longer articles are left out; None keeps all.
        n_source: Positions for the source, None for any number.
        n_target: The same for the abstract.
        min_sentences: Articles with fewer are left out.
    Raises:
        DataError: if no article is left to train with.
    """
    # An end-of-sequence follows.
    limits = [n for n in (max_tokens, n_source and n_source - 1) if n is not None]
    train, validation = (
        keep_whole(
            load_articles(folder / f"{split}.parquet"),
            min_sentences=min_sentences,
            max_tokens=min(limits, default=None),
            max_target=n_target and n_target - 1,
            limit=limit,
        )
        for split, limit in (("train", None), ("validation", N_EVALUATED))
    )
    _check_not_empty(train, f"article of at most {min(limits, default='any number of')} tokens")
    return train, validation


def _check_not_empty(data: TokenWindows | Table, what: str) -> None:
    if not len(data):
        raise DataError(f"there is nothing to train with: no {what} among the papers")
