"""The command `python -m eval.learning`, its tasks and its members."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Generator

from eval.learning import learn, main
from eval.learning_cache import CACHES, attends_to_all, measure_caches
from eval.learning_member import CHUNK_LEN, D_MODEL, MEMBERS, build_member, fit_positions
from eval.learning_task import BLANK, N_KEYS, N_LISTED, N_VALUES, TASKS, Batch
from eval.learning_training import Schedule, accuracy, curriculum, measure, train
from terraformer.attention_config import LSHAttentionConfig
from terraformer.positions import AxialPositions
from terraformer.selected_cache import SelectedCacheConfig


def draw(task: str, length: int, n_examples: int = 8, seed: int = 0) -> Batch:
    return TASKS[task].draw(n_examples, length, Generator().manual_seed(seed))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("length", [64, 200, 1024])
def test_sequences_are_as_long_as_asked_and_repeated_by_the_seed(task: str, length: int) -> None:
    ids, scored = draw(task, length)
    assert ids.shape == scored.shape == (8, length)
    assert ids.min() >= BLANK
    assert ids.max() < TASKS[task].vocab_size
    assert torch.equal(draw(task, length).ids, ids)
    assert not torch.equal(draw(task, length, seed=1).ids, ids)


@pytest.mark.parametrize("length", [64, 1024])
def test_the_copied_word_fills_the_sequence(length: int) -> None:
    ids, scored = draw("copying", length)
    word, again = ids[:, : length // 2 - 1], ids[:, length // 2 + 1 :]
    assert torch.equal(again, word)
    assert (word != BLANK).all()
    assert torch.equal(ids[scored].view(8, -1), again)


@pytest.mark.parametrize("length", [64, 1024])
def test_the_list_is_sorted(length: int) -> None:
    ids, scored = draw("sorting", length)
    for row, ends in zip(ids, scored, strict=True):
        given = row[: -N_LISTED - 1]
        listed = given[given != BLANK]
        assert len(listed.unique()) == N_LISTED
        assert not torch.equal(listed, listed.sort().values)
        assert torch.equal(row[ends], listed.sort().values)


@pytest.mark.parametrize("length", [64, 1024])
def test_each_key_is_asked_for_its_value(length: int) -> None:
    ids, scored = draw("recall", length)
    for row, ends in zip(ids, scored, strict=True):
        given = row[: -2 * N_KEYS]
        values, keys = given[given != BLANK].view(N_KEYS, 2).T.tolist()
        value_of = dict(zip(keys, values, strict=True))
        assert len(value_of) == N_KEYS
        asked = row[ends.roll(-1)].tolist()
        assert row[ends].tolist() == [value_of[key] for key in asked]
        assert asked != keys
        assert max(values) <= N_VALUES < min(keys)


@pytest.mark.parametrize("task", ["sorting", "recall"])
def test_items_are_scattered_over_the_sequence(task: str) -> None:
    ids, scored = draw(task, 1024, n_examples=64)
    given = ids[:, : int(scored[0].nonzero().min()) - 1]
    quarters = (given != BLANK).float().unflatten(1, (-1, given.shape[1] // 4))
    shares = quarters[:, :4].sum(dim=-1).mean(dim=0) / (given != BLANK).sum(dim=1).float().mean()
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0.2, atol=0)


def test_chance_is_the_best_blind_guess() -> None:
    ids, scored = draw("sorting", 64, n_examples=2000)
    before, answers = ids[:, -N_LISTED - 1 : -1], ids[scored].view(2000, -1)
    follows = (answers == before + 1)[:, 1:].float().mean().item()
    assert follows == pytest.approx(TASKS["sorting"].chance, abs=0.01)
    for task in ("copying", "recall"):
        ids, scored = draw(task, 64, n_examples=2000)
        counts = ids[scored].bincount(minlength=TASKS[task].vocab_size).float()
        assert (counts / counts.sum()).max() == pytest.approx(TASKS[task].chance, abs=0.01)


def test_accuracy_counts_the_right_answers() -> None:
    logits = torch.eye(4)
    assert accuracy(logits, torch.arange(4)) == 1.0
    assert accuracy(logits, torch.tensor([0, 1, 0, 0])) == 0.5


def test_curricula_end_at_the_length() -> None:
    assert curriculum(4096) == (64, 256, 1024, 4096)
    assert curriculum(1024) == (64, 256, 1024)
    assert curriculum(64) == (64,)


@pytest.mark.parametrize("member", MEMBERS)
def test_members_answer_without_seeing_the_answer(member: str) -> None:
    torch.manual_seed(0)
    length = 2 * CHUNK_LEN  # beyond, later positions have a say in what shares a chunk
    model = build_member(member, TASKS["copying"]).eval()
    fit_positions(model, length)
    ids, _ = draw("copying", length, n_examples=1)
    changed = ids.clone()
    changed[:, 70:] = 1 + changed[:, 70:] % 32
    before, after = model(ids), model(changed)
    torch.testing.assert_close(after[:, :71], before[:, :71])
    assert not torch.allclose(after[:, 71:], before[:, 71:])


def test_longer_sequences_keep_the_places_that_were_learnt() -> None:
    model = build_member("dense", TASKS["copying"])
    places = []
    for length in (64, 256):
        fit_positions(model, length)
        assert isinstance(model.positions, AxialPositions)
        places.append(model.positions(torch.zeros(1, length, D_MODEL))[0])
    short, long = places
    assert torch.equal(long[:32], short[:32])
    assert torch.equal(long[128:160], short[32:])


def test_more_hashes_take_the_same_weights() -> None:
    few = build_member("terraformer", TASKS["recall"])
    more = build_member("terraformer", TASKS["recall"], n_hashes=7)
    more.load_state_dict(few.state_dict())
    for attention in more.config.decoder.attentions:
        assert isinstance(attention, LSHAttentionConfig)
        assert attention.n_hashes == 7


def test_a_tiny_run_beats_chance() -> None:
    schedule = Schedule(max_steps=250, n_tokens=256, stop_at=0.5)
    row = learn("dense", TASKS["copying"], 16, schedule, n_sequences=32)
    assert row["steps"] < schedule.max_steps
    assert row["accuracy"] > 10 * row["chance"]


def test_the_command_prints_a_table_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "learning.json"
    arguments = "--members reformer --tasks recall --lengths 64 --max-steps 2 --sequences 1".split()
    arguments += ["--resume", str(tmp_path / "rows"), "--report", str(report)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "reformer" in printed
    rows = json.loads(report.read_text(encoding="utf-8"))["rows"]
    assert [row["steps"] for row in rows] == [2]
    assert {"accuracy", "accuracy_16_hashes", "chance", "cpu_s"} <= rows[0].keys()
    monkeypatch.setattr("eval.learning.learn", lambda *_: pytest.fail("not resumed"))
    assert main(arguments) == 0
    assert capsys.readouterr().out == printed


def test_steps_with_a_short_window_lose_what_stands_far_back() -> None:
    """Copying 16 tokens asks for what stands 8 back: a window of 4 cannot know it."""
    torch.manual_seed(0)
    task, length = TASKS["copying"], 16
    model = build_member("dense", task)
    train(model, task, length, Schedule(max_steps=250, n_tokens=128, stop_at=0.9))
    caches = {
        "all": SelectedCacheConfig(n_recent=length),
        "window": SelectedCacheConfig(n_first=0, n_recent=4, n_hashes=0, mean_of_rest=False),
        "selected": SelectedCacheConfig(n_recent=4, n_hashes=8, n_buckets=4),
    }
    full, everything, window, selected = measure_caches(model, task, length, 8, caches)
    assert full["accuracy"] == pytest.approx(measure(model, task, length, 8), abs=1e-4)
    assert full["accuracy"] > 0.8
    assert everything == full | {"cache": "all", "reads": caches["all"].n_read}
    assert window["accuracy"] < 0.3
    assert window["lost"] == pytest.approx(full["accuracy"] - window["accuracy"], abs=2e-4)
    assert window["lost_error"] > 0.0
    assert selected["accuracy"] > 2 * window["accuracy"]


def test_the_caches_read_as_few_positions_as_their_names_say() -> None:
    assert CACHES["window"].n_read == CACHES["selected"].n_read
    assert CACHES["selected, 32 hashes"].n_read == CACHES["selected"].n_read
    assert CACHES["selected, 4 hashes"].n_read < CACHES["selected"].n_read / 3
    assert [name for name in MEMBERS if attends_to_all(name)] == ["dense", "scaling", "switch"]


def test_the_command_measures_caches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "learning.json"
    arguments = "--members dense reformer --tasks recall --lengths 64 --max-steps 2".split()
    assert main([*arguments, "--sequences", "2", "--caches", "--report", str(report)]) == 0
    written = json.loads(report.read_text(encoding="utf-8"))
    dense, reformer = written["rows"]
    assert [row["cache"] for row in dense["caches"]] == ["full", *CACHES]
    assert "caches" not in reformer
    assert written["config"]["caches"]["selected"]["n_recent"] == 128
    assert len(capsys.readouterr().out.splitlines()) == 3 + 1 + 1 + 7


def test_too_short_sequences_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--lengths", "32"])
    assert stop.value.code == 2
    assert "sorting takes at least 64 tokens" in capsys.readouterr().err
