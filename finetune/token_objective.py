"""The objectives of models that foresee tokens, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.distillation import Teacher, token_divergence
from finetune.span_corruption import TokenPair
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.language_model import LanguageModel
from terraformer.switch import load_balancing_loss
from terraformer.tokenizer import EOS_ID, PAD_ID
from terraformer.vocabulary_head import token_loss


def collate_windows(windows: Sequence[NDArray[np.int64]]) -> dict[str, Tensor]:
    """Pads windows to the longest: "ids" [B, L] and "mask" [B, L]."""
    ids, mask = _pad(windows)
    return {"ids": ids, "mask": mask}


def article_and_abstract(article: dict[str, Any]) -> TokenPair:
    """Returns a row of `finetune.article` as source and its abstract as target.

    Differs: an end-of-sequence follows the article; in the published code it was a padding id.
    """
    ids, abstract = (article[name].astype(np.int64) for name in ("ids", "abstract_ids"))
    return TokenPair(np.append(ids, EOS_ID), np.append(abstract, EOS_ID))


def collate_pairs(pairs: Sequence[TokenPair]) -> dict[str, Tensor]:
    """Pads sources and targets, each to the longest: ids and masks, [B, S] and [B, T]."""
    source_ids, source_mask = _pad([pair.source_ids for pair in pairs])
    target_ids, target_mask = _pad([pair.target_ids for pair in pairs])
    return {
        "source_ids": source_ids,
        "target_ids": target_ids,
        "source_mask": source_mask,
        "target_mask": target_mask,
    }


def _pad(rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = nn.utils.rnn.pad_sequence(
        [torch.from_numpy(row) for row in rows], batch_first=True, padding_value=PAD_ID
    )
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


class TokenObjective(nn.Module):
    """A model with the loss of the tokens that it foresees, as the Trainer wants it.

    Args:
        model: Of either kind.
    """

    def __init__(self, model: LanguageModel | EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, teacher: Teacher | None = None, **batch: Tensor) -> dict[str, Tensor]:
        """Returns the loss and its parts, each a scalar, in nats a token.

        The load-balancing loss of Switch layers is reported, not added: it joins the gradient
        inside the layers.

        Args:
            teacher: From whom the model's loss layer learns beside the data; a copy path, where
                there is one, learns from the data alone, as all does if None.
            batch: The arguments of the model, from `collate_windows` or `collate_pairs`.
        """
        kind = "target_" if "target_ids" in batch else ""
        ids, mask = batch[f"{kind}ids"], batch[f"{kind}mask"]
        if isinstance(self.model, EncoderDecoder):
            foresight = self.model.foresee(**batch)
            states, loss = foresight.states, self.model.loss_of(foresight, ids, mask)
        else:
            states = self.model(**batch)
            loss = token_loss(self.model.head, states, ids, mask)
        parts = {"token_loss": loss.detach()}
        if self.training:
            balance = load_balancing_loss(self.model)
            if balance:
                parts["load_balancing_loss"] = balance
        if teacher is not None:
            expert = teacher.model
            assert isinstance(expert, (LanguageModel, EncoderDecoder))
            with torch.no_grad():
                expected = expert(**batch)
            divergence = token_divergence(
                (self.model.head, states), (expert.head, expected), mask, teacher.temperature
            )
            parts["divergence"] = divergence.detach()
            loss = teacher.mix(loss, divergence)
        return {"loss": loss, **parts}
