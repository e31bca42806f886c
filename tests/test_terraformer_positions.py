from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from terraformer.position_config import (
    AxialPositionsConfig,
    FixedBasePositionsConfig,
    LearnedPositionsConfig,
    PositionsConfig,
    SinusoidalPositionsConfig,
    TimeBinPositionsConfig,
)
from terraformer.positions import (
    AxialPositions,
    FixedBasePositions,
    LearnedPositions,
    Positions,
    SinusoidalPositions,
    TimeBinPositions,
    build_positions,
)

D_MODEL = 16
CONFIGS: list[PositionsConfig] = [
    LearnedPositionsConfig(max_len=40, dropout=0.5),
    LearnedPositionsConfig(max_len=40, d_lowrank=6, dropout=0.5),
    AxialPositionsConfig(shape=(2, 4, 5), widths=(3, 6, 7), dropout=0.5),
    FixedBasePositionsConfig(bases=(3, 4), n_digits=4, base_dropout=0.5),
    SinusoidalPositionsConfig(max_offset=100, dropout=0.5),
    TimeBinPositionsConfig(bin_len=7),
]


def kinds(configs: list[PositionsConfig]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("config", configs, ids=lambda c: type(c).__name__)


all_kinds = kinds(CONFIGS)
those_that_draw = kinds(CONFIGS[:5])
those_that_end = kinds(CONFIGS[:4])


def as_layer(config: PositionsConfig) -> Positions:
    """The layer in evaluation, with weights that are not the initial ones."""
    layer = build_positions(config, D_MODEL)
    assert layer is not None
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer.eval()


@all_kinds
def test_steps_are_the_forward_pass(
    config: PositionsConfig, assert_near: Callable[..., None]
) -> None:
    layer = as_layer(config)
    x = torch.randn(2, 40, D_MODEL)
    whole = layer(x)
    steps = [layer(x[:, t : t + 1], start=t) for t in range(40)]
    assert_near(torch.cat(steps, dim=1), whole)
    assert_near(layer(x[:, 17:], start=17), whole[:, 17:])


@all_kinds
def test_all_positions_differ(config: PositionsConfig) -> None:
    if isinstance(config, TimeBinPositionsConfig):
        config = TimeBinPositionsConfig(bin_len=40)
    encoded = as_layer(config)(torch.zeros(1, 40, D_MODEL))[0]
    distances = torch.cdist(encoded, encoded) + torch.eye(40)
    assert distances.min() > 1e-3


@all_kinds
def test_dtype_is_kept(config: PositionsConfig, assert_near: Callable[..., None]) -> None:
    layer = as_layer(config)
    x = torch.randn(2, 9, D_MODEL)
    low = layer.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert_near(low, layer.float()(x.bfloat16().float()), dtype=torch.bfloat16)


@those_that_draw
def test_training_draws_are_repeated_by_the_seed(config: PositionsConfig) -> None:
    layer = as_layer(config).train()
    x = torch.randn(8, 12, D_MODEL)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), layer(x))


@those_that_end
def test_too_long_is_refused_with_the_way_out(config: PositionsConfig) -> None:
    layer = as_layer(config)
    limit = 81 if isinstance(config, FixedBasePositionsConfig) else 40
    layer(torch.zeros(1, 1, D_MODEL), start=limit - 1)
    with pytest.raises(ValueError, match=rf"{limit + 1} positions .* max_len \({limit}\): \w+"):
        layer(torch.zeros(1, 2, D_MODEL), start=limit - 1)


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"widths \(3, 4\) .* d_model \(16\), not 7"):
        build_positions(AxialPositionsConfig(shape=(2, 2), widths=(3, 4)), D_MODEL)
    with pytest.raises(ValueError, match=r"d_model \(16\) .* positions.n_digits \(5\)"):
        build_positions(FixedBasePositionsConfig(n_digits=5), D_MODEL)
    with pytest.raises(ValueError, match=r"d_model \(2\) must be at least 3"):
        build_positions(TimeBinPositionsConfig(), 2)


