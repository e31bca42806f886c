"""The one summarizer behind the command, the page, folders of papers and the evaluation."""

from __future__ import annotations

from pathlib import Path

import torch

from terraformer.batch import SourceArrays, collate
from terraformer.checkpoint import load_checkpoint
from terraformer.decoding import pick_sentences
from terraformer.document import Document
from terraformer.memory import apply_plan, plan_memory
from terraformer.model import Terraformer
from terraformer.similarity import tf_idf
from terraformer.summary import Progress, Summary, SummaryOptions, SummarySentence
from terraformer.tokenizer import Tokenizer


class Summarizer:
    """Summarizes documents with one loaded model.

    Example:
        >>> summarizer = Summarizer.load()
        >>> print(summarizer.summarize(read_document("paper.pdf")).text)
    """

    def __init__(
        self, model: Terraformer, tokenizer: Tokenizer, *, memory: int | None = None
    ) -> None:
        """Takes a model in evaluation mode, its tokenizer, and a memory budget in bytes."""
        self.model = model
        self.tokenizer = tokenizer
        self.memory = memory

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path | None = None,
        *,
        memory: int | None = None,
        threads: int | None = None,
    ) -> Summarizer:
        """Loads a checkpoint.

        Args:
            name_or_folder: A folder, the name of a shipped checkpoint or a Hub id; None is the
                default shipped checkpoint.
            memory: Budget in bytes for the whole process; None sets no limit.
            threads: Threads of torch; None leaves them as they are.
        Raises:
            CheckpointError: if there is no such checkpoint.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(*load_checkpoint(name_or_folder), memory=memory)

    def summarize(
        self,
        document: Document,
        options: SummaryOptions | None = None,
        progress: Progress | None = None,
    ) -> Summary:
        """Summarizes a document; the same document and options give the same summary.

        Args:
            document: Of any length; nothing is cut.
            options: Length and order; the defaults give about an abstract's length.
            progress: Called as the work goes on.
        Raises:
            MemoryBudgetError: if the document does not fit the memory budget.
        """
        options = options or SummaryOptions()
        report = progress or _silent
        report("reading the sentences", 0, 3)
        source = collate([SourceArrays.of(document, self.tokenizer)])
        plan = plan_memory(
            self.model.config, source.ids.shape[1], source.n_words.shape[1], self.memory
        )
        apply_plan(plan, self.model)
        report("encoding", 1, 3)
        vectors = tf_idf([sentence.text for sentence in document.sentences])
        picks = pick_sentences(self.model, source, vectors, options.length)
        report("picking sentences", 3, 3)
        if options.order == "document":
            picks = sorted(picks)
        return Summary(
            title=document.title,
            sentences=tuple(_provenance(document, index) for index in picks),
            notes=document.notes,
        )


def _provenance(document: Document, index: int) -> SummarySentence:
    sentence = document.sentences[index]
    return SummarySentence(
        text=sentence.text,
        sentence=index,
        section=document.sections[sentence.section].heading,
        page=sentence.page,
        start=sentence.start,
        end=sentence.end,
    )


def _silent(what: str, done: int, total: int) -> None:
    """Reports nothing."""
