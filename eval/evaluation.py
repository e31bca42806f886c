"""Runs systems over papers: who is run, on which papers, and how the work is spread."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset

from eval.baselines import Prediction, predict
from eval.measures import Judge
from eval.results import DocumentResult
from eval.sections import count_kinds
from finetune.data import group_of, to_document
from terraformer.checkpoint import TOKENIZER_FILE, find_checkpoint
from terraformer.device import DEFAULT_DEVICE
from terraformer.document import Document
from terraformer.errors import TerraformerError
from terraformer.summary import Length, Mode, SummaryOptions
from terraformer.tokenizer import Tokenizer
from terraformer.writing_config import WritingConfig

# A system takes (document, budget in words, abstract); only the oracle may look at the abstract.
System = Callable[[Document, int, str], Prediction]
LoadSystem = Callable[[], System]
Task = tuple[dict[str, Any], str, int]  # row, group, budget in words


def load_terraformer(
    model: str | None,
    length: Length | int,
    mode: Mode | None = None,
    strict: bool = False,
    device: str = DEFAULT_DEVICE,
    writing: WritingConfig | None = None,
) -> System:
    """Loads our summarizer as a system; it chooses its length itself and ignores the budget.

    Args:
        model: Name or folder; None is the shipped one for the mode.
        length: Of the summaries.
        mode: Whether it picks sentences or writes; None is what the model was made for.
        strict: Whether written sentences with unsupported numbers or names are left out.
        device: Where the model works; see `terraformer.device`.
        writing: How sentences are written; None is how the model's config says.
    """
    from terraformer.summarizer import Summarizer

    summarizer = Summarizer.load(model, mode=mode, device=device)
    options = SummaryOptions(length=length, mode=mode, strict=strict, writing=writing)

    def summarize(document: Document, budget_words: int, reference: str) -> Prediction:
        start = perf_counter()
        summary = summarizer.summarize(document, options, progress=None)
        seconds = perf_counter() - start
        sources = (sentence.sentence for sentence in summary.sentences)
        known = tuple(source for source in sources if source is not None)
        return Prediction(summary.text, known, seconds)

    return summarize


def load_baseline(name: str) -> System:
    """Returns a baseline as a system."""
    return partial(predict, name)


def mean_abstract_words(rows: Dataset) -> dict[str, int]:
    """Returns each group's mean abstract length over all `rows`, in words, rounded."""
    lengths: dict[str, list[int]] = {}
    for origin, abstract in zip(rows["origin"], rows["abstract"], strict=True):
        lengths.setdefault(group_of(origin), []).append(len(abstract.split()))
    return {group: round(sum(values) / len(values)) for group, values in lengths.items()}


def sample(ids: Sequence[str], limit: int | None) -> list[int]:
    """Returns the places of the `limit` ids with the smallest SHA-1, in their order in `ids`.

    The same papers are taken in every run, and a larger limit adds to those of a smaller one.
    """
    if limit is None or limit >= len(ids):
        return list(range(len(ids)))
    digests = [hashlib.sha1(str(item).encode()).digest() for item in ids]
    return sorted(sorted(range(len(ids)), key=digests.__getitem__)[:limit])


def make_tasks(rows: Dataset, places: Sequence[int], budgets: Mapping[str, int]) -> list[Task]:
    """Returns what `evaluate` works on: the rows at `places`, each with its group and budget."""
    tasks: list[Task] = []
    for place in places:
        row = rows[place]
        group = group_of(row["origin"])
        tasks.append((row, group, budgets[group]))
    return tasks


def evaluate_document(task: Task, systems: Mapping[str, System]) -> DocumentResult:
    """Summarizes one document with every system and measures the summaries.

    Raises:
        TerraformerError: if the document cannot be summarized, with its id.
    """
    row, group, budget = task
    try:
        document = to_document(row)
        judge = Judge(document, row["abstract"])
        scored = {
            name: judge.score(system(document, budget, row["abstract"]))
            for name, system in systems.items()
        }
        reference = judge.score(Prediction(row["abstract"], ())).scores
    except TerraformerError as error:
        raise type(error)(f"document {row['id']}: {error}") from error
    return DocumentResult(
        id=str(row["id"]),
        title=document.title,
        group=group,
        n_tokens=len(_shipped_tokenizer().encode_document(document).ids),
        kinds=count_kinds(document, range(len(document.sentences))),
        reference=reference,
        systems=scored,
    )


@cache
def _shipped_tokenizer() -> Tokenizer:
    """The measure of a document's length, whichever model is evaluated."""
    return Tokenizer(find_checkpoint() / TOKENIZER_FILE)


_worker_loaders: dict[str, LoadSystem] = {}
_worker_systems: dict[str, System] = {}


def _start_worker(loaders: Mapping[str, LoadSystem]) -> None:
    torch.set_num_threads(1)
    _worker_loaders.update(loaders)


def _work(task: Task) -> DocumentResult:
    # Not in the initializer: a pool restarts for ever a worker that fails there.
    if not _worker_systems:
        _worker_systems.update({name: load() for name, load in _worker_loaders.items()})
    return evaluate_document(task, _worker_systems)


def evaluate(
    tasks: Sequence[Task], loaders: Mapping[str, LoadSystem], n_processes: int
) -> Iterator[DocumentResult]:
    """Evaluates documents, in the order of `tasks`.

    Args:
        tasks: Rows with their groups and budgets.
        loaders: How to load each system, by its name; picklable if there are several processes.
        n_processes: Documents worked on at once, each in a process with one thread, which loads the
            systems; with 1 the work is done in this process, with as many threads as it has set.
    """
    if n_processes == 1:
        systems = {name: load() for name, load in loaders.items()}
        yield from (evaluate_document(task, systems) for task in tasks)
        return
    # Forking this process would copy the locks of threads that the data reader has started; a fork
    # server imports everything once, and only starting afresh works everywhere.
    has_server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if has_server else "spawn")
    context.set_forkserver_preload([__name__])
    with context.Pool(n_processes, _start_worker, (dict(loaders),)) as pool:
        yield from pool.imap(_work, tasks)