def test_dropout_takes_whole_features_of_the_encoding() -> None:
    layer = LearnedPositions(LearnedPositionsConfig(max_len=40, dropout=0.5), D_MODEL)
    with torch.no_grad():
        layer.table.fill_(1.0)
    added = layer(torch.zeros(2, 40, D_MODEL))
    assert set(added.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(added, added[:1, :1].expand_as(added))


def test_half_of_the_examples_are_shifted() -> None:
    layer = SinusoidalPositions(SinusoidalPositionsConfig(max_offset=50), D_MODEL)
    shifted = layer(torch.zeros(400, 3, D_MODEL))
    positions = layer.eval()(torch.zeros(1, 60, D_MODEL))[0]
    starts = torch.cdist(shifted[:, 0], positions).argmin(dim=1)
    torch.testing.assert_close(shifted, positions[starts[:, None] + torch.arange(3)])
    assert 150 < (starts == 0).sum() < 270
    assert len(starts.unique()) > 30


def test_bases_start_apart_and_are_left_out_apart() -> None:
    config = FixedBasePositionsConfig(random_start=False, base_dropout=0.5)
    layer = FixedBasePositions(config, D_MODEL)
    assert len(layer.scales.unique()) == layer.scales.numel()
    with torch.no_grad():
        layer.scales.copy_(10.0 ** torch.arange(4)[:, None, None].expand_as(layer.scales))
    bases_kept = layer(torch.zeros(100, 2, D_MODEL))[:, 1, 0]
    assert len(bases_kept.unique()) > 8


def test_random_starts_have_the_digits_of_one_position() -> None:
    config = FixedBasePositionsConfig(bases=(7,), n_digits=2, base_dropout=0.0)
    layer = FixedBasePositions(config, 2)
    with torch.no_grad():
        layer.scales.copy_(torch.tensor([[[1.0], [7.0]]]))
        layer.start_vector.zero_()
    positions = layer(torch.zeros(400, 5, 2)).sum(dim=-1)
    torch.testing.assert_close(positions - positions[:, :1], torch.arange(5.0).expand(400, 5))
    assert 150 < (positions[:, 0] == 0).sum() < 270
    assert 40 < positions.max() <= 48


def published_layers(golden: dict[str, Any]) -> dict[str, Positions]:
    """Layers with the weights of the file, by the names of their outputs."""
    d_model = golden["x"].shape[-1]
    layers: dict[str, Positions] = {}
    if "sincos_y" in golden:
        layers["sincos_y"] = SinusoidalPositions(SinusoidalPositionsConfig(), d_model)
    for name in golden:
        if found := re.fullmatch(r"timebin(\d+)_y", name):
            layers[name] = TimeBinPositions(TimeBinPositionsConfig(int(found[1])), d_model)
    if "learned_y" in golden:
        config = LearnedPositionsConfig(max_len=len(golden["learned_init"]))
        layers["learned_y"] = LearnedPositions(config, d_model)
    if "lowrank_y" in golden:
        max_len, d_lowrank = golden["lowrank_pe"].shape
        layer = LearnedPositions(LearnedPositionsConfig(max_len, d_lowrank), d_model)
        assert layer.projection is not None
        with torch.no_grad():
            layer.projection.weight.copy_(golden["lowrank_ff"].T)
        layers["lowrank_y"] = layer
    if "axial_y" in golden:
        tables = [golden[name] for name in sorted(golden) if re.fullmatch(r"axial_w\d+", name)]
        shape = tuple(max(table.shape[:-1]) for table in tables)
        widths = tuple(table.shape[-1] for table in tables)
        layer = AxialPositions(AxialPositionsConfig(shape, widths), d_model)
        with torch.no_grad():
            for own, table in zip(layer.tables, tables, strict=True):
                own.copy_(table.flatten(0, -2))
        layers["axial_y"] = layer
    if "fixed_base_y" in golden:
        places = [
            (int(found[1]), int(found[2]))
            for name in golden
            if (found := re.fullmatch(r"fixed_base_w/0/(\d+)/(\d+)", name))
        ]
        n_bases, n_digits = (1 + max(numbers) for numbers in zip(*places, strict=True))
        bases = FixedBasePositionsConfig().bases[:n_bases]
        layer = FixedBasePositions(FixedBasePositionsConfig(bases, n_digits), d_model)
        with torch.no_grad():
            for base, digit in places:
                layer.scales[base, digit] = golden[f"fixed_base_w/0/{base}/{digit}"][0]
            layer.start_vector.copy_(golden["fixed_base_w/1"].flatten())
        layers["fixed_base_y"] = layer
    return layers


@pytest.mark.golden("positional")
def test_as_published(golden: dict[str, Any], assert_near: Callable[..., None]) -> None:
    layers = published_layers(golden)
    assert layers.keys() == {
        name for name in golden if name.endswith("_y") and not name.startswith("infinite")
    }
    x = golden["x"]
    for name, layer in layers.items():
        layer.eval()
        assert_near(layer(x), golden[name])
        steps = [layer(x[:, t : t + 1], start=t) for t in range(x.shape[1])]
        assert_near(torch.cat(steps, dim=1), golden[name])


@pytest.mark.golden("positional")
def test_tables_start_as_published(
    golden: dict[str, Any], assert_near: Callable[..., None]
) -> None:
    for name in golden.keys() & {"learned_init", "lowrank_pe"}:
        max_len, d_table = golden[name].shape
        layer = LearnedPositions(LearnedPositionsConfig(max_len), d_table)
        assert_near(layer.table.detach(), golden[name])
