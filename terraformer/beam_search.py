"""Beam search: the best text of several that are written side by side."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from terraformer.generation import Decoder, WritingRules
from terraformer.passage import Passage
from terraformer.repetition import TrigramBlock
from terraformer.tokenizer import EOS_ID
from terraformer.writing_config import WritingConfig


class BeamText(NamedTuple):
    """A text of a beam.

    Attributes:
        score: Its log-probability, less the penalties for leaving passages, over the length
            penalty.
        ids: Its tokens.
        finished: Whether it has come to its end.
    """

    score: float
    ids: list[int]
    finished: bool


@dataclass
class _Branch:
    ids: list[int]
    log_probability: float
    logits: Tensor
    state: Any
    block: TrigramBlock | None
    passage: Passage | None


class _Candidate(NamedTuple):
    log_probability: float
    parent: _Branch
    token: int


def iterate_beam(
    decoder: Decoder, source_ids: Tensor, config: WritingConfig, rules: WritingRules
) -> Generator[int, None, BeamText]:
    """Searches the text with the best score, and yields its tokens as they become certain.

    A token is certain once all texts that may still win have it at its place.

    The search ends when as many texts are finished as the beam is wide, and none that is still
    being written scores better than the worst of them at its present length.

    Args:
        decoder: In evaluation.
        source_ids: [1, S], int64.
        config: Width of the beam and length penalty.
        rules: What the text must obey; blocked tokens leave their probability to none.
    Returns:
        The text.
    Source: Wu et al. 2016, arXiv:1609.08144, equation 14, for the length penalty
        ((5 + n) / 6) ** alpha; without its coverage penalty.
    """
    logits, state = decoder.begin(source_ids)
    block = rules.new_block() if rules.new_block else None
    passage = rules.new_passage() if rules.new_passage else None
    beam = [_Branch([], 0.0, logits, state, block, passage)]
    finished: list[BeamText] = []
    n_certain = 0
    while beam:
        candidates = [each for branch in beam for each in _candidates(branch, config, rules)]
        candidates.sort(key=lambda each: -each.log_probability)
        going_on: list[_Candidate] = []
        for rank, each in enumerate(candidates):
            ids = each.parent.ids
            if rules.ending.ends(ids, each.token):
                if rank < config.beam_size:
                    finished.append(_text(each.log_probability, ids, config, finished=True))
            elif len(ids) < rules.max_tokens and len(going_on) < config.beam_size:
                going_on.append(each)
        finished = sorted(finished, key=lambda text: -text.score)[: config.beam_size]
        if len(finished) == config.beam_size and going_on:
            best = going_on[0]
            score = _text(best.log_probability, [*best.parent.ids, best.token], config).score
            if score <= finished[-1].score:
                break
        if not going_on and not finished:
            finished = [_text(branch.log_probability, branch.ids, config) for branch in beam]
        beam = _go_on(decoder, going_on, source_ids.device)
        certain = _agreed([*beam, *finished], n_certain)
        yield from certain
        n_certain += len(certain)
    best_text = max(finished, key=lambda text: text.score)
    yield from best_text.ids[n_certain:]
    return best_text


def _agreed(texts: Sequence[_Branch | BeamText], start: int) -> list[int]:
    """Returns the tokens from `start` on that all texts have in common."""
    places = zip(*(text.ids[start:] for text in texts), strict=False)
    return [tokens[0] for tokens in takewhile(lambda tokens: len(set(tokens)) == 1, places)]


def _candidates(branch: _Branch, config: WritingConfig, rules: WritingRules) -> list[_Candidate]:
    """The likeliest next tokens of a text: enough that as many go on as the beam is wide."""
    allowed = rules.allowed(branch.logits[0], branch.ids, branch.block, branch.passage)
    logs = rules.discouraged(branch.logits[0].float().log_softmax(dim=-1), branch.passage)
    logs = torch.where(allowed.isinf(), -torch.inf, logs)
    if len(branch.ids) == rules.max_tokens:
        logs[torch.arange(len(logs), device=logs.device) != EOS_ID] = -torch.inf
    best, tokens = logs.topk(min(2 * config.beam_size, len(logs)))
    return [
        _Candidate(branch.log_probability + log, branch, token)
        for log, token in zip(best.tolist(), tokens.tolist(), strict=True)
        if log > -torch.inf
    ]


def _go_on(decoder: Decoder, candidates: list[_Candidate], device: torch.device) -> list[_Branch]:
    """Reads the token of each candidate; the last child of a parent takes its state over."""
    left: dict[int, int] = {}
    for each in candidates:
        left[id(each.parent)] = left.get(id(each.parent), 0) + 1
    beam: list[_Branch] = []
    for each in candidates:
        parent = each.parent
        left[id(parent)] -= 1
        carried = parent.state, parent.block, parent.passage
        state, block, passage = deepcopy(carried) if left[id(parent)] else carried
        if block is not None:
            block.add(each.token)
        if passage is not None:
            passage.add(each.token)
        logits, state = decoder.step(torch.tensor([each.token], device=device), state)
        ids = [*parent.ids, each.token]
        beam.append(_Branch(ids, each.log_probability, logits, state, block, passage))
    return beam


def _text(
    log_probability: float, ids: list[int], config: WritingConfig, finished: bool = False
) -> BeamText:
    """A text with its score; its end counts as a token."""
    n_tokens = len(ids) + finished
    return BeamText(log_probability / ((5 + n_tokens) / 6) ** config.length_penalty, ids, finished)
