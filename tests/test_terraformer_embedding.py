from __future__ import annotations

import pytest
import torch

from terraformer.embedding import TokenEmbedding, sinusoidal_positions


@pytest.mark.parametrize("d_model", [1, 2, 7, 96])
def test_positions_are_those_of_a_longer_sequence(d_model: int) -> None:
    whole = sinusoidal_positions(50, d_model)
    assert whole.shape == (50, d_model)
    torch.testing.assert_close(sinusoidal_positions(20, d_model, start=30), whole[30:])


def test_a_position_is_sines_then_cosines() -> None:
    position = sinusoidal_positions(4, 5)[3]
    angles = torch.tensor([3.0, 3.0 / 10_000**0.5])
    expected = torch.cat([angles.sin(), angles.cos(), torch.zeros(1)])
    torch.testing.assert_close(position, expected)


def test_positions_are_scaled_and_added() -> None:
    embedding = TokenEmbedding(11, 8)
    ids = torch.randint(11, (2, 6))
    with torch.no_grad():
        embedding.position_scale.fill_(2.5)
    expected = embedding.table.weight[ids] + 2.5 * sinusoidal_positions(6, 8, start=4)
    torch.testing.assert_close(embedding(ids, start=4), expected)
    embedding(ids).sum().backward()
    assert embedding.position_scale.grad is not None
