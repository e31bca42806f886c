"""From which kinds of section sentences are taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from terraformer.document import Document
from terraformer.section_kind import SectionKind


def count_kinds(document: Document, sentences: Iterable[int]) -> dict[str, int]:
    """Returns how many of the sentences stand in each kind of section, kinds without any left out.

    Args:
        document: The source.
        sentences: Indices into `document.sentences`.
    """
    counts = Counter(
        document.sections[document.sentences[index].section].kind for index in sentences
    )
    return {kind.value: counts[kind] for kind in SectionKind if counts[kind]}


def share_of_kinds(counts: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Returns the share of each kind of section in all sentences counted, in percent.

    Args:
        counts: What `count_kinds` returns, of any number of documents.
    Returns:
        All kinds, which sum to 100; empty where no sentence was counted.
    """
    total: Counter[str] = Counter()
    for entry in counts:
        total.update(entry)
    n_sentences = total.total()
    if not n_sentences:
        return {}
    return {kind.value: 100 * total[kind.value] / n_sentences for kind in SectionKind}
