"""The one summarizer behind the command, the page, folders of papers and the evaluation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from terraformer.checkpoint import find_writer, load_checkpoint, load_model
from terraformer.device import DEFAULT_DEVICE, find_device
from terraformer.document import Document
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.errors import CheckpointError
from terraformer.extractor import Extractor
from terraformer.memory import enforce_budget, refusals_told
from terraformer.model import Terraformer
from terraformer.summary import Mode, Progress, Summary, SummaryOptions, Written
from terraformer.tokenizer import Tokenizer
from terraformer.writer import Writer

_NO_WRITER = (
    "no model that writes is installed: give one with --model FOLDER (finetune.train --task "
    "abstract makes one), or leave --mode abstract out for the document's own sentences"
)


class Summarizer:
    """Summarizes documents with one loaded model.

    A model that writes has the shipped one beside it for picking sentences, and the other way round
    where a model that writes is shipped; either is loaded when it is first needed, to the same
    device.

    Example:
        >>> summarizer = Summarizer.load()
        >>> print(summarizer.summarize(read_document("paper.pdf")).text)
    """

    def __init__(
        self,
        model: Terraformer | EncoderDecoder,
        tokenizer: Tokenizer,
        *,
        memory: int | None = None,
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
        mode: Mode | None = None,
        memory: int | None = None,
        threads: int | None = None,
        device: str | torch.device = DEFAULT_DEVICE,
    ) -> Summarizer:
        """Loads a checkpoint.

        Args:
            name_or_folder: A folder, the name of a shipped checkpoint or a Hub id; None is the
                shipped checkpoint for the mode.
            mode: What it will be used for; None is what the checkpoint was made for.
            memory: Budget in bytes: for the whole process or, on a GPU, for torch there, which
                refuses more from then on. None sets no limit.
            threads: Threads of torch; None leaves them as they are.
            device: Where the model works: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there
                is one. The shipped model is so small that starting CUDA may take longer than a
                paper does on a core, so nothing but the asking brings a GPU in.
        Raises:
            CheckpointError: if there is no such checkpoint, or it cannot do what is wanted.
            DeviceError: if there is no such device.
            MemoryBudgetError: if the GPU has not as much free as the budget or the model.
            ValueError: if `device` is none of these.
        """
        place = find_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        if name_or_folder is None and mode == "abstract":
            name_or_folder = find_writer()
            if name_or_folder is None:
                raise CheckpointError(_NO_WRITER)
        model, tokenizer = load_model(name_or_folder)
        if not isinstance(model, (Terraformer, EncoderDecoder)):
            raise CheckpointError(
                f"the checkpoint {name_or_folder} is a {type(model).__name__}, which does not "
                "summarize: give one that finetune.train made with --task extract or abstract"
            )
        if mode == "abstract" and isinstance(model, Terraformer):
            raise CheckpointError(
                f"the checkpoint {name_or_folder} picks sentences and does not write: give --mode "
                "extract, or another --model"
            )
        with refusals_told(memory):
            if place.type == "cuda" and memory is not None:
                enforce_budget(memory, place)
            model.to(place)
        return cls(model, tokenizer, memory=memory)

    @property
    def device(self) -> torch.device:
        """Where the model works."""
        return next(self.model.parameters()).device

    @property
    def mode(self) -> Mode:
        """What the model was made for."""
        return "extract" if isinstance(self.model, Terraformer) else "abstract"

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that can be asked for, the model's own first."""
        if self.mode == "abstract":
            return ("abstract", "extract")
        return ("extract",) if find_writer() is None else ("extract", "abstract")

    def summarize(
        self,
        document: Document,
        options: SummaryOptions | None = None,
        progress: Progress | None = None,
        written: Written | None = None,
    ) -> Summary:
        """Summarizes a document; the same document and options give the same summary on a CPU.

        On a GPU the last digits of sums depend on the order in which its threads come, so a choice
        between two that are almost equal may differ from time to time.

        Args:
            document: Of any length; where a writing model does not read all, a note says what.
            options: Mode, length and order; the defaults give about an abstract's length.
            progress: Called as the work goes on.
            written: In mode "abstract", called with the text as it is written: pieces that, joined,
                are the summary's text, and each sentence once it is complete.
        Raises:
            MemoryBudgetError: if the document does not fit the memory budget, or the GPU.
            CheckpointError: if no model for the mode is installed.
        """
        options = options or SummaryOptions()
        report = progress or _silent
        with refusals_told(self.memory):
            if (options.mode or self.mode) == "abstract":
                return self._writer.summarize(document, options, report, written)
            return self._extractor.summarize(document, options, report)

    @cached_property
    def _extractor(self) -> Extractor:
        if isinstance(self.model, Terraformer):
            return Extractor(self.model, self.tokenizer, self.memory)
        model, tokenizer = load_checkpoint()
        return Extractor(model.to(self.device), tokenizer, self.memory)

    @cached_property
    def _writer(self) -> Writer:
        model, tokenizer = self.model, self.tokenizer
        if isinstance(model, Terraformer):
            folder = find_writer()
            if folder is None:
                raise CheckpointError(_NO_WRITER)
            loaded, tokenizer = load_model(folder)
            model = cast(EncoderDecoder, loaded).to(self.device)
        return Writer(model, tokenizer, lambda: self._extractor, self.memory)


def _silent(what: str, done: int, total: int) -> None:
    """Reports nothing."""
