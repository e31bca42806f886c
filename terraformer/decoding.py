"""Picking sentences one after another until the summary is long enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from terraformer.config import PickingConfig
from terraformer.features import FEATURE_NAMES
from terraformer.model import PickState, Source, Terraformer
from terraformer.section_kind import SectionKind
from terraformer.summary import Length

RELATIVE_WORDS = {"short": 0.5, "normal": 1.0, "long": 2.0}  # to those of a normal summary
_FINDINGS = [FEATURE_NAMES.index(f"in_{k}") for k in (SectionKind.METHODS, SectionKind.RESULTS)]


@dataclass(frozen=True)
class Pick:
    """A picked sentence.

    Attributes:
        sentence: Its index.
        n_words: Its words.
        stop_probability: What the model gave to stopping instead of picking it, in [0, 1].
    """

    sentence: int
    n_words: int
    stop_probability: float


@torch.inference_mode()
def iterate_picks(
    model: Terraformer,
    source: Source,
    vectors: sparse.csr_matrix,
    picking: PickingConfig | None = None,
    begun: tuple[torch.Tensor, PickState] | None = None,
) -> Iterator[Pick]:
    """Yields the greedy picks of one document, most wanted first, until none is left.

    Args:
        model: In evaluation mode.
        source: One document, without padding.
        vectors: L2-normalized tf-idf vectors of its sentences, [S, vocabulary].
        picking: In place of the model's own.
        begun: What `model.begin` returned for `source`; its state is used up.
    """
    picking = picking or model.config.picking
    similarity = np.zeros(source.n_words.shape[1], np.float32)  # to the nearest picked sentence
    bonus = picking.findings_bonus * source.features[0, :, _FINDINGS].sum(dim=-1).cpu()
    words, n_left = source.n_words[0].tolist(), int(source.selectable.sum())
    logits, state = begun or model.begin(source)
    while n_left:
        logits = logits.cpu()
        stop_probability = float(torch.softmax(logits[0], dim=-1)[-1])
        penalty = picking.redundancy_penalty * torch.from_numpy(similarity)
        sentence = int((logits[0, :-1] + bonus - penalty).argmax())
        n_words = words[sentence]
        yield Pick(sentence, n_words, stop_probability)
        n_left -= 1
        if n_left:
            to_pick = (vectors @ vectors[sentence].T).toarray().ravel()
            similarity = np.maximum(similarity, to_pick)
            logits, state = model.step(sentence, n_words, state)


def stops_at(picks: Sequence[Pick], picking: PickingConfig) -> int:
    """Returns how many of `picks` a summary of normal length takes."""
    for count, pick in enumerate(picks):
        if _stops_before(pick, count, picking):
            return count
    return len(picks)


def _stops_before(pick: Pick, n_picks: int, picking: PickingConfig) -> bool:
    """Whether a summary of normal length ends with `n_picks` sentences rather than takes `pick`."""
    return n_picks > 0 and (
        pick.stop_probability >= picking.stop_threshold or n_picks >= picking.max_picks
    )


def pick_sentences(
    model: Terraformer, source: Source, vectors: sparse.csr_matrix, length: Length | int = "normal"
) -> list[int]:
    """Returns the sentences of a summary in the order of picking.

    Args:
        model: In evaluation mode.
        source: One document, without padding.
        vectors: See `iterate_picks`.
        length: "normal" ends where the model stops; "short" and "long" are half and twice its
            words; a number is the words wanted. Words are met as nearly as whole sentences allow.
    """
    picking = model.config.picking
    picks: list[Pick] = []
    target = length if isinstance(length, int) else None
    stopped = False
    for pick in iterate_picks(model, source, vectors):
        if not stopped and target is None:
            stopped = _stops_before(pick, len(picks), picking)
            if stopped:
                if length != "long":
                    break
                target = round(RELATIVE_WORDS["long"] * sum(taken.n_words for taken in picks))
        if target is not None and not _nearer(picks, pick, target):
            break
        picks.append(pick)
    if length == "short":
        picks = _cut(picks, RELATIVE_WORDS["short"] * sum(pick.n_words for pick in picks))
    return [pick.sentence for pick in picks]


def _nearer(picks: list[Pick], pick: Pick, target: float) -> bool:
    """Whether taking `pick` brings the summary nearer to `target` words; the first is taken."""
    words = sum(taken.n_words for taken in picks)
    return not picks or abs(words + pick.n_words - target) < abs(words - target)


def _cut(picks: list[Pick], target: float) -> list[Pick]:
    kept: list[Pick] = []
    for pick in picks:
        if not _nearer(kept, pick, target):
            break
        kept.append(pick)
    return kept
