"""Prepared papers as the arrays of token shards, and back as the rows that training takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finetune.shards import Arrays, Ragged, narrow, pack_text, unpack_text

_PRINCIPAL_STEPS = 255
_FEATURE_STEPS = 16  # of a unit; features lie within 4 of 0


def pack_articles(rows: Sequence[dict[str, Any]]) -> Arrays:
    """Packs rows of `finetune.article`.

    A text is cut into runs of tokens of the same sentence, or of none; a run keeps its length and
    how many sentences it advances, 0 outside sentences. Scores of sentences are kept in steps of
    1 / 255 of the best one of the paper: what they are used for is their order.
    """
    lengths, advances = [], []
    for row in rows:
        run_lengths, run_advances = _to_runs(row["sentence_of_token"])
        lengths.append(run_lengths)
        advances.append(run_advances)
    principal = [np.asarray(row["principal"], np.float32) for row in rows]
    steps = [_PRINCIPAL_STEPS * score / max(1e-9, score.max(initial=0)) for score in principal]
    return {
        "name": pack_text(row["id"] for row in rows),
        "group": pack_text(row["group"] for row in rows),
        **_ragged("ids", [row["ids"] for row in rows]),
        **_ragged("run", lengths),
        "run_advance": narrow(np.concatenate(advances)),
        **_ragged("principal", [step.round() for step in steps]),
        **_ragged("abstract", [row["abstract_ids"] for row in rows]),
    }


def pack_examples(rows: Sequence[dict[str, Any]], n_features: int) -> Arrays:
    """Packs what rows of `finetune.prepare` hold beside tokens and sentences.

    Features are rounded to 1 / 16, which moves a trained model's loss by less than one part in a
    thousand, and laid out feature by feature, which compresses best.
    """
    features = np.concatenate([np.asarray(row["features"], np.float32) for row in rows])
    steps = np.clip(features * _FEATURE_STEPS, -128, 127).round().astype(np.int8)
    episodes = [episode for row in rows for episode in row["episodes"]]
    return {
        "features": steps.reshape(-1, n_features).T,
        **_ragged("n_words", [row["n_words"] for row in rows]),
        "selectable": np.packbits(np.concatenate([row["selectable"] for row in rows])),
        **_ragged("episode", episodes),
        "n_episodes": narrow(np.array([len(row["episodes"]) for row in rows])),
        "score": np.concatenate([np.asarray(row["scores"], np.float16) for row in rows]),
    }


def pack_rewrites(rows: Sequence[dict[str, Any]]) -> Arrays:
    """Packs what rows of `finetune.rewrite` hold beside an article."""
    columns = ("ranking", "oracle")
    parts = [_ragged(column, [row[column] for row in rows]) for column in columns]
    return parts[0] | parts[1]


class Articles:
    """Papers of some shards, held in memory: what `finetune.article` prepares.

    Args:
        shards: From `pack_articles`, at least one.
    """

    def __init__(self, shards: Sequence[Arrays]) -> None:
        self.names = [name for shard in shards for name in unpack_text(shard["name"])]
        self.groups = [group for shard in shards for group in unpack_text(shard["group"])]
        self._ids = _join(shards, "ids")
        self._runs = _join(shards, "run")
        self._advances = Ragged(
            np.concatenate([shard["run_advance"] for shard in shards]), self._runs.ends
        )
        self._principal = _join(shards, "principal")
        self._abstracts = _join(shards, "abstract")

    @property
    def data(self) -> pa.Table:
        """The tokens as an Arrow table with the one column "ids", for `TokenWindows`."""
        offsets = np.concatenate([[0], self._ids.ends])
        return pa.table({"ids": pa.LargeListArray.from_arrays(offsets, self._ids.values)})

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return self._ids.lengths

    @property
    def n_sentences(self) -> NDArray[np.int64]:
        """Sentences of each text."""
        return self._principal.lengths

    @property
    def n_abstract(self) -> NDArray[np.int64]:
        """Tokens of each abstract."""
        return self._abstracts.lengths

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a row with the columns of `finetune.article`, and its "index"."""
        advances = self._advances[index]
        owners = np.where(advances, advances.cumsum(dtype=np.int32) - 1, -1)
        return {
            "id": self.names[index],
            "group": self.groups[index],
            "index": index,
            "ids": self._ids[index],
            "sentence_of_token": owners.repeat(self._runs[index]).astype(np.int32),
            "principal": self._principal[index].astype(np.float32) / _PRINCIPAL_STEPS,
            "abstract_ids": self._abstracts[index],
        }


