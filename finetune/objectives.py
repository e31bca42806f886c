"""The extractive objective: follow near-oracle episodes, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from finetune.distillation import Teacher, divergence
from terraformer.batch import SourceArrays, collate
from terraformer.model import Source, Terraformer


@dataclass(frozen=True)
class Targets:
    """What one document asks of the pointer, T being the picks of a sampled episode.

    Attributes:
        picks: The episode in a random order, [T].
        next_pick: Distribution over what follows 0, 1, …, T picks, [T + 1, S + 1], last the stop.
        membership: Share of the episodes that hold each sentence, [S].
        weight: Reward of the episodes, about 1 in the mean.
    """

    picks: NDArray[np.int64]
    next_pick: NDArray[np.float32]
    membership: NDArray[np.float32]
    weight: float


TYPICAL_SCORE = 0.5  # mean ROUGE-1/2 F1 of an oracle episode, so that weights are about 1
EPISODE_SHARPNESS = 50.0  # per unit of score: an episode 0.02 better counts e times as much


def sample_targets(
    episodes: Sequence[Sequence[int]],
    scores: Sequence[float],
    n_sentences: int,
    random: np.random.Generator,
) -> Targets:
    """Samples an episode and asks, after each of its picks, for any that remain in the episodes.

    The target after a prefix is not the episode's own next pick alone but every sentence not yet
    picked, by the share of episodes that hold it: the order of picks carries no meaning, and the
    average over near-oracle episodes is a steadier teacher than any one of them.

    Args:
        episodes: Sentence indices of each episode, best first.
        scores: Mean ROUGE-1/2 F1 of each.
        n_sentences: S.
        random: Source of the choice and of the order.
    """
    reward = np.asarray(scores, np.float64)
    share = np.exp(EPISODE_SHARPNESS * (reward - reward.max()))
    share /= share.sum()
    membership = np.zeros(n_sentences)
    for episode, part in zip(episodes, share, strict=True):
        membership[list(episode)] += part
    picks = random.permutation(np.asarray(episodes[random.choice(len(episodes), p=share)]))
    next_pick = np.zeros((len(picks) + 1, n_sentences + 1), np.float32)
    remaining = membership.copy()
    for row, pick in enumerate(picks):
        next_pick[row, :-1] = remaining / remaining.sum()
        remaining[pick] = 0.0
    next_pick[-1, -1] = 1.0
    return Targets(
        picks=picks.astype(np.int64),
        next_pick=next_pick,
        membership=membership.astype(np.float32),
        weight=float(share @ reward) / TYPICAL_SCORE,
    )


class ExtractCollator:
    """Makes a batch of prepared examples: the source, and targets sampled anew at every visit."""

    def __init__(self, n_features: int, seed: int) -> None:
        self._n_features = n_features
        self._random = np.random.default_rng(seed)

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        source = collate(
            [
                SourceArrays(
                    ids=example["ids"],
                    sentence_of_token=example["sentence_of_token"],
                    features=example["features"].reshape(-1, self._n_features),
                    selectable=example["selectable"],
                    n_words=example["n_words"],
                )
                for example in examples
            ]
        )
        targets = [
            sample_targets(
                example["episodes"], example["scores"], len(example["n_words"]), self._random
            )
            for example in examples
        ]
        return {**source._asdict(), **collate_targets(targets)}


def collate_targets(targets: Sequence[Targets]) -> dict[str, Tensor]:
    """Pads targets to those of the longest document: what `ExtractObjective` takes beside it."""
    n_picks = max(len(target.picks) for target in targets)
    n_sentences = max(len(target.membership) for target in targets)
    picks = torch.full((len(targets), n_picks), -1)
    next_pick = torch.zeros(len(targets), n_picks + 1, n_sentences + 1)
    membership = torch.zeros(len(targets), n_sentences)
    for row, target in enumerate(targets):
        n, s = len(target.picks), len(target.membership)
        picks[row, :n] = torch.from_numpy(target.picks)
        next_pick[row, : n + 1, :s] = torch.from_numpy(target.next_pick[:, :-1])
        next_pick[row, : n + 1, -1] = torch.from_numpy(target.next_pick[:, -1])
        membership[row, :s] = torch.from_numpy(target.membership)
    return {
        "picks": picks,
        "next_pick": next_pick,
        "membership": membership,
        "weight": torch.tensor([target.weight for target in targets]),
    }


class ExtractObjective(nn.Module):
    """The model with its training loss, as Hugging Face's Trainer wants it.

    The loss is the cross-entropy of the next pick, weighted by the episodes' reward, plus
    `salience_weight` times the binary cross-entropy of saliences against episode membership.
    """

    def __init__(self, model: Terraformer, salience_weight: float = 0.5) -> None:
        super().__init__()
        self.model = model
        self.salience_weight = salience_weight

    def forward(
        self,
        picks: Tensor,
        next_pick: Tensor,
        membership: Tensor,
        weight: Tensor,
        teacher: Teacher | None = None,
        **source: Tensor,
    ) -> dict[str, Tensor]:
        """Returns the loss and its parts, each a scalar.

        Args:
            picks: [B, T], -1 pads.
            next_pick: [B, T + 1, S + 1]; rows of padding are zero.
            membership: [B, S].
            weight: [B].
            teacher: From whom the pointer learns beside the data; None learns from the data alone.
            source: The fields of `Source`.
        """
        documents = Source(**source)
        output = self.model(documents, picks)
        log_probability = functional.log_softmax(output.logits, dim=-1)
        n_rows = (next_pick.sum(dim=-1) > 0).sum(dim=-1)
        each = -(next_pick * log_probability).sum(dim=(1, 2)) / n_rows  # [B]
        pointer_loss = (weight * each).mean()
        considered = documents.selectable & documents.sentence_mask
        binary = functional.binary_cross_entropy_with_logits(
            output.salience.float(), membership, reduction="none"
        )
        binary = (binary * considered).sum(dim=1) / membership.sum(dim=1).clamp_min(1.0)
        salience_loss = (weight * binary).mean()
        parts = {"pointer_loss": pointer_loss.detach(), "salience_loss": salience_loss.detach()}
        if teacher is not None:
            with torch.no_grad():
                expected = teacher.model(documents, picks).logits
            rows = divergence(output.logits, expected, teacher.temperature)
            rows = rows * (next_pick.sum(dim=-1) > 0)  # [B, T + 1]
            distance = (weight * rows.sum(dim=-1) / n_rows).mean()
            parts["divergence"] = distance.detach()
            pointer_loss = teacher.mix(pointer_loss, distance)
        return {"loss": pointer_loss + self.salience_weight * salience_loss, **parts}
