"""Folders and lists of papers: one summary file a paper, in processes of one machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.render import SUFFIXES, Format, render
from app.whole_file import write_whole
from app.worker_pool import n_cores, run_each
from terraformer.device import DEFAULT_DEVICE
from terraformer.errors import CheckpointError, DeviceError, DocumentError, TerraformerError
from terraformer.summary import Mode, Progress, SummaryOptions

if TYPE_CHECKING:
    from terraformer.summarizer import Summarizer

READABLE_SUFFIXES = frozenset(
    (".pdf", ".txt", ".text", ".md", ".markdown", ".html", ".htm", ".xhtml")
)
_OUR_OUTPUT = re.compile(r"\.summary\.(?:txt|md|json)$")


@dataclass(frozen=True)
class Job:
    """A paper and the file for its summary."""

    source: Path
    target: Path


@dataclass(frozen=True)
class BatchSettings:
    """What is the same for all papers of a batch.

    Attributes:
        options: Mode, length and order.
        format: Of the files written.
        keep_abstract: Whether a paper's own abstract is part of what is summarized.
        model: Name or folder of the model, None for the one that ships.
        memory: Bytes that one process may use, None for what is needed.
        device: Where the model works; see `terraformer.device`.
    """

    options: SummaryOptions = field(default_factory=SummaryOptions)
    format: Format = "text"
    keep_abstract: bool = False
    model: str | None = None
    memory: int | None = None
    device: str = DEFAULT_DEVICE


@dataclass(frozen=True)
class BatchReport:
    """How a batch went: papers summarized, left alone, and failed, each with a message."""

    n_summarized: int
    n_skipped: int
    failures: tuple[tuple[Path, str], ...]


def plan(inputs: Iterable[Path], folder: Path, format: Format) -> list[Job]:
    """Finds the papers and names the file for each summary.

    Args:
        inputs: Papers, and folders that are searched for readable files to any depth.
        folder: Where the summaries go; subfolders of an input folder are kept.
        format: Decides the suffix: `paper.pdf` becomes `paper.summary.md`.
    Raises:
        DocumentError: if an input does not exist or a folder holds no paper.
        ValueError: if two papers would share a summary file.
    """
    suffix = f".summary{SUFFIXES[format]}"
    sources: dict[Path, Path] = {}
    for source, name in _papers(inputs):
        target = folder / name.with_name(name.stem + suffix)
        if target in sources and sources[target].suffix != source.suffix:
            target = folder / name.with_name(name.name + suffix)
        if sources.get(target, source) != source:
            raise ValueError(f"{sources[target]} and {source} would share the file {target}")
        sources[target] = source
    return [Job(source, target) for target, source in sources.items()]


def summarize_papers(
    jobs: Sequence[Job],
    settings: BatchSettings,
    *,
    n_workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BatchReport:
    """Summarizes each paper and writes its file, going on past papers that fail.

    Args:
        jobs: Papers and target files.
        settings: Shared by all.
        n_workers: Processes, each with one thread; None for one a core. On a GPU each takes memory
            for a model of its own.
        overwrite: Whether a summary that is there already is made anew.
        progress: Called as papers are done.
    Raises:
        CheckpointError: if the model cannot be loaded, for then every paper fails.
        DeviceError: if the device is not there, likewise.
    """
    todo = [job for job in jobs if overwrite or not job.target.exists()]
    failures: dict[Path, str] = {}
    n_workers = min(n_workers or n_cores(), max(1, len(todo)))
    for n_done, (job, outcome) in enumerate(
        run_each(partial(summarize_to_file, settings=settings), todo, n_workers), start=1
    ):
        if isinstance(outcome, (CheckpointError, DeviceError)):
            raise outcome
        if isinstance(outcome, TerraformerError):
            failures[job.source] = str(outcome)
        elif isinstance(outcome, Exception):
            failures[job.source] = f"unexpected {type(outcome).__name__}: {outcome}"
        if progress is not None:
            progress("summarizing papers", n_done, len(todo))
    return BatchReport(
        n_summarized=len(todo) - len(failures),
        n_skipped=len(jobs) - len(todo),
        failures=tuple(
            (job.source, failures[job.source]) for job in todo if job.source in failures
        ),
    )


def summarize_to_file(job: Job, settings: BatchSettings) -> None:
    """Summarizes one paper; the file appears whole or not at all.

    Raises:
        TerraformerError: if the paper cannot be read or the file not written.
    """
    from app.readers import read_document

    document = read_document(job.source, keep_abstract=settings.keep_abstract)
    summarizer = _load(settings.model, settings.options.mode, settings.memory, settings.device)
    summary = summarizer.summarize(document, settings.options)
    text = render(
        summary,
        document,
        source=job.source.name,
        length=settings.options.length,
        format=settings.format,
    )
    write_whole(job.target, text)


@cache
def _load(model: str | None, mode: Mode | None, memory: int | None, device: str) -> Summarizer:
    from terraformer.summarizer import Summarizer

    return Summarizer.load(model, mode=mode, memory=memory, threads=1, device=device)


def _papers(inputs: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Yields (paper, its name under the output folder), those of a folder sorted."""
    for path in inputs:
        if not path.is_dir():
            if not path.exists():
                raise DocumentError(f"{path} does not exist: check the name and the folder")
            yield path, Path(path.name)
            continue
        papers = [
            paper
            for paper in sorted(path.rglob("*"))
            if paper.suffix.lower() in READABLE_SUFFIXES
            and not _OUR_OUTPUT.search(paper.name)
            and paper.is_file()
        ]
        if not papers:
            suffixes = ", ".join(sorted(READABLE_SUFFIXES))
            raise DocumentError(f"the folder {path} holds no paper (looked for {suffixes})")
        for paper in papers:
            yield paper, paper.relative_to(path)