class Examples:
    """Papers of some shards with their episodes: what `finetune.prepare` prepares for picking.

    Args:
        articles: The papers.
        shards: From `pack_examples`, of the same papers.
    """

    def __init__(self, articles: Articles, shards: Sequence[Arrays]) -> None:
        self.articles = articles
        features = np.concatenate([shard["features"] for shard in shards], axis=1)
        self._features = np.ascontiguousarray(features.T)
        self._n_words = _join(shards, "n_words")
        sentences = [int(shard["n_words_len"].sum()) for shard in shards]
        self._selectable = np.concatenate(
            [
                np.unpackbits(shard["selectable"], count=count).astype(bool)
                for shard, count in zip(shards, sentences, strict=True)
            ]
        )
        self._episodes = _join(shards, "episode")
        self._scores = Ragged.joined(
            [shard["score"] for shard in shards], [shard["n_episodes"] for shard in shards]
        )

    @property
    def n_episodes(self) -> NDArray[np.int64]:
        """Episodes of each paper."""
        return self._scores.lengths

    def __len__(self) -> int:
        return len(self.articles)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a row with the columns that `ExtractCollator` reads."""
        article = self.articles[index]
        end = int(self._n_words.ends[index])
        sentences = slice(end - len(self._n_words[index]), end)
        end = int(self._scores.ends[index])
        episodes = range(end - len(self._scores[index]), end)
        return {
            "ids": article["ids"],
            "sentence_of_token": article["sentence_of_token"],
            "features": self._features[sentences].astype(np.float32) / _FEATURE_STEPS,
            "selectable": self._selectable[sentences],
            "n_words": self._n_words[index].astype(np.int32),
            "episodes": [self._episodes[episode].tolist() for episode in episodes],
            "scores": self._scores[index].astype(np.float32),
        }


class RankedArticles:
    """Papers of some shards with their rankings: what `finetune.rewrite` prepares.

    Args:
        articles: The papers.
        shards: From `pack_rewrites`, of the same papers.
    """

    def __init__(self, articles: Articles, shards: Sequence[Arrays]) -> None:
        self.articles = articles
        self._ranking = _join(shards, "ranking")
        self._oracle = _join(shards, "oracle")

    @property
    def n_ranked(self) -> NDArray[np.int64]:
        """Ranked sentences of each paper."""
        return self._ranking.lengths

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a row with the columns that `Rewrites` reads."""
        picks = {"ranking": self._ranking[index], "oracle": self._oracle[index]}
        return self.articles[index] | picks


def _to_runs(
    sentence_of_token: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the length of each run of equal owners and the sentences that it advances."""
    owners = np.asarray(sentence_of_token, np.int64)
    starts = np.flatnonzero(np.diff(owners, prepend=-2))
    lengths = np.diff(starts, append=len(owners))
    owner = owners[starts]
    before = np.maximum.accumulate(np.concatenate([[-1], owner]))[:-1]
    return lengths, np.where(owner < 0, 0, owner - before)


def _ragged(name: str, rows: Sequence[Any]) -> Arrays:
    """Rows of whole numbers as two arrays, of all values and of lengths."""
    arrays = [np.asarray(row) for row in rows] or [np.zeros(0)]
    return {
        name: narrow(np.concatenate(arrays)),
        f"{name}_len": narrow(np.array([len(row) for row in rows], np.int64)),
    }


def _join(shards: Sequence[Arrays], name: str) -> Ragged:
    return Ragged.joined(
        [shard[name] for shard in shards], [shard[f"{name}_len"] for shard in shards]
    )
