"""Packs papers as token shards: `python -m finetune.pack OUT`.

The papers are those that `finetune.train` reads; what is not prepared yet is prepared first. OUT
becomes a row of folders 1, 2, …, each of which can be carried to another machine by itself: shards,
the manifest of all of them and the tokenizer. `python -m finetune.gpu unpack` takes them there.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet
from tqdm import tqdm

from finetune.command import exit_status
from finetune.packed_rows import pack_articles, pack_examples, pack_rewrites
from finetune.prepare import prepare_missing
from finetune.shards import Arrays, Form, Manifest, Shard, sha256, write_arrays
from finetune.training_data import N_EVALUATED
from terraformer.checkpoint import TOKENIZER_FILE, find_checkpoint
from terraformer.errors import DataError
from terraformer.features import N_FEATURES
from terraformer.tokenizer import Tokenizer

MIB = 2**20
MAX_VOCAB_SIZE = 2**16
_TOKENS_A_SHARD = 6_000_000
_LOG = logging.getLogger(__name__)
_COLUMNS: dict[Form, list[str]] = {
    "articles": ["id", "group", "ids", "sentence_of_token", "principal", "abstract_ids"],
    "extract": [
        *("id", "ids", "sentence_of_token"),
        *("features", "selectable", "n_words", "episodes", "scores"),
    ],
    "rewrite": ["id", "ids", "sentence_of_token", "ranking", "oracle"],
}


@dataclass(frozen=True)
class PackOptions:
    """What is packed, and in which sizes.

    Attributes:
        extract: Whether what picking sentences needs goes along.
        rewrite: Whether what rewriting picked sentences needs goes along.
        max_tokens: Longer papers are left out of training; None keeps all.
        n_validation: Most papers of validation: those that `eval.rouge --limit` takes.
        shard_mib: Most MiB of a shard.
        folder_mib: Most MiB of a folder.
    """

    extract: bool = False
    rewrite: bool = False
    max_tokens: int | None = None
    n_validation: int = N_EVALUATED
    shard_mib: float = 15.0
    folder_mib: float = 49.0

    @property
    def beside(self) -> list[Form]:
        """The forms that go along with articles."""
        forms: list[tuple[bool, Form]] = [(self.extract, "extract"), (self.rewrite, "rewrite")]
        return [form for wanted, form in forms if wanted]


def pack(examples: Path, tokenizer_path: Path, output: Path, options: PackOptions) -> Manifest:
    """Packs prepared papers.

    Args:
        examples: Folder of `finetune.prepare`, with the articles in its folder "articles".
        tokenizer_path: Sentencepiece model that they were prepared with.
        output: Folder to make.
        options: What and how.
    Raises:
        DataError: if the output exists, the tokenizer has too many pieces, or a shard of one paper
            or a folder of one shard is too large.
    """
    if output.exists():
        raise DataError(f"{output} exists already: give another folder, or remove it")
    vocab_size = Tokenizer(tokenizer_path).vocab_size
    if vocab_size > MAX_VOCAB_SIZE:
        raise DataError(f"the tokenizer has {vocab_size} pieces, shards hold {MAX_VOCAB_SIZE}")
    folder = output / "shards"
    folder.mkdir(parents=True)
    shards: list[Shard] = []
    for split in ("validation", "train"):
        chosen = _choose(examples / "articles" / f"{split}.parquet", split, options)
        shards += _write_split(examples, folder, split, chosen, options)
    digest = hashlib.sha256(tokenizer_path.read_bytes()).hexdigest()
    # Whoever trains on tokens alone needs the first folders only.
    shards.sort(key=lambda shard: shard.form)
    manifest = Manifest(vocab_size, digest, N_FEATURES if options.extract else 0, tuple(shards))
    _into_folders(folder, output, manifest, tokenizer_path, options.folder_mib)
    return manifest


def _choose(path: Path, split: str, options: PackOptions) -> list[str]:
    """Returns the ids of the papers that are packed."""
    table = parquet.read_table(path, columns=["id", "ids"])
    names: list[str] = table.column("id").to_pylist()
    lengths = compute.call_function("list_value_length", [table.column("ids")]).to_numpy()
    if split == "train":
        most = options.max_tokens or np.inf
        return [name for name, n in zip(names, lengths, strict=True) if 0 < n <= most]
    names = [name for name, n in zip(names, lengths, strict=True) if n > 0]
    # As eval.rouge samples them, so that both speak of the same papers.
    by_digest = sorted(names, key=lambda name: hashlib.sha1(name.encode()).digest())
    chosen = set(by_digest[: options.n_validation])
    return [name for name in names if name in chosen]


def _write_split(
    examples: Path, folder: Path, split: str, chosen: Sequence[str], options: PackOptions
) -> list[Shard]:
    writer = _ShardWriter(folder, split, options)
    articles = _rows(examples / "articles" / f"{split}.parquet", "articles", chosen)
    others = [
        _rows(folder_of(examples, form) / f"{split}.parquet", form, chosen)
        for form in options.beside
    ]
    bar = tqdm(articles, total=len(chosen), desc=f"packing {split}", file=sys.stderr)
    for article, *beside in zip(bar, *others, strict=True):
        writer.add(article, dict(zip(options.beside, beside, strict=True)))
    writer.close()
    return writer.shards


class _ShardWriter:
    """Gathers the papers of a split into shards; those of all forms go together."""

    def __init__(self, folder: Path, split: str, options: PackOptions) -> None:
        self.shards: list[Shard] = []
        self._folder, self._split, self._options = folder, split, options
        self._papers: list[dict[Form, dict[str, Any]]] = []
        self._n_tokens = self._number = 0

    def add(self, article: dict[str, Any], beside: dict[Form, dict[str, Any]]) -> None:
        """Takes a paper, with its rows of the forms that go along."""
        for row in beside.values():
            _check_same(article, row)
        self._papers.append({"articles": article, **beside})
        self._n_tokens += len(article["ids"])
        if self._n_tokens >= _TOKENS_A_SHARD:
            self.close()

    def close(self) -> None:
        """Writes what was gathered."""
        if self._papers:
            self._write(self._papers)
        self._papers, self._n_tokens = [], 0

    def _write(self, papers: list[dict[Form, dict[str, Any]]]) -> None:
        written = [self._write_form(form, papers) for form in papers[0]]
        if all(shard.n_bytes <= self._options.shard_mib * MIB for shard in written):
            self.shards += written
            self._number += 1
            return
        for shard in written:
            (self._folder / shard.file).unlink()
        half = len(papers) // 2
        if not half:
            name = papers[0]["articles"]["id"]
            raise DataError(f"paper {name} alone is larger than a shard may be")
        for part in (slice(half), slice(half, None)):
            self._write(papers[part])

    def _write_form(self, form: Form, papers: list[dict[Form, dict[str, Any]]]) -> Shard:
        path = self._folder / f"{form}-{self._split}-{self._number:03d}.npz"
        write_arrays(path, _PACKERS[form]([paper[form] for paper in papers]), compress=True)
        return Shard(
            path.name,
            form,
            self._split,
            self._number,
            len(papers),
            sum(len(paper["articles"]["ids"]) for paper in papers),
            path.stat().st_size,
            sha256(path),
        )


_PACKERS: dict[Form, Callable[[Sequence[dict[str, Any]]], Arrays]] = {
    "articles": pack_articles,
    "extract": lambda rows: pack_examples(rows, N_FEATURES),
    "rewrite": pack_rewrites,
}


def folder_of(examples: Path, form: Form) -> Path:
    """Returns where papers of a form lie in a folder of `finetune.prepare`."""
    return examples if form == "extract" else examples / form


def _check_same(article: dict[str, Any], example: dict[str, Any]) -> None:
    for column in ("id", "ids", "sentence_of_token"):
        if not np.array_equal(article[column], example[column]):
            raise DataError(
                f"paper {article['id']} was prepared twice with a different {column}: remove the "
                "examples and prepare them again"
            )


def _rows(path: Path, form: Form, chosen: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the chosen rows of a file of `finetune.prepare`, their lists as arrays."""
    wanted = set(chosen)
    for batch in parquet.ParquetFile(path).iter_batches(200, columns=_COLUMNS[form]):
        for i, name in enumerate(batch.column("id").to_pylist()):
            if name in wanted:
                yield {column: _value(batch.column(column)[i]) for column in _COLUMNS[form]}


