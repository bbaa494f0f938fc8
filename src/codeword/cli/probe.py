"""``codeword probe``."""

from dataclasses import dataclass
from typing import Literal

from codeword.cli.common import DataFile, ModelFolder, OptionalPath, check_output, print_table


@dataclass(frozen=True)
class Probe:
    """Tell how much a frozen encoder knows: classes from its features, beside a network with random weights."""

    model: ModelFolder
    """Folder of a pretrained encoder."""
    data: DataFile
    """A data set with labels: a folder, a table or tar shards; see codeword data check."""
    methods: tuple[Literal["linear", "knn", "attentive"], ...] = ("linear", "knn")
    """Logistic regression, nearest neighbours, or a trained query that looks at single patches."""
    layer: int = -1
    """Which block's output: 0 is the first's, -1 the last's."""
    pooling: Literal["mean", "bands", "quarters", "cls"] = "mean"
    """Mean of the patches that are no padding, that over time with the bands of a spectrogram side by side, the same in
    four equal parts of the time, or the cls token."""
    random: bool = True
    """Probe the same network with random weights, too."""
    few: float = 1.0
    """Share of the training labels of every class that are used."""
    seed: int = 0
    """Seeds every draw."""
    workers: int = 2
    """Threads that read files."""
    out: OptionalPath = None
    """JSON file for all figures."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Probe and print."""
        if self.out is not None:
            check_output(self.out, overwrite=self.overwrite, inputs=[self.model, self.data])
        from codeword.pretraining.encoder import read_encoder
        from codeword.recipes.probing import Pooled, probe

        report = probe(
            read_encoder(self.model),
            self.data,
            methods=self.methods,
            pooled=Pooled(self.layer, self.pooling),
            beside=None if self.random else {},
            few=self.few,
            seed=self.seed,
            workers=self.workers,
        )
        print(report.data)
        print_table(report.table())
        for remark in report.remarks():
            print(f"  {remark}")
        if self.out is not None:
            report.write(self.out)
