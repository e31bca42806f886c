"""Summaries that are written, each sentence held against the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial

import torch

from terraformer.decoding import RELATIVE_WORDS
from terraformer.document import Document
from terraformer.draft import Check, Draft
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.extractor import Extractor
from terraformer.fast_decoding import fast_or_plain
from terraformer.generation import Decoder, FreeEnding, WritingRules, iterate_tokens
from terraformer.graphed_decoding import graphed_or_plain
from terraformer.length_goal import LengthGoal, LengthLimit
from terraformer.memory import apply_plan, plan_writing
from terraformer.passage import Passage
from terraformer.position_config import n_positions
from terraformer.repetition import TrigramBlock
from terraformer.summary import (
    Length,
    Progress,
    Summary,
    SummaryOptions,
    Written,
)
from terraformer.tokenizer import Tokenizer
from terraformer.writer_source import WriterSource, extracted_source, whole_source
from terraformer.writing_config import WritingConfig
from terraformer.written_text import iterate_words

_ENOUGH = 0.8  # share of the words asked for below which it is told


class Writer:
    """Writes summaries.

    Args:
        model: In evaluation, on the CPU or a GPU.
        tokenizer: Of the model.
        extractor: Returns what picks the sentences that a rewriting model reads.
        memory: Budget in bytes for the whole process, on a GPU for torch there; None sets no limit.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        tokenizer: Tokenizer,
        extractor: Callable[[], Extractor],
        memory: int | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.memory = memory
        self._extractor = extractor
        self._on_gpu: Decoder | None = None

    def summarize(
        self,
        document: Document,
        options: SummaryOptions,
        report: Progress,
        written: Written | None = None,
    ) -> Summary:
        """Writes a summary.

        Args:
            document: What is summarized.
            options: Length, strictness and settings of writing.
            report: Called as the work goes on.
            written: Called with the text as it is written, and with each complete sentence; what it
                is told, joined, is the summary's text.
        Raises:
            MemoryBudgetError: if source and summary do not fit the memory budget.
        """
        config = options.writing or self.model.config.writing
        if self.memory is not None:
            self._on_gpu = None  # what it holds would be counted beside what takes its place
        report("reading the document", 0, 3)
        is_given = options.length != "normal"
        source = self.source(document, config, options.length)
        check = Check(document)
        count = check.count_supported if options.strict else None
        if source.n_words is None:
            ending = FreeEnding(max(1, config.min_tokens))
        else:
            kind = LengthGoal if is_given else LengthLimit
            ending = kind(source.n_words, self.tokenizer, count)
        rules = self._rules(ending, config)
        if config.departure_penalty:
            passage = partial(Passage, source.ids[0].numpy(), source.begins)
            rules = replace(rules, new_passage=passage, departure_penalty=config.departure_penalty)
        n_target = rules.max_tokens * config.beam_size
        size = source.ids.shape[1], n_target
        plan = plan_writing(self.model.config, *size, self.memory, device=self._device)
        apply_plan(plan, self.model)
        report("writing", 1, 3)
        draft = Draft(check, options.strict, written)
        finished = draft.write(self._words(source, config, rules, draft))
        report("writing", 3, 3)
        notes = [*document.notes, *source.notes, *draft.notes]
        if not finished:
            notes.append(
                f"the summary was broken off after {rules.max_tokens:,} tokens, without an end"
            )
        summary = Summary(document.title, tuple(draft.sentences), tuple(notes), "abstract")
        wanted = source.n_words if is_given and finished else None
        if wanted is not None and summary.n_words < _ENOUGH * wanted:
            note = (
                f"the summary has {summary.n_words:,} of {wanted:,} words: the model found no more "
                "to say; --mode extract picks as many as are wanted"
            )
            summary = replace(summary, notes=(*notes, note))
        return summary

    def source(
        self, document: Document, config: WritingConfig, length: Length | int = "normal"
    ) -> WriterSource:
        """Returns what the model reads of a document.

        Args:
            document: What is summarized.
            config: Says how much is read.
            length: Of the summary: a model that rewrites reads more for more words.
        """
        positions = n_positions(self.model.config.source_positions)
        limits = [limit for limit in (positions, config.max_source) if limit is not None]
        limit = min(limits, default=None)
        tokenized = self.tokenizer.encode_document(document)
        if config.n_extracted is None:
            source = whole_source(document, tokenized, limit)
            return replace(source, n_words=_wanted_words(length, config))
        return extracted_source(
            tokenized,
            document,
            self._extractor(),
            length,
            tokens_per_word=config.n_extracted / config.typical_words,
            limit=limit,
        )

    def _words(
        self, source: WriterSource, config: WritingConfig, rules: WritingRules, draft: Draft
    ) -> Iterator[str]:
        def tokens() -> Iterator[int]:
            decoder = self._decoder(config, rules.max_tokens)
            source_ids = source.ids.to(self._device)
            draft.finished = yield from iterate_tokens(decoder, source_ids, config, rules)

        return iterate_words(tokens(), self.tokenizer)

    def _rules(self, ending: FreeEnding | LengthGoal, config: WritingConfig) -> WritingRules:
        max_tokens = ending.max_tokens if isinstance(ending, LengthGoal) else config.max_tokens
        positions = n_positions(self.model.config.target_positions)
        if positions is not None:
            max_tokens = min(max_tokens, positions - 1)  # the first is the start of the text
        if not config.block_trigrams:
            return WritingRules(ending, max_tokens)
        tokenizer = self.tokenizer
        return WritingRules(
            *(ending, max_tokens),
            lambda: TrigramBlock(tokenizer.starts_word, tokenizer.begins_number),
        )

    @property
    def _device(self) -> torch.device:
        return self.model.embedding.weight.device

    def _decoder(self, config: WritingConfig, max_tokens: int) -> Decoder:
        if self._device.type == "cpu":
            return self._on_cpu
        if config.beam_size > 1:
            return self.model  # a captured step goes on with one text, and its state has no copies
        if self._on_gpu is None:
            self._on_gpu = graphed_or_plain(self.model, max_tokens)
        return self._on_gpu

    @cached_property
    def _on_cpu(self) -> Decoder:
        return fast_or_plain(self.model, torch.get_num_threads())


def _wanted_words(length: Length | int, config: WritingConfig) -> int | None:
    """The words of a summary of a document that is read whole; None where the model decides."""
    if length == "normal":
        return None
    if isinstance(length, int):
        return length
    return round(config.typical_words * RELATIVE_WORDS[length])