def _value(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.ListScalar) and not pa.types.is_nested(scalar.type.value_type):
        return scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()


def _into_folders(
    folder: Path, output: Path, manifest: Manifest, tokenizer_path: Path, folder_mib: float
) -> None:
    """Spreads the shards over folders of at most `folder_mib`, in their order."""
    room, number = 0.0, 0
    for shard in manifest.shards:
        if shard.n_bytes > room:
            number += 1
            part = output / str(number)
            part.mkdir()
            manifest.write(part)
            shutil.copyfile(tokenizer_path, part / TOKENIZER_FILE)
            room = folder_mib * MIB - sum(path.stat().st_size for path in part.iterdir())
            if shard.n_bytes > room:
                raise DataError(f"a folder of {folder_mib:g} MiB has no room for {shard.file}")
        (folder / shard.file).rename(output / str(number) / shard.file)
        room -= shard.n_bytes
    folder.rmdir()


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; `words` replace those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("output", type=Path, help="folder to make, such as runs/pack")
    add("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    add("--examples", type=Path, default=Path("runs/examples"), help="where prepared papers are")
    add("--tokenizer", type=Path, help="sentencepiece model (default: the shipped one)")
    add("--limit", type=int, help="only the first papers of each split, for a trial")
    add("--extract", action="store_true", help="also what picking sentences needs")
    add("--rewrite", action="store_true", help="also what rewriting picked sentences needs")
    add("--max-tokens", type=int, help="leave out longer training papers")
    add("--validation", type=int, default=PackOptions.n_validation, help="(default: %(default)s)")
    add("--shard-mib", type=float, default=PackOptions.shard_mib, help="(default: %(default)s)")
    add("--folder-mib", type=float, default=PackOptions.folder_mib, help="(default: %(default)s)")
    options = parser.parse_args(words)
    return exit_status("finetune.pack", lambda: _run(options))


def _run(arguments: argparse.Namespace) -> None:
    tokenizer_path = arguments.tokenizer or find_checkpoint() / TOKENIZER_FILE
    examples: Path = arguments.examples
    if arguments.limit:
        examples = examples / f"first-{arguments.limit}"
    options = PackOptions(
        arguments.extract,
        arguments.rewrite,
        arguments.max_tokens,
        arguments.validation,
        arguments.shard_mib,
        arguments.folder_mib,
    )
    forms: list[Form] = ["articles", *options.beside]
    for form in forms:
        folder, limit = folder_of(examples, form), arguments.limit
        prepare_missing(folder, tokenizer_path, arguments.data, limit=limit, form=form)
    manifest = pack(examples, tokenizer_path, arguments.output, options)
    for form in forms:
        shards = [shard for shard in manifest.shards if shard.form == form]
        papers, mib = (
            sum(shard.n_papers for shard in shards),
            sum(shard.n_bytes for shard in shards) / MIB,
        )
        print(f"{form}: {papers} papers, {len(shards)} shards, {mib:.1f} MiB")


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    sys.exit(main())
