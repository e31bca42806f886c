from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from finetune.rouge_tokens import RougeTokenizer

WORDS = st.sampled_from(
    "running flies was studies <dig> Naïve p-value 3.5 the généralisé X2".split()
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=20).map(" ".join)))
def test_tokens_are_those_of_rouge_score(text: str) -> None:
    assert RougeTokenizer().tokenize(text) == DefaultTokenizer(use_stemmer=True).tokenize(text)
