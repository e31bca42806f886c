from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from datasets import Dataset

from finetune import data
from finetune.data import abstract_of, find_split, group_of, to_document
from terraformer.errors import DataError

GROUPS = {
    "pubmed": ["pmc_europepmc", "pmc_plants", "elife", "plos", "pubmed_hub"],
    "sumpubmed": ["sumpubmed"],
    "arxiv": [
        *("neurips2025", "pmlr", "arxiv_collector", "iclr_openreview", "unarxive_sample"),
        "arxiv_hub",
    ],
    "other": ["acl_scisumm", "oa_stm", "anything"],
}


@pytest.mark.parametrize(
    ("origin", "group"),
    [(origin, group) for group, origins in GROUPS.items() for origin in origins],
)
def test_groups_of_origins(origin: str, group: str) -> None:
    assert group_of(origin) == group


def folder_of(path: Path, title: str) -> Path:
    path.mkdir()
    for split in ("train-0", "train-1", "validation"):
        row = {"id": f"{title}:{split}", "title": title, "origin": "plos", "abstract": "A."}
        Dataset.from_list([row | {"sections": [{"heading": "H", "text": "T."}]}]).to_parquet(
            path / f"{split}.parquet"
        )
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A Hub that answers with two rows of the columns of ccdv; returns what it was asked."""
    asked: list[tuple[str, str]] = []
    load = data.load_dataset

    def answer(name: str, subset: str | None = None, *, split: str, **more: object) -> Dataset:
        if name == "parquet":
            return load(name, split=split, **more)  # type: ignore[return-value]
        assert subset == "section"
        asked.append((name, split))
        article = f"First of {name}.\nSecond line."
        return Dataset.from_dict({"article": [article] * 2, "abstract": ["A.", "B."]})

    monkeypatch.setattr(data, "load_dataset", answer)
    monkeypatch.delenv("TERRAFORMER_DATA", raising=False)
    return asked


def test_the_named_folder_comes_first_then_the_variable_then_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[tuple[str, str]]
) -> None:
    named, variable = folder_of(tmp_path / "a", "named"), folder_of(tmp_path / "b", "variable")
    rows = find_split("validation")
    assert hub == [
        ("ccdv/arxiv-summarization", "validation"),
        ("ccdv/pubmed-summarization", "validation"),
    ]
    assert [group_of(origin) for origin in rows["origin"]] == ["arxiv"] * 2 + ["pubmed"] * 2
    assert len(set(rows["id"])) == 4
    assert [s.text for s in to_document(rows[3]).sentences] == [
        *("First of ccdv/pubmed-summarization.", "Second line."),
    ]
    monkeypatch.setenv("TERRAFORMER_DATA", str(variable))
    assert find_split("validation")["title"] == ["variable"]
    assert find_split("train", named)["id"] == ["named:train-0", "named:train-1"]
    assert len(hub) == 2


def test_a_folder_without_the_split_is_named_with_the_way_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "a", "a")
    with pytest.raises(DataError, match=rf"no test\*.parquet in {folder} \(named by --data\)"):
        find_split("test", folder)
    monkeypatch.setenv("TERRAFORMER_DATA", str(folder))
    with pytest.raises(DataError, match="named by TERRAFORMER_DATA"):
        find_split("test")


@pytest.mark.parametrize("error", [ConnectionError("no"), ValueError("no"), FileNotFoundError()])
def test_an_unreachable_hub_is_answered_with_all_three_ways(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(data, "load_dataset", fail)
    monkeypatch.delenv("TERRAFORMER_DATA", raising=False)
    with pytest.raises(DataError) as caught:
        find_split("train")
    message = str(caught.value)
    ways = ("--data", "TERRAFORMER_DATA", "ccdv/arxiv-summarization", "ccdv/pubmed-summarization")
    assert all(way in message for way in ways)
    assert "\n" not in message


def test_other_splits_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match=r"split \('dev'\)"):
        find_split("dev")


def test_a_row_is_a_document_without_its_abstract() -> None:
    sections = [{"heading": None, "text": "One."}, {"heading": "Methods", "text": "Two.\nThree."}]
    document = to_document({"title": None, "abstract": "Secret.", "sections": sections})
    assert [s.heading for s in document.sections] == ["", "Methods"]
    assert [s.text for s in document.sentences] == ["One.", "Two.", "Three."]
    assert (document.title, document.abstract) == ("", None)
    assert "Secret" not in document.text
    with pytest.raises(DataError, match="it has abstract, text"):
        to_document({"text": "", "abstract": ""})


@pytest.mark.parametrize("command", ["train", "tune", "prepare", "train_tokenizer"])
def test_a_command_without_papers_says_so_in_one_line(
    command: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer = str(tiny_checkpoint / "tokenizer.model")
    words = {
        "train": ["--tokenizer", tokenizer, "--examples", str(tmp_path), "--output", str(tmp_path)],
        "tune": [str(tiny_checkpoint)],
        "prepare": [str(tmp_path), "--tokenizer", tokenizer],
        "train_tokenizer": [str(tmp_path / "new.model")],
    }[command]
    monkeypatch.setattr("sys.argv", [command, *words, "--data", str(tmp_path)])
    assert import_module(f"finetune.{command}").main() == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"finetune.{command}: no ")
    assert str(tmp_path) in said


@pytest.mark.parametrize(
    "tail",
    [
        "",
        " The online version of this article (10.1186/x-018) contains supplementary material, "
        "which is available to authorized users.",
        " The online version contains supplementary material available at 10.1186/x-021-0.",
        " electronic supplementary material the online version of this article contains "
        "supplementary material, which is available to authorized users. keywords c. elegans"
        "damsissue-copyright-statement© the author 2014",
        " keywords dams riversissue-copyright-statement© the author 2015",
        " issue-copyright-statement© the author 2015",
    ],
)
def test_what_journals_append_to_an_abstract_is_left_out(tail: str) -> None:
    text = "We give keywords for dams. Code is available in the supplementary material."
    assert abstract_of({"abstract": text + tail}) == text
