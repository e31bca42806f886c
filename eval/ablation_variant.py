"""Changes of the extractor, and of its training, that the ablation tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eval.ablation_examples import Hidden


@dataclass(frozen=True)
class Variant:
    """One change of the extractor, or of its training.

    Attributes:
        what: The change, in words.
        config: Fields of the config that are changed, nested as in its JSON.
        arguments: More words for `finetune.train`.
        hidden: What of the prepared papers is not shown.
        pretraining: Task of `finetune.train` that is trained first, on the reading of tokens alone
            where it writes.
    """

    what: str
    config: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    hidden: Hidden | None = None
    pretraining: str | None = None


_STACKS = ("token_encoder", "sentence_encoder", "decoder")
_FULL = {"type": "FullAttentionConfig", "n_heads": 4}
_DENSE = {"type": "DenseFFConfig", "d_ff": 256}
VARIANTS: dict[str, Variant] = {
    "whole": Variant("as shipped"),
    "full-attention": Variant(
        "full attention for LSH", {name: {"attention": _FULL} for name in _STACKS[:2]}
    ),
    "dense-feed-forward": Variant(
        "dense feed-forward for sparse", {name: {"feed_forward": _DENSE} for name in _STACKS}
    ),
    "no-recurrence": Variant("no SRU", {name: {"sru": None} for name in _STACKS}),
    "no-token-layers": Variant("tokens without context", {"token_encoder": {"n_layers": 0}}),
    "two-token-layers": Variant("a second layer over tokens", {"token_encoder": {"n_layers": 2}}),
    "no-sentence-layers": Variant("no encoder of sentences", {"sentence_encoder": {"n_layers": 0}}),
    "wide": Variant("token states of 128, sentences of 192", {"d_token": 128, "d_model": 192}),
    "narrow-sentences": Variant("sentence states of 64", {"d_model": 64}),
    "no-average": Variant("the last weights, not their average", {}, ("--average-decay", "0")),
    "no-dropout": Variant("no dropout", {"dropout": 0.0}),
    "one-episode": Variant("one oracle episode a paper for eight", hidden=Hidden(n_episodes=1)),
    "no-section-kind": Variant("no kinds of section", hidden=Hidden("in_.*")),
    "no-places": Variant(
        "no places in document and section",
        hidden=Hidden(
            "document_(?!centroid).*|section_(?!forward|backward).*|sections_left|"
            "n_sections|n_sentences|opens_.*|closes_.*"
        ),
    ),
    "no-features": Variant("no features of sentences", hidden=Hidden(".*")),
    "span-corruption": Variant("pretrained by span corruption", pretraining="span-corruption"),
    "gap-sentences": Variant("pretrained by gap sentences", pretraining="gap-sentences"),
    "sentence-order": Variant("pretrained by sentence order", pretraining="sentence-order"),
}


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's JSON with changes, nested as it is; a new "type" replaces a whole part."""
    result = dict(config)
    for name, value in changes.items():
        part = result.get(name)
        if isinstance(value, Mapping) and isinstance(part, Mapping) and "type" not in value:
            result[name] = changed(part, value)
        else:
            result[name] = value
    return result
