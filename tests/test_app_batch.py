"""Folders of papers, and the pool of processes behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import cli
from app.batch import BatchReport, Job, plan
from app.whole_file import write_whole
from app.worker_pool import WorkerEndedError, run_each
from terraformer.errors import DocumentError, TerraformerError


@pytest.fixture
def papers(tmp_path: Path, paper_text: str) -> Path:
    folder = tmp_path / "papers"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text(paper_text, encoding="utf-8")
    (folder / "deep" / "b.md").write_text(paper_text.replace("river", "glacier"), encoding="utf-8")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    (folder / "data.csv").write_text("1,2", encoding="utf-8")
    return folder


def test_folder_end_to_end(capsys, tmp_path, papers, tiny_checkpoint) -> None:
    out = tmp_path / "out"
    argv = [str(papers), "-o", str(out), "--model", str(tiny_checkpoint), "--threads", "1"]

    assert cli.main([*argv, "--format", "markdown"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "summarize: 2 summarized, 0 there already, 1 failed"
    assert lines[-2].startswith(f"summarize: {papers / 'empty.txt'} is empty")
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.summary.md", "deep/b.summary.md"]
    assert "glacier" in (out / "deep" / "b.summary.md").read_text()

    (papers / "empty.txt").unlink()
    (out / "a.summary.md").write_text("mine")
    assert cli.main([*argv, "--format", "markdown"]) == 0
    assert capsys.readouterr().err == "summarize: 0 summarized, 2 there already, 0 failed\n"
    assert (out / "a.summary.md").read_text() == "mine"


def test_missing_model_stops_the_batch(capsys, tmp_path, papers) -> None:
    argv = [str(papers), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "none")]
    assert cli.main([*argv, "--threads", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("summarize: no checkpoint")
    assert error.count("\n") == 1


def test_missing_gpu_stops_the_batch(capsys, tmp_path, papers, monkeypatch) -> None:
    argv = [str(papers), "-o", str(tmp_path / "out"), "--device", "cuda:99"]
    for check in ("app.cli.uses_gpu", None):  # seen at once, or by the process at work
        assert cli.main([*argv, "--threads", "1"]) == 1
        error = capsys.readouterr().err
        assert error.startswith(("summarize: --device cuda:99", "summarize: there is no cuda:99"))
        assert error.count("\n") == 1
        if check is not None:
            monkeypatch.setattr(check, lambda device: False)


@pytest.mark.parametrize(("device", "n_expected"), [("cpu", 3), ("cuda", 1)])
def test_a_gpu_is_given_to_one_process(
    tmp_path, papers, monkeypatch, device: str, n_expected: int
) -> None:
    asked = {}

    def note(jobs, settings, *, n_workers, **_: object) -> BatchReport:
        asked.update(device=settings.device, memory=settings.memory, n_workers=n_workers)
        return BatchReport(len(jobs), 0, ())

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("app.batch.summarize_papers", note)
    argv = [str(papers), "-o", str(tmp_path / "out"), "--threads", "3", "--memory", "3000"]
    assert cli.main([*argv, "--device", device]) == 0
    assert asked == {"device": device, "memory": 3000 // n_expected, "n_workers": n_expected}


def test_plan_names_each_summary(tmp_path, papers) -> None:
    (papers / "a.pdf").write_bytes(b"%PDF-")
    (papers / "a.summary.md").write_text("an earlier summary")
    jobs = plan([papers], tmp_path / "out", "json")
    assert [(job.source.name, job.target.relative_to(tmp_path).as_posix()) for job in jobs] == [
        ("a.md", "out/a.summary.json"),
        ("a.pdf", "out/a.pdf.summary.json"),
        ("b.md", "out/deep/b.summary.json"),
        ("empty.txt", "out/empty.summary.json"),
    ]


def test_plan_takes_a_paper_once(tmp_path, papers) -> None:
    paper = papers / "a.md"
    assert plan([paper, paper], tmp_path, "text") == [Job(paper, tmp_path / "a.summary.txt")]


def test_plan_refuses_two_papers_for_one_file(tmp_path, papers) -> None:
    (papers / "deep" / "a.md").write_text("another")
    with pytest.raises(ValueError, match=r"would share the file .*a\.summary\.txt"):
        plan([papers / "a.md", papers / "deep" / "a.md"], tmp_path, "text")


def test_plan_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(DocumentError, match="does not exist"):
        plan([tmp_path / "none.pdf"], tmp_path, "text")
    with pytest.raises(DocumentError, match=r"holds no paper \(looked for .*\.pdf"):
        plan([tmp_path], tmp_path / "out", "text")


def test_item_that_ends_its_process_fails_alone() -> None:
    items = ["1 + 1", "1 / 0", "__import__('os')._exit(3)", "2 + 2", "3 + 3"]
    outcomes = dict(run_each(eval, items, n_workers=2))
    assert set(outcomes) == set(items)
    assert [outcomes[item] for item in items[:1] + items[3:]] == [2, 4, 6]
    assert isinstance(outcomes["1 / 0"], ZeroDivisionError)
    assert isinstance(outcomes["__import__('os')._exit(3)"], WorkerEndedError)


def test_whole_file_leaves_nothing_behind_when_refused(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TerraformerError, match="cannot write"):
        write_whole(tmp_path / "folder", "text")
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_whole_file_replaces_through_a_link(tmp_path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_whole(link, "new\n")
    assert link.is_symlink()
    assert target.read_text() == "new\n"
