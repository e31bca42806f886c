from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from terraformer.batch import SourceArrays, collate
from terraformer.document import Document
from terraformer.tokenizer import Tokenizer

DOCUMENTS = [
    Document.from_sections([("A", "Rivers carry sediment to the sea. No.")]),
    Document.from_sections(
        [("", "Dams. They hold the sediment back for years. Deltas sink then.")]
    ),
]


def test_padding_stands_at_the_end_and_is_masked(tiny_checkpoint: Path) -> None:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    arrays = [SourceArrays.of(document, tokenizer) for document in DOCUMENTS]
    source = collate(arrays)
    for row, one in enumerate(arrays):
        n_tokens, n_sentences = len(one.ids), len(one.n_words)
        assert source.token_mask[row].sum() == n_tokens
        assert source.sentence_mask[row].sum() == n_sentences
        np.testing.assert_array_equal(source.ids[row, :n_tokens], one.ids)
        np.testing.assert_array_equal(
            source.sentence_of_token[row, :n_tokens], one.sentence_of_token
        )
        np.testing.assert_array_equal(source.features[row, :n_sentences], one.features)
        np.testing.assert_array_equal(source.selectable[row, :n_sentences], one.selectable)
        np.testing.assert_array_equal(source.n_words[row, :n_sentences], one.n_words)
        assert not source.token_mask[row, n_tokens:].any()
        assert not source.ids[row, n_tokens:].any()
        assert (source.sentence_of_token[row, n_tokens:] == -1).all()
        assert not source.selectable[row, n_sentences:].any()
        assert not source.n_words[row, n_sentences:].any()
    assert source.n_words.tolist() == [[6, 1, 0], [1, 7, 3]]
    assert (source.ids.dtype, source.features.dtype) == (torch.int64, torch.float32)
