from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from terraformer.attention_config import FullAttentionConfig, LSHAttentionConfig
from terraformer.config import TerraformerConfig
from terraformer.feed_forward_config import SparseFFConfig
from terraformer.heads import BLOCKED
from terraformer.model import Source, Terraformer
from terraformer.stack_config import SRUConfig, StackConfig

FEED_FORWARD = SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4, quant_prob=0.0)
CONFIG = TerraformerConfig(
    vocab_size=50,
    d_token=16,
    d_model=16,
    n_features=5,
    token_encoder=StackConfig(
        1, LSHAttentionConfig(n_heads=2, chunk_len=8), FEED_FORWARD, SRUConfig(1, 6)
    ),
    sentence_encoder=StackConfig(
        2, LSHAttentionConfig(n_heads=2, chunk_len=4), FEED_FORWARD, SRUConfig(1, 6)
    ),
    decoder=StackConfig(1, FullAttentionConfig(n_heads=2), FEED_FORWARD, SRUConfig(1, 6)),
    dropout=0.0,
)


def document(n_sentences: int, n_tokens: int) -> Source:
    """One document without padding; the first token belongs to a heading."""
    owners = torch.arange(n_tokens - 1) * n_sentences // (n_tokens - 1)
    return Source(
        ids=torch.randint(3, 50, (1, n_tokens)),
        token_mask=torch.ones(1, n_tokens, dtype=torch.bool),
        sentence_of_token=torch.cat([torch.tensor([-1]), owners])[None],
        features=torch.randn(1, n_sentences, 5),
        sentence_mask=torch.ones(1, n_sentences, dtype=torch.bool),
        selectable=torch.ones(1, n_sentences, dtype=torch.bool),
        n_words=torch.randint(5, 30, (1, n_sentences)),
    )


def batch(*documents: Source) -> Source:
    def pad(name: str) -> torch.Tensor:
        rows = [getattr(one, name)[0] for one in documents]
        value = -1 if name == "sentence_of_token" else 0
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    return Source(*(pad(name) for name in Source._fields))


@pytest.fixture
def model() -> Terraformer:
    return Terraformer(CONFIG).eval()


@pytest.mark.parametrize(("n_sentences", "n_tokens"), [(1, 2), (7, 63), (20, 200)])
@torch.no_grad()
def test_a_document_alone_is_the_document_in_a_batch(
    model: Terraformer, n_sentences: int, n_tokens: int
) -> None:
    short, long = document(n_sentences, n_tokens), document(40, 500)
    picks = torch.tensor([[0]])
    alone = model(short, picks)
    padded = batch(short, long)
    together = model(padded, torch.tensor([[0, -1, -1], [5, 9, 2]]))
    rows = together.logits[0, :2]
    torch.testing.assert_close(rows[:, :n_sentences], alone.logits[0, :, :-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[:, -1], alone.logits[0, :, -1], atol=1e-5, rtol=0)
    assert (rows[:, n_sentences:-1] == BLOCKED).all()
    filled = padded._replace(
        ids=torch.where(padded.token_mask, padded.ids, 37),
        features=torch.where(padded.sentence_mask[..., None], padded.features, 9.0),
        selectable=padded.selectable | ~padded.sentence_mask,
        n_words=torch.where(padded.sentence_mask, padded.n_words, 99),
    )
    other = model(filled, torch.tensor([[0, -1, -1], [5, 9, 2]]))
    torch.testing.assert_close(other.logits[0, :2], rows, atol=1e-5, rtol=0)


def test_stepping_is_the_forward_pass(model: Terraformer, assert_near: Callable[..., None]) -> None:
    source, picks = document(12, 90), [7, 0, 11, 3]
    source.selectable[0, 5] = False
    with torch.no_grad():
        expected = model(source, torch.tensor([picks])).logits[0]
    logits, state = model.begin(source)
    rows = [logits[0]]
    for pick in picks:
        logits, state = model.step(pick, int(source.n_words[0, pick]), state)
        rows.append(logits[0])
    assert_near(torch.stack(rows), expected)
    assert (expected[:, 5] == BLOCKED).all()
    for row in range(5):
        assert set((expected[row] == BLOCKED).nonzero().flatten().tolist()) == {5, *picks[:row]}


def test_a_step_leaves_the_state_before_it_able_to_pick_the_same(model: Terraformer) -> None:
    _, state = model.begin(document(6, 40))
    model.step(2, 9, state)
    assert bool(state.allowed[0, 2])
    assert state.n_picks == 0


def test_decoding_refuses_padding_and_batches(model: Terraformer) -> None:
    one = document(6, 40)
    for source in (
        batch(one, document(6, 40)),
        one._replace(sentence_mask=torch.arange(6)[None] < 5),
        one._replace(token_mask=torch.arange(40)[None] < 39),
    ):
        with pytest.raises(ValueError, match="one document without padding"):
            model.begin(source)


def test_later_picks_do_not_change_earlier_logits(model: Terraformer) -> None:
    source = document(10, 60)
    one = model(source, torch.tensor([[3, 4, 5]])).logits[0]
    other = model(source, torch.tensor([[3, 8, 1]])).logits[0]
    torch.testing.assert_close(one[:2], other[:2])
    assert (one[2, [0, 2, 6]] - other[2, [0, 2, 6]]).abs().max() > 1e-4


def loss_of(model: Terraformer, source: Source, picks: torch.Tensor) -> torch.Tensor:
    output = model(source, picks)
    n_stop = output.logits.shape[-1] - 1
    wanted = torch.cat([picks, torch.full_like(picks[:, :1], n_stop)], dim=1)
    pointer = functional.cross_entropy(output.logits.flatten(0, 1), wanted.flatten())
    return pointer + 0.1 * output.salience.square().mean()


def test_every_parameter_is_used() -> None:
    model = Terraformer(CONFIG).train()
    source = batch(document(12, 90), document(9, 60))
    loss_of(model, source, torch.tensor([[7, 0], [3, 8]])).backward()
    unused = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not unused


def test_one_batch_is_overfitted() -> None:
    model = Terraformer(CONFIG).train()
    source, picks = batch(document(12, 90), document(9, 60)), torch.tensor([[7, 0], [3, 8]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = loss_of(model, source, picks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_recomputing_changes_no_gradient_with_dropout_on() -> None:
    source, picks = batch(document(12, 90), document(9, 60)), torch.tensor([[7, 0], [3, 8]])
    model = Terraformer(TerraformerConfig.from_dict({**CONFIG.to_dict(), "dropout": 0.3})).train()
    twin = copy.deepcopy(model)
    losses = []
    for one, recompute in ((model, True), (twin, False)):
        for stack in (one.token_encoder, one.sentence_encoder, one.decoder):
            stack.sequence.recompute = recompute
        torch.manual_seed(1)
        losses.append(loss_of(one, source, picks))
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert one.grad is not None, name
        assert other.grad is not None, name
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
