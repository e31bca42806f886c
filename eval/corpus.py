"""Papers as one long row of token ids, prepared once, to train small language models on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from finetune.data import find_split, to_document
from finetune.train_tokenizer import train_tokenizer
from terraformer.errors import DataError, DocumentError
from terraformer.tokenizer import EOS_ID, Tokenizer

TOKENIZER_FILE = "tokenizer.model"
_TOKENIZER_PAPERS = 400
_VALIDATION_TOKENS_OF_A_PAPER = 2048  # so that many papers speak


@dataclass(frozen=True)
class CorpusSettings:
    """What a corpus is made with.

    Attributes:
        vocab_size: Pieces of its tokenizer, which is trained on some of the training papers.
        n_train: Tokens of training papers.
        n_validation: Tokens of validation papers.
        seed: Of the order in which papers are taken.
    """

    vocab_size: int
    n_train: int
    n_validation: int
    seed: int = 0


class Windows(TorchDataset[NDArray[np.int64]]):
    """Windows of equal length over a row of tokens, which do not overlap.

    Args:
        tokens: [N]; what is left at the end is not used.
        length: Tokens of a window, L.
        seed: Of their order; None keeps that of the tokens.
    """

    def __init__(self, tokens: NDArray[np.uint16], length: int, seed: int | None = None) -> None:
        self._windows = tokens[: len(tokens) // length * length].reshape(-1, length)
        self._order = np.arange(len(self._windows))
        if seed is not None:
            np.random.default_rng(seed).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Returns the ids of a window, [L]."""
        return self._windows[self._order[index]].astype(np.int64)


def prepare_corpus(folder: Path, settings: CorpusSettings, data: str | None = None) -> None:
    """Writes tokenizer.model, train.npy and validation.npy, uint16, to `folder`.

    A folder that holds them, made with the same settings, is left alone.

    Args:
        folder: Where to; made if missing.
        settings: Sizes and order.
        data: Folder of the papers; see `finetune.data.find_split`.
    Raises:
        DataError: if the papers are not found or too few.
    """
    made_with = folder / "corpus.json"
    if made_with.exists() and json.loads(made_with.read_text()) == asdict(settings):
        return
    made_with.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    train, validation = (_shuffled(split, settings.seed, data) for split in ("train", "validation"))
    train_tokenizer(
        train.select(range(min(len(train), _TOKENIZER_PAPERS))),
        folder / TOKENIZER_FILE,
        vocab_size=settings.vocab_size,
        n_sentences=50_000,
        n_threads=2,
    )
    tokenizer = Tokenizer(folder / TOKENIZER_FILE)
    for name, rows, n_tokens, most in (
        ("train", train, settings.n_train, None),
        ("validation", validation, settings.n_validation, _VALIDATION_TOKENS_OF_A_PAPER),
    ):
        np.save(folder / f"{name}.npy", join_papers(rows, tokenizer, n_tokens, most))
    made_with.write_text(json.dumps(asdict(settings)))


def load_tokens(folder: Path, split: str) -> NDArray[np.uint16]:
    """Returns the tokens, [N], of a folder that `prepare_corpus` has filled."""
    return np.load(folder / f"{split}.npy", mmap_mode="r")


def _shuffled(split: str, seed: int, data: str | None) -> Dataset:
    rows = find_split(split, data)
    return rows.select(np.random.default_rng(seed).permutation(len(rows)))


def join_papers(
    rows: Dataset, tokenizer: Tokenizer, n_tokens: int, max_tokens: int | None = None
) -> NDArray[np.uint16]:
    """Returns the first `n_tokens` tokens of the papers, [n_tokens], each with its end.

    Args:
        rows: Papers, as `find_split` gives them; those without text are passed over.
        tokenizer: Of at most 65536 pieces.
        n_tokens: How many.
        max_tokens: Most of one paper, from its beginning; None takes all.
    Raises:
        DataError: if the papers have fewer.
    """
    parts: list[NDArray[np.uint16]] = []
    missing = n_tokens
    with tqdm(total=n_tokens, desc="tokens", unit_scale=True) as progress:
        for row in rows:
            ids = _ids(dict(row), tokenizer)[: min(missing, max_tokens or missing)]
            parts.append(ids)
            progress.update(len(ids))
            missing -= len(ids)
            if not missing:
                return np.concatenate(parts)
    raise DataError(f"the papers have only {n_tokens - missing} tokens, {n_tokens} are asked for")


def _ids(row: dict[str, Any], tokenizer: Tokenizer) -> NDArray[np.uint16]:
    try:
        ids = tokenizer.encode_document(to_document(row)).ids
    except DocumentError:
        return np.zeros(0, np.uint16)
    return np.append(ids, EOS_ID).astype(np.uint16)
