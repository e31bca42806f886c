"""A written summary as it grows, each sentence held against the document."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from terraformer.alignment import Alignment
from terraformer.document import Document
from terraformer.sentence_splitter import split_sentences
from terraformer.summary import SourceSentence, SummarySentence, Written
from terraformer.support import SourceSupport
from terraformer.written_text import iterate_pieces


class Check:
    """What a document says of written sentences: their sources, and what it does not hold."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._support = SourceSupport(f"{document.title}\n\n{document.text}")
        self._alignment = Alignment([sentence.text for sentence in document.sentences])
        self.lacks = lru_cache(maxsize=512)(self._lacks)

    def sentence(self, text: str) -> SummarySentence:
        """Returns a written sentence with what stands behind it."""
        sources = [
            SourceSentence.of(self._document, index) for index in self._alignment.sources(text)
        ]
        return SummarySentence.of(text, sources, self.lacks(text))

    def count_supported(self, text: str) -> int:
        """Counts the words of the sentences in which nothing is unsupported."""
        sentences = (text[start:end] for start, end in split_sentences(text))
        return sum(len(each.split()) for each in sentences if not self.lacks(each))

    def _lacks(self, text: str) -> tuple[str, ...]:
        unsupported = self._support.lacks(text)
        return tuple(dict.fromkeys((*unsupported.numbers, *unsupported.names)))


class Draft:
    """A summary as it grows."""

    def __init__(self, check: Check, strict: bool, written: Written | None) -> None:
        self.sentences: list[SummarySentence] = []
        self.left_out: list[SummarySentence] = []
        self.finished = True
        self._check = check
        self._strict = strict
        self._written = written or _ignore

    def write(self, words: Iterator[str]) -> bool:
        """Takes in all words; returns whether the text came to its end."""
        text = ""
        for piece in iterate_pieces(words):
            if not self._strict and piece.text:
                self._written(self._space(text) + piece.text, None)
            text += piece.text
            if piece.ends_sentence:
                self._finish(text)
                text = ""
        return self.finished

    def _finish(self, text: str) -> None:
        sentence = self._check.sentence(text)
        if self._strict and sentence.unsupported:
            self.left_out.append(sentence)
            return
        self._written(self._space("") + text if self._strict else "", sentence)
        self.sentences.append(sentence)

    def _space(self, text: str) -> str:
        return " " if self.sentences and not text else ""

    @property
    def notes(self) -> list[str]:
        """What a reader should know about what the document does not hold."""
        if self.left_out:
            n_written = len(self.sentences) + len(self.left_out)
            return [
                f"{len(self.left_out)} of {n_written} sentences are left out: the document does "
                f"not hold {_listed(self.left_out)}"
            ]
        marked = [sentence for sentence in self.sentences if sentence.unsupported]
        if marked:
            return [
                f"{len(marked)} of {len(self.sentences)} sentences are marked: the document does "
                f"not hold {_listed(marked)}; --strict leaves them out"
            ]
        return []


def _listed(sentences: list[SummarySentence]) -> str:
    return ", ".join(dict.fromkeys(item for each in sentences for item in each.unsupported))


def _ignore(text: str, sentence: SummarySentence | None) -> None:
    """Tells nobody."""
