from __future__ import annotations

import dataclasses
import json

import pytest

from terraformer.attention_config import FullAttentionConfig, LSHAttentionConfig
from terraformer.config import PickingConfig, TerraformerConfig
from terraformer.features import N_FEATURES
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.stack_config import SRUConfig, StackConfig

OTHER = TerraformerConfig(
    vocab_size=99,
    d_token=12,
    d_model=20,
    n_features=3,
    token_encoder=StackConfig(3, FullAttentionConfig(n_heads=3), DenseFFConfig(8)),
    sentence_encoder=StackConfig(
        1, LSHAttentionConfig(n_heads=5, n_buckets=4, seed=7), SparseFFConfig(64, 8), SRUConfig(2)
    ),
    picking=PickingConfig(0.3, 1.5, 7),
    dropout=0.0,
)


@pytest.mark.parametrize("config", [TerraformerConfig(), OTHER], ids=["default", "other"])
def test_json_round_trip(config: TerraformerConfig) -> None:
    assert TerraformerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_layer_is_the_type_of_the_nested_config() -> None:
    values = OTHER.to_dict()
    assert values["token_encoder"]["attention"]["type"] == "FullAttentionConfig"
    assert values["sentence_encoder"]["attention"]["type"] == "LSHAttentionConfig"


def test_what_is_left_out_has_its_default() -> None:
    assert TerraformerConfig.from_dict({"vocab_size": 7}) == TerraformerConfig(vocab_size=7)
    assert TerraformerConfig().n_features == N_FEATURES


def test_unknown_fields_and_types_are_named() -> None:
    with pytest.raises(ValueError, match="unknown fields of TerraformerConfig: n_layres"):
        TerraformerConfig.from_dict({"n_layres": 3})
    nested = TerraformerConfig().to_dict()
    nested["decoder"]["attention"]["n_haeds"] = 2
    with pytest.raises(ValueError, match="unknown fields of FullAttentionConfig: n_haeds"):
        TerraformerConfig.from_dict(nested)
    nested = TerraformerConfig().to_dict()
    nested["decoder"]["attention"]["type"] = "NoAttention"
    with pytest.raises(ValueError, match="unknown config type 'NoAttention'"):
        TerraformerConfig.from_dict(nested)
    with pytest.raises(ValueError, match="expected a TerraformerConfig, got a SRUConfig"):
        TerraformerConfig.from_dict({"type": "SRUConfig"})


def test_sizes_that_do_not_divide_are_named_with_both_values() -> None:
    with pytest.raises(ValueError, match=r"d_ff \(100\) .* feed_forward.block_size \(32\)"):
        SparseFFConfig(d_ff=100, block_size=32)
    with pytest.raises(ValueError, match=r"d_token \(97\) .* token_encoder.attention.n_heads \(2"):
        TerraformerConfig(d_token=97)
    with pytest.raises(ValueError, match=r"d_model \(130\) .* sentence_encoder.attention.n_heads"):
        TerraformerConfig(d_model=130)


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TerraformerConfig().d_model = 3  # type: ignore[misc]
