"""Trains the tokenizer on the training split: `python -m finetune.train_tokenizer OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import sentencepiece as spm
from datasets import Dataset
from tqdm import tqdm

from finetune.command import exit_status
from finetune.data import find_split
from terraformer.tokenizer import EOS_ID, PAD_ID, UNK_ID


def paragraphs(rows: Iterable[dict[str, Any]], max_characters: int) -> Iterator[str]:
    """Yields abstracts and the paragraphs of the articles, line by line."""
    for row in tqdm(rows, desc="reading"):
        yield row["abstract"]
        texts = [row["article"]] if row.get("article") else [s["text"] for s in row["sections"]]
        for text in texts:
            for line in text.splitlines():
                for start in range(0, len(line), max_characters):
                    yield line[start : start + max_characters]


def train_tokenizer(
    rows: Dataset, path: Path, *, vocab_size: int, n_sentences: int, n_threads: int
) -> None:
    """Trains a unigram model with byte fallback and writes it to `path`.

    Args:
        rows: Papers, as `find_split` gives them.
        path: The model file to write.
        vocab_size: Pieces, bytes and control symbols included.
        n_sentences: Lines sampled for training.
        n_threads: Threads of the trainer.
    """
    with path.open("wb") as model:
        spm.SentencePieceTrainer.train(
            sentence_iterator=paragraphs(cast(Iterable[dict[str, Any]], rows), max_characters=2000),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            byte_fallback=True,
            normalization_rule_name="nmt_nfkc",
            split_digits=True,
            character_coverage=0.9995,
            user_defined_symbols=["<dig>"],
            pad_id=PAD_ID,
            eos_id=EOS_ID,
            unk_id=UNK_ID,
            bos_id=-1,
            input_sentence_size=n_sentences,
            shuffle_input_sentence=True,
            max_sentence_length=8000,
            num_threads=n_threads,
            minloglevel=1,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="model file to write, such as tokenizer.model")
    parser.add_argument("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    parser.add_argument("--vocab-size", type=int, default=24576)
    parser.add_argument("--sentences", type=int, default=250_000, help="lines sampled")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    return exit_status("finetune.train_tokenizer", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    train_tokenizer(
        find_split("train", arguments.data),
        arguments.path,
        vocab_size=arguments.vocab_size,
        n_sentences=arguments.sentences,
        n_threads=arguments.threads,
    )


if __name__ == "__main__":
    sys.exit(main())
