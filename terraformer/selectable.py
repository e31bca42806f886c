"""Which sentences of a document may stand in its summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from terraformer.document import Document

_MIN_WORDS, _MAX_WORDS = 5, 90
_MIN_LETTERS = 0.55  # share of letters and spaces: below it, a sentence is a formula or a table row
_ENUMERATOR = re.compile(r"\W*\w{1,4}\)")
_END = re.compile(r"[.!?…:;。！？][\W\d]*$")  # marks of notes and references may follow
_END_OF_TAMPERED = re.compile(r"[.!?…:;。！？>][\W\d]*$")  # a place holder such as <dig> too
_MIN_ENDED = 0.75  # share of sentences: with less, a document does without full stops
_PLAIN_WORD = re.compile(r"[a-z]+[ ,;:)]")

_WHAT_FOLLOWS = (
    r"(?:aims?|assumptions?|claims?|conditions?|contributions?|criteria|definitions?|equations?|facts?|"
    r"form|formula|hypothes[ei]s|lemma|methods?|notation|observations?|ones|points?|problems?|"
    r"properties|property|questions?|reasons?|results?|rules?|steps?|theorems?|ways?)"
)
_ANNOUNCES_THE_NEXT = re.compile(
    rf"(?:\bthe following(?: (?:[\w-]+ ){{0,2}}{_WHAT_FOLLOWS})?|\b(?:as|which|that) follows?|"
    r"\b(?:shown|given|listed|described|discussed|defined) (?:below|next))\s*[.:]$|"
    r"\bthe following\b[^.:]*:$",
    re.IGNORECASE,
)

_N_OPENING = 2
_MIN_SENTENCES = 60  # of a document whose opening is a way into the subject rather than the news
_SPEAKS_OF_ITSELF = re.compile(
    r"\b(?:we|our|ours|here|herein|purpose|aim|aims|aimed|objectives?|the (?:study|trial)|"
    r"(?:this|the present|the current|current|present) "
    r"(?:study|paper|work|review|article|trial|report|update|protocol))\b",
    re.IGNORECASE,
)


def selectable_sentences(document: Document) -> NDArray[np.bool_]:
    """Returns which sentences may stand in a summary, [S]: whole prose of a readable length.

    Of a long document's first two sentences only those may that speak of the work itself: the
    others say what every reader of the field knows. Where nothing passes, every sentence may.
    """
    texts = [sentence.text for sentence in document.sentences]
    is_cased = sum(text[:1].isupper() for text in texts) > len(texts) / 2
    end = _END if is_cased else _END_OF_TAMPERED
    is_ended = [end.search(text) is not None for text in texts]
    is_punctuated = sum(is_ended) > _MIN_ENDED * len(texts)
    n_opening = _N_OPENING if len(texts) >= _MIN_SENTENCES else 0
    selectable = np.array(
        [
            _MIN_WORDS <= sentence.n_words <= _MAX_WORDS
            and share_of_letters(text) >= _MIN_LETTERS
            and not (is_cased and _is_fragment(text))
            and _ANNOUNCES_THE_NEXT.search(text) is None
            and (ended or not is_punctuated)
            and (index >= n_opening or _SPEAKS_OF_ITSELF.search(text) is not None)
            for index, (sentence, text, ended) in enumerate(
                zip(document.sentences, texts, is_ended, strict=True)
            )
        ]
    )
    return selectable if selectable.any() else np.ones_like(selectable)


def share_of_letters(text: str) -> float:
    """Returns the share of letters and spaces among a text's characters."""
    return (sum(map(str.isalpha, text)) + text.count(" ")) / max(1, len(text))


def _is_fragment(text: str) -> bool:
    """Whether a sentence is the rest of another, by what it closes or by its first word.

    Meant for text that has capitals: where there are none, brackets have been tampered with too.
    """
    if any(text.count(closing) > text.count(opening) for opening, closing in ("()", "[]")):
        # An enumerator closes a bracket that was never opened: "2) …".
        return _ENUMERATOR.match(text) is None
    # Names such as mRNA or p53 may begin a sentence; a plain lower-case word does not.
    return _PLAIN_WORD.match(text) is not None
