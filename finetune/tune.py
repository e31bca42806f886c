"""Tunes how picks are made, on validation: `python -m finetune.tune CHECKPOINT_FOLDER`.

Tries stop thresholds, redundancy penalties and bonuses of methods and results, prints the table,
and writes the best into the checkpoint's config.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import astuple, dataclass, replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from finetune.command import exit_status
from finetune.data import find_split, group_of, to_document
from finetune.oracle import NGramOverlap
from finetune.rouge_tokens import RougeTokenizer
from terraformer.batch import SourceArrays, collate
from terraformer.checkpoint import CONFIG_FILE, load_checkpoint
from terraformer.config import PickingConfig
from terraformer.decoding import Pick, iterate_picks, stops_at
from terraformer.document import Document
from terraformer.model import Terraformer
from terraformer.similarity import tf_idf
from terraformer.tokenizer import Tokenizer

STOP_THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
REDUNDANCY_PENALTIES = (0.0, 1.0, 2.0, 3.0)
FINDINGS_BONUSES = (0.0, 0.45)
MAX_PICKS = 24


@dataclass(frozen=True)
class Setting:
    """How to pick, with the mean scores over groups, in percent, and the words of a summary."""

    picking: PickingConfig
    rouge1: float
    rouge2: float
    words: float

    @property
    def score(self) -> float:
        return (self.rouge1 + self.rouge2) / 2


def validation_papers(
    limit: int, data: str | Path | None = None
) -> list[tuple[str, Document, str]]:
    """Returns at most `limit` papers spread over the validation split: (group, paper, abstract)."""
    rows = find_split("validation", data)
    step = -(-len(rows) // limit)
    return [
        (group_of(row["origin"]), to_document(row), row["abstract"])
        for row in rows.select(range(0, len(rows), step)).to_list()
    ]


def prefix_scores(picks: Sequence[Pick], document: Document, reference: str) -> NDArray:
    """Returns ROUGE-1 and ROUGE-2 F1 after 1, 2, … picks, [n_picks, 2], in [0, 1]."""
    tokenizer = RougeTokenizer()
    tokens = [tokenizer.tokenize(document.sentences[pick.sentence].text) for pick in picks]
    columns = []
    for n in (1, 2):
        overlap = NGramOverlap(tokens, tokenizer.tokenize(reference), n)
        columns.append(overlap.f1(overlap.counts.cumsum(axis=0), overlap.lengths.cumsum()))
    return np.stack(columns, axis=1)


def tune(
    model: Terraformer,
    tokenizer: Tokenizer,
    papers: Sequence[tuple[str, Document, str]],
) -> list[Setting]:
    """Scores every combination of settings.

    Args:
        model: In evaluation mode.
        tokenizer: Of the model.
        papers: (group, document, abstract) triples; every group counts the same.
    Returns:
        All settings, the best first.
    """
    groups = sorted({group for group, _, _ in papers})
    # (R1, R2, words) of each paper, by setting and group
    outcomes: defaultdict[tuple[PickingConfig, str], list[tuple[float, float, float]]]
    outcomes = defaultdict(list)
    for group, document, abstract in tqdm(papers, desc="papers", file=sys.stderr):
        source = collate([SourceArrays.of(document, tokenizer)])
        vectors = tf_idf([sentence.text for sentence in document.sentences])
        begun = model.begin(source)
        for penalty, bonus in product(REDUNDANCY_PENALTIES, FINDINGS_BONUSES):
            picking = PickingConfig(1.0, penalty, bonus, MAX_PICKS)
            picks = iterate_picks(model, source, vectors, picking, deepcopy(begun))
            picks = list(islice(picks, MAX_PICKS))
            scores = prefix_scores(picks, document, abstract)
            words = np.cumsum([pick.n_words for pick in picks])
            for threshold in STOP_THRESHOLDS:
                tried = replace(picking, stop_threshold=threshold)
                last = stops_at(picks, tried) - 1
                outcomes[tried, group].append(
                    (float(scores[last, 0]), float(scores[last, 1]), float(words[last]))
                )
    settings = []
    for picking in {picking for picking, _ in outcomes}:
        means = np.mean([np.mean(outcomes[picking, group], axis=0) for group in groups], axis=0)
        settings.append(Setting(picking, 100 * means[0], 100 * means[1], float(means[2])))
    return sorted(settings, key=lambda setting: (-setting.score, astuple(setting.picking)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="checkpoint folder, changed in place")
    parser.add_argument("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    parser.add_argument("--limit", type=int, default=240, help="most validation papers to use")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    return exit_status("finetune.tune", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, tokenizer = load_checkpoint(arguments.folder)
    settings = tune(model, tokenizer, validation_papers(arguments.limit, arguments.data))
    print(f"{'stop':>6} {'penalty':>8} {'bonus':>6} {'R1':>6} {'R2':>6} {'words':>6}")
    for setting in settings[:12]:
        picking = setting.picking
        print(
            f"{picking.stop_threshold:6.2f} {picking.redundancy_penalty:8.1f}"
            f" {picking.findings_bonus:6.2f}"
            f" {setting.rouge1:6.2f} {setting.rouge2:6.2f} {setting.words:6.0f}"
        )
    model.config = replace(model.config, picking=settings[0].picking)
    path = arguments.folder / CONFIG_FILE
    path.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
