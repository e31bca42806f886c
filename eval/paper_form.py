"""The same paper in other forms: lower-cased, and as a PDF read by the command `summarize`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from eval.baselines import Prediction
from eval.evaluation import LoadSystem, System, Task
from eval.paper_pdf import style_of, write_paper
from eval.summarize_command import summarize_folder
from finetune.data import to_document
from terraformer.document import Document, Paragraph
from terraformer.errors import DataError
from terraformer.summary import Length

CLEAN, LOWER, PDF = "clean", "lower", "pdf"
FORMS = (CLEAN, LOWER, PDF)


def lower_cased(document: Document) -> Document:
    """Returns the document in lower-case letters; its sentences are found anew."""
    sections = []
    for section, sentences in groupby(document.sentences, key=lambda sentence: sentence.section):
        paragraphs = []
        for _, group in groupby(sentences, key=lambda sentence: sentence.paragraph):
            spans = [(sentence.start, sentence.end) for sentence in group]
            paragraphs.append(Paragraph(document.text[spans[0][0] : spans[-1][1]].lower()))
        sections.append((document.sections[section].heading.lower(), paragraphs))
    return Document.build(sections, title=document.title.lower())


def load_lower_cased(load: LoadSystem) -> System:
    """Loads a system that gets every document in lower-case letters."""
    system = load()

    def summarize(document: Document, budget_words: int, reference: str) -> Prediction:
        prediction = system(lower_cased(document), budget_words, reference)
        return Prediction(prediction.text, ())  # its sentences are not those of the document

    return summarize


def load_pdf_readers(summaries: Mapping[str, str]) -> System:
    """Returns a system that knows the summaries of documents read from PDFs.

    Args:
        summaries: By `document_key`.
    """

    def summarize(document: Document, budget_words: int, reference: str) -> Prediction:
        return Prediction(summaries[document_key(document)], ())

    return summarize


def document_key(document: Document) -> str:
    """Returns a short name for the text of a document."""
    return hashlib.sha1(document.text.encode()).hexdigest()


def summarize_pdfs(
    tasks: Sequence[Task],
    files: Mapping[str, Path] | None,
    *,
    model: str | None,
    length: Length | int,
    n_processes: int,
) -> dict[str, str]:
    """Summarizes papers as PDFs with the command `summarize`.

    Args:
        tasks: The papers.
        files: PDFs by the paper's id; None sets one of each paper's text.
        model: Name or folder of the model; None is the shipped one.
        length: Of the summaries.
        n_processes: Papers worked on at once.
    Returns:
        Summaries by `document_key` of the clean documents.
    Raises:
        DataError: if a PDF cannot be summarized.
    """
    keys: dict[str, str] = {}
    with TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "papers", Path(temporary) / "summaries"
        folder.mkdir()
        for place, (row, _, _) in enumerate(tqdm(tasks, desc="PDFs", unit="doc")):
            document, stem = to_document(row), f"{place:05d}"
            keys[stem] = document_key(document)
            target = folder / f"{stem}.pdf"
            if files is None:
                write_paper(target, document, style_of(str(row["id"])))
            else:
                target.symlink_to(files[str(row["id"])].resolve())
        summaries = summarize_folder(
            folder, output, model=model, length=length, n_processes=n_processes
        )
    return {keys[stem]: summary for stem, summary in summaries.items()}


def find_pdfs(folder: Path) -> dict[str, Path]:
    """Returns the PDFs of a folder by the id of their paper.

    Args:
        folder: With index.jsonl, of which each line has the "id" and the "file" of a paper.
    Raises:
        DataError: if there is no such index.
    """
    index = folder / "index.jsonl"
    if not index.is_file():
        raise DataError(f"no {index}: --pdfs needs one, each line with the id and file of a paper")
    lines = index.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if line.strip()]
    return {str(entry["id"]): folder / entry["file"] for entry in entries}


def load_forms(load: LoadSystem, summaries: Mapping[str, str]) -> dict[str, LoadSystem]:
    """Returns a loader for each of FORMS.

    Args:
        load: Of the system under test.
        summaries: What `summarize_pdfs` returned.
    """
    return {
        CLEAN: load,
        LOWER: partial(load_lower_cased, load),
        PDF: partial(load_pdf_readers, dict(summaries)),
    }
