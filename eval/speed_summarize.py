"""Times of whole summaries, the model being loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from eval.synthetic import synthetic_document
from eval.timing import spread, time_calls
from terraformer.summarizer import Summarizer


def measure_summarize(
    summarizer: Summarizer, sizes: Sequence[int], n_repeats: int
) -> list[dict[str, Any]]:
    """Times whole summaries of synthetic documents.

    Args:
        summarizer: The system.
        sizes: Words of the documents.
        n_repeats: Most timed calls of each.
    Returns:
        One row a size: words, sentences and tokens of the document, and milliseconds.
    """
    rows = []
    for n_words in tqdm(sizes, desc="documents", file=sys.stderr):
        document = synthetic_document(n_words)
        seconds = time_calls(lambda document=document: summarizer.summarize(document), n_repeats)
        rows.append(
            {
                "name": f"summarize-{n_words}-words",
                "words": n_words,
                "sentences": len(document.sentences),
                "tokens": len(summarizer.tokenizer.encode_document(document).ids),
                "threads": torch.get_num_threads(),
                **spread("ours", seconds),
            }
        )
    return rows
