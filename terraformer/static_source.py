"""The source that a copy path looks at, in tensors that never move."""

from __future__ import annotations

from torch import Tensor

from terraformer.copy_head import CopySource


class StaticSource:
    """A source with room, of which a mask hides what is not filled.

    Args:
        source: Like those that will be read; it is not taken over.
        room: Positions.
    Attributes:
        source: What `CopyHead.mix` takes.
    """

    def __init__(self, source: CopySource, room: int) -> None:
        n_texts, _, width = source.keys.shape
        self.source = CopySource(
            source.keys.new_zeros(n_texts, room, width),
            source.ids.new_zeros(n_texts, room),
            source.mask.new_zeros(n_texts, room),
            source.last.clone(),
        )

    def read(self, ids_t: Tensor) -> None:
        """Looks at the source after one more token, [B], int64."""
        self.source.last.copy_(self.source.after(ids_t).last)

    def fill(self, source: CopySource) -> None:
        """Takes over a source."""
        for static, given in zip(vars(self.source).values(), vars(source).values(), strict=True):
            static.zero_()
            static[:, : given.shape[1]] = given
