"""Token shards: papers as numbers in compact files, for a machine with little but numpy.

A shard is an .npz file whose arrays are compressed with LZMA; `numpy.load` opens it. The manifest
beside the shards says what each of them holds.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from terraformer.errors import DataError

VERSION = 1
MANIFEST_FILE = "manifest.json"
Arrays = dict[str, NDArray[Any]]
Form = Literal["articles", "extract", "rewrite"]


@dataclass(frozen=True)
class Shard:
    """One file of a pack.

    Attributes:
        file: Its name.
        form: "articles": tokens, sentences and abstracts. "extract" and "rewrite": what picking
            sentences, or rewriting them, needs beside them, of the papers of the articles' shard of
            the same split and number.
        split: Of the papers.
        number: Of the shard within form and split.
        n_papers: Papers.
        n_tokens: Tokens of their texts.
        n_bytes: Length of the file.
        sha256: Of the file.
    """

    file: str
    form: Form
    split: str
    number: int
    n_papers: int
    n_tokens: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a pack holds, wherever its shards are.

    Attributes:
        vocab_size: Pieces of the tokenizer.
        tokenizer_sha256: Of the sentencepiece model that made the tokens.
        n_features: Features of a sentence; 0 where there are no "extract" shards.
        shards: All of them.
    """

    vocab_size: int
    tokenizer_sha256: str
    n_features: int
    shards: tuple[Shard, ...]

    def write(self, folder: Path) -> None:
        """Writes the manifest into a folder."""
        values = {"version": VERSION, **asdict(self)}
        (folder / MANIFEST_FILE).write_text(json.dumps(values, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads the manifest of a folder.

        Raises:
            DataError: if there is none, or it is of another version.
        """
        path = folder / MANIFEST_FILE
        if not path.exists():
            raise DataError(f"no {MANIFEST_FILE} in {folder}: make shards with finetune.pack")
        values = json.loads(path.read_text())
        version = values.pop("version", None)
        if version != VERSION:
            raise DataError(f"{path} is of version {version}, this program reads {VERSION}")
        return cls(**values | {"shards": tuple(Shard(**shard) for shard in values["shards"])})

    def of(self, form: Form, split: str) -> list[Shard]:
        """Returns the shards of a form and split, in order."""
        found = [shard for shard in self.shards if (shard.form, shard.split) == (form, split)]
        return sorted(found, key=lambda shard: shard.number)


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, end to end.

    Attributes:
        values: Of all rows.
        ends: Where each row ends in them, int64.
    """

    values: NDArray[Any]
    ends: NDArray[np.int64]

    @classmethod
    def joined(cls, values: Sequence[NDArray[Any]], lengths: Sequence[NDArray[Any]]) -> Ragged:
        """Joins the rows of several shards."""
        all_lengths = np.concatenate([np.asarray(part, np.int64) for part in lengths])
        return cls(np.concatenate(values), all_lengths.cumsum())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths of the rows."""
        return np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.ends[row - 1] if row else 0 : self.ends[row]]


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Returns whole numbers, none below 0, in the least bytes that hold the largest."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def pack_text(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Returns texts without line ends as UTF-8, a line each."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def unpack_text(data: NDArray[np.uint8]) -> list[str]:
    """Inverse of `pack_text`."""
    return data.tobytes().decode().split("\n")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, compress: bool) -> None:
    """Writes arrays as an .npz file, compressed with LZMA or not at all.

    LZMA takes 7.3 bits a token of papers and reads 14 million tokens a second on one core; zstd at
    its best 7.9 bits and 100 million. What travels slowly is the file.
    """
    method = zipfile.ZIP_LZMA if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def read_arrays(path: Path) -> Arrays:
    """Reads the arrays of a shard.

    Raises:
        DataError: if the file is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no token shard: {error}") from error


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
