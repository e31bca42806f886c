"""Articles with the sentences that are picked of them, for the task that rewrites these."""

from __future__ import annotations

from functools import cache
from typing import Any

from datasets import Features, List, Value

from finetune.article import ARTICLE_COLUMNS, to_article
from finetune.data import abstract_of, to_document
from finetune.oracle import beam_episodes
from finetune.rewrite_pair import MAX_EXTRACTED
from terraformer.checkpoint import load_checkpoint
from terraformer.errors import DocumentError
from terraformer.extractor import Extractor
from terraformer.selectable import selectable_sentences
from terraformer.tokenizer import TokenizedDocument, Tokenizer
from terraformer.writer_source import choose_extract

REWRITE_COLUMNS = Features(
    {
        **ARTICLE_COLUMNS,
        "ranking": List(Value("int32")),  # of the shipped extractor, the most wanted first
        "oracle": List(Value("int32")),  # sentences that together score best
    }
)


def to_rewrite(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Turns a row of `find_split` into a row with the columns of REWRITE_COLUMNS.

    The ranking goes as far as MAX_EXTRACTED tokens; the oracle is the greedy one.
    """
    article = to_article(row, tokenizer)
    try:
        document = to_document(row)
    except DocumentError:
        return article | {"ranking": [], "oracle": []}
    tokenized = TokenizedDocument(article["ids"], article["sentence_of_token"])
    candidates = [int(index) for index in selectable_sentences(document).nonzero()[0]]
    episodes = beam_episodes(
        [sentence.text for sentence in document.sentences],
        abstract_of(row),
        candidates=candidates,
        beam_size=1,
        n_episodes=1,
    )
    ranking = (pick.sentence for pick in _extractor().rank(document))
    return article | {
        "ranking": choose_extract(tokenized, ranking, MAX_EXTRACTED),
        "oracle": list(episodes[0].picks) if episodes else [],
    }


@cache
def _extractor() -> Extractor:
    return Extractor(*load_checkpoint())
