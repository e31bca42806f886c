from __future__ import annotations

import pytest
import torch

from finetune.gpu.recipe import Recipe
from finetune.gpu.writer import write_greedily
from finetune.shards import Manifest
from terraformer.build import build_model
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.generation import FreeEnding, WritingRules, iterate_tokens
from terraformer.repetition import TrigramBlock
from terraformer.tokenizer import EOS_ID, PAD_ID
from terraformer.writing_config import WritingConfig

RULES = WritingRules(FreeEnding(), 30, TrigramBlock)


@pytest.fixture(scope="module")
def model() -> EncoderDecoder:
    torch.manual_seed(0)
    made = build_model(Recipe.load("tiny").config(Manifest(64, "", 0, ()))).eval()
    assert isinstance(made, EncoderDecoder)
    return made


def sources() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(3, 64, (3, 40))
    return ids, torch.arange(40) < torch.tensor([40, 25, 33])[:, None]


def test_a_text_is_written_alike_alone_and_among_others(model: EncoderDecoder) -> None:
    ids, mask = sources()
    texts = write_greedily(model, ids, mask, RULES)
    for row, text in enumerate(texts):
        length = int(mask[row].sum())
        alone = write_greedily(
            model, ids[row : row + 1, :length], mask[row : row + 1, :length], RULES
        )
        assert alone == [text]


def test_each_piece_is_the_likeliest_that_repeats_no_trigram(model: EncoderDecoder) -> None:
    ids, mask = sources()
    text = write_greedily(model, ids, mask, RULES)[0]
    assert len(text) > 10
    trigrams = list(zip(text, text[1:], text[2:], strict=False))
    assert len(set(trigrams)) == len(trigrams)
    target = torch.tensor([[*text, EOS_ID]])
    with torch.no_grad():
        logits = model.logits(ids[:1], target)[0]
    for place, piece in enumerate(text):
        better = set((logits[place] > logits[place, piece] + 1e-4).nonzero()[:, 0].tolist())
        before = text[:place]
        repeated = {
            c
            for a, b, c in zip(before, before[1:], before[2:], strict=False)
            if [a, b] == before[-2:]
        }
        assert better <= repeated | {PAD_ID}


def test_the_end_is_not_written(model: EncoderDecoder) -> None:
    ids, mask = sources()
    model.head.bias.data[EOS_ID] = 1e4
    try:
        assert write_greedily(model, ids, mask, RULES) == [[], [], []]
    finally:
        model.head.bias.data[EOS_ID] = 0.0


def test_texts_of_a_batch_are_those_of_the_product(model: EncoderDecoder) -> None:
    ids, mask = sources()
    texts = write_greedily(model, ids, mask, RULES)
    for row, text in enumerate(texts):
        source = ids[row : row + 1, : int(mask[row].sum())]
        assert text == list(iterate_tokens(model, source, WritingConfig(), RULES))
