from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset
from packed_papers import N_PAPERS, prepare_papers

from finetune import pack as module
from finetune.pack import PackOptions, pack
from finetune.packed_rows import Articles
from finetune.shards import Manifest, read_arrays
from terraformer.errors import DataError
from terraformer.features import N_FEATURES


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """Folder of prepared papers, articles and examples of both splits."""
    folder = tmp_path_factory.mktemp("pack")
    return prepare_papers(folder, tiny_checkpoint / "tokenizer.model")


BESIDE = ("manifest.json", "tokenizer.model")


def make(prepared: Path, tiny_checkpoint: Path, output: Path, options: PackOptions) -> Manifest:
    return pack(prepared, tiny_checkpoint / "tokenizer.model", output, options)


def names(manifest: Manifest, output: Path, split: str) -> list[str]:
    """Papers of a split, in the order of its shards."""
    files = [next(output.glob(f"*/{shard.file}")) for shard in manifest.of("articles", split)]
    return [name for file in files for name in Articles([read_arrays(file)]).names]


def test_papers_are_packed_whole_and_in_order(
    prepared: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "pack"
    manifest = make(prepared, tiny_checkpoint, output, PackOptions(extract=True, n_validation=4))
    assert names(manifest, output, "train") == [f"x:{number}" for number in range(N_PAPERS)]
    by_digest = sorted(range(N_PAPERS), key=lambda n: hashlib.sha1(f"x:{n}".encode()).digest())
    expected = [f"x:{number}" for number in sorted(by_digest[:4])]
    assert names(manifest, output, "validation") == expected
    assert (manifest.vocab_size, manifest.n_features) == (400, N_FEATURES)
    assert Manifest.read(output / "1") == manifest
    assert (output / "1" / "tokenizer.model").exists()
    assert not (output / "shards").exists()


def test_shards_and_folders_keep_to_their_sizes(
    prepared: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    whole = make(prepared, tiny_checkpoint, tmp_path / "whole", PackOptions(extract=True))
    most = max(shard.n_bytes for shard in whole.shards) - 1
    beside = sum((tmp_path / "whole" / "1" / name).stat().st_size for name in BESIDE)
    options = PackOptions(
        extract=True,
        shard_mib=most / module.MIB,
        folder_mib=(beside + 2 * most + 2000) / module.MIB,
    )
    output = tmp_path / "pack"
    manifest = make(prepared, tiny_checkpoint, output, options)
    assert len(manifest.of("articles", "train")) == len(manifest.of("extract", "train")) > 1
    assert max(shard.n_bytes for shard in manifest.shards) <= most
    folders = sorted(output.iterdir())
    assert len(folders) > 1
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert size <= options.folder_mib * module.MIB
    assert names(manifest, output, "train") == [f"x:{number}" for number in range(N_PAPERS)]
    with pytest.raises(DataError, match="alone is larger than a shard"):
        make(prepared, tiny_checkpoint, tmp_path / "b", replace(options, shard_mib=0.001))
    with pytest.raises(DataError, match="has no room for"):
        make(prepared, tiny_checkpoint, tmp_path / "c", replace(options, folder_mib=0.001))


def test_long_papers_are_left_out_of_training_only(
    prepared: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "pack"
    options = PackOptions(max_tokens=150)
    manifest = make(prepared, tiny_checkpoint, output, options)
    kept = len(names(manifest, output, "train"))
    assert 0 < kept < N_PAPERS
    assert len(names(manifest, output, "validation")) == N_PAPERS


def test_papers_prepared_with_different_tokens_do_not_mix(
    prepared: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "examples"
    (mixed / "articles").mkdir(parents=True)
    for split in ("train", "validation"):
        (mixed / f"{split}.parquet").symlink_to(prepared / f"{split}.parquet")
        rows = Dataset.from_parquet(str(prepared / "articles" / f"{split}.parquet"))
        assert isinstance(rows, Dataset)
        other = rows.map(lambda row: {"ids": [3, *row["ids"][1:]]})
        other.to_parquet(mixed / "articles" / f"{split}.parquet")
    with pytest.raises(DataError, match="prepared twice with a different ids"):
        make(mixed, tiny_checkpoint, tmp_path / "pack", PackOptions(extract=True))


def test_a_pack_is_never_written_over(
    prepared: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="exists already"):
        make(prepared, tiny_checkpoint, tmp_path, PackOptions())


def test_the_command_prepares_packs_and_tells_sizes(
    prepared: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "pack"), "--data", str(prepared.parent), "--limit", "3"]
    words += ["--examples", str(tmp_path / "examples")]
    words += ["--tokenizer", str(tiny_checkpoint / "tokenizer.model")]
    assert module.main(words) == 0
    assert capsys.readouterr().out.startswith("articles: 6 papers, 2 shards, 0.")
    assert module.main(words) == 1
