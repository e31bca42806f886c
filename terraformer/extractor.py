"""Summaries of sentences that are picked from the document."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from terraformer.batch import SourceArrays, collate
from terraformer.decoding import RELATIVE_WORDS, Pick, iterate_picks, pick_sentences, stops_at
from terraformer.document import Document
from terraformer.memory import apply_plan, plan_memory
from terraformer.model import Source, Terraformer
from terraformer.quotation import quoted
from terraformer.similarity import tf_idf
from terraformer.summary import (
    Length,
    Progress,
    SourceSentence,
    Summary,
    SummaryOptions,
    SummarySentence,
)
from terraformer.tokenizer import Tokenizer


class Extractor:
    """Picks the sentences of a document that say most.

    Args:
        model: In evaluation.
        tokenizer: Of the model.
        memory: Budget in bytes for the whole process; None sets no limit.
    """

    def __init__(self, model: Terraformer, tokenizer: Tokenizer, memory: int | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.memory = memory

    def summarize(self, document: Document, options: SummaryOptions, report: Progress) -> Summary:
        """Makes a summary of picked sentences.

        Raises:
            MemoryBudgetError: if the document does not fit the memory budget.
        """
        report("reading the sentences", 0, 3)
        source = self._read(document)
        report("encoding", 1, 3)
        vectors = tf_idf([sentence.text for sentence in document.sentences])
        picks = pick_sentences(self.model, source, vectors, options.length)
        report("picking sentences", 3, 3)
        if options.order == "document":
            picks = sorted(picks)
        return Summary(
            title=document.title,
            sentences=tuple(
                SummarySentence.of(
                    quoted(document.sentences[index].text),
                    [SourceSentence.of(document, index)],
                )
                for index in picks
            ),
            notes=document.notes,
        )

    def rank(self, document: Document) -> Iterator[Pick]:
        """Yields picks of a document, the most wanted first, until none is left.

        Raises:
            MemoryBudgetError: if the document does not fit the memory budget.
        """
        source = self._read(document)
        vectors = tf_idf([sentence.text for sentence in document.sentences])
        yield from iterate_picks(self.model, source, vectors)

    def rank_for(self, document: Document, length: Length | int) -> tuple[int, Iterator[Pick]]:
        """Returns how many words a summary of some length has, and the picks of `rank`.

        Raises:
            MemoryBudgetError: if the document does not fit the memory budget.
        """
        ranking = self.rank(document)
        if isinstance(length, int):
            return length, ranking
        picks, picking = list[Pick](), self.model.config.picking
        for pick in ranking:
            picks.append(pick)
            if stops_at(picks, picking) < len(picks):
                break
        n_words = sum(pick.n_words for pick in picks[: stops_at(picks, picking)])
        return max(1, round(RELATIVE_WORDS[length] * n_words)), chain(picks, ranking)

    def _read(self, document: Document) -> Source:
        source = collate([SourceArrays.of(document, self.tokenizer)])
        device = self.model.start.device
        plan = plan_memory(
            self.model.config,
            source.ids.shape[1],
            source.n_words.shape[1],
            self.memory,
            device=device,
        )
        apply_plan(plan, self.model)
        return Source(*(item.to(device) for item in source))
