"""Prepared papers with something taken away, for the ablation of what training is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from finetune.prepare import SPLITS
from terraformer.features import FEATURE_NAMES, N_FEATURES
from terraformer.model import Terraformer

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Hidden:
    """What training does not see.

    Attributes:
        features: Pattern of the names of features that are hidden, each as a whole.
        n_episodes: Most oracle episodes of a paper, the best ones; None leaves all.
    """

    features: str = "(?!)"
    n_episodes: int | None = None

    @property
    def columns(self) -> list[int]:
        """Places of the hidden features."""
        return [i for i, name in enumerate(FEATURE_NAMES) if re.fullmatch(self.features, name)]

    def write_examples(self, source: Path, target: Path) -> None:
        """Writes the examples in the folder `source` to `target`, with zeros for what is hidden.

        Validation keeps its episodes, so that losses can be compared.

        Args:
            source: What `finetune.prepare` made.
            target: Folder; made if it does not exist.
        """
        target.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            name = f"{split}.parquet"
            with pq.ParquetFile(source / name) as file:
                schema = file.schema_arrow
                with pq.ParquetWriter(target / name, schema) as writer:
                    for batch in file.iter_batches(_ROWS_AT_ONCE):
                        table = pa.Table.from_batches([batch])
                        writer.write_table(self._edited(table, split == "train").cast(schema))

    def remove_from(self, model: Terraformer) -> None:
        """Makes a model that was trained without the hidden features blind to them.

        In training they were zero, so their weights are still as they began.
        """
        first = model.features[0]
        assert isinstance(first, torch.nn.Linear)
        with torch.no_grad():
            first.weight[:, self.columns] = 0.0

    def _edited(self, table: pa.Table, is_training: bool) -> pa.Table:
        if self.columns:
            features = table["features"].combine_chunks()
            values = features.values.to_numpy().reshape(-1, N_FEATURES).copy()
            values[:, self.columns] = 0.0
            lists = pa.ListArray.from_arrays(features.offsets, pa.array(values.reshape(-1)))
            table = _replaced(table, "features", lists)
        if self.n_episodes is not None and is_training:
            for name in ("episodes", "scores"):
                kept = [row[: self.n_episodes] for row in table[name].to_pylist()]
                table = _replaced(table, name, pa.array(kept, table.schema.field(name).type))
        return table


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)
