"""The tokens that ROUGE counts, as rouge-score makes them, with stems remembered."""

from __future__ import annotations

from functools import lru_cache

from nltk.stem.porter import PorterStemmer
from rouge_score import tokenize, tokenizers

_stem = lru_cache(maxsize=1 << 18)(PorterStemmer().stem)


class CachedStemmer:
    """A Porter stemmer that remembers words: stemming is most of the cost of ROUGE."""

    def stem(self, word: str) -> str:
        return _stem(word)


class RougeTokenizer(tokenizers.Tokenizer):
    """rouge-score's default tokenizer with stemming, several times faster on repeated words."""

    def tokenize(self, text: str) -> list[str]:
        """Returns the lower-cased, stemmed alphanumeric tokens of `text`."""
        return tokenize.tokenize(text, CachedStemmer())
