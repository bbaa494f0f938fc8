"""What a model loses on vectors, what it spends, and how it uses its codebooks."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from codeword.codecs.vectors import VectorCodec
from codeword.data.vectors import open_vectors
from codeword.metrics.codes import CodeReport, code_report
from codeword.metrics.distortion import Distortion, DistortionReport


@dataclass(frozen=True)
class VectorReport:
    """A model on a matrix.

    Attributes:
        distortion: Errors of the decoded vectors.
        codes: Usage and entropies of the codes.
        fixed_bits: Bits of a code at fixed width.
        file_bits: Bits per vector of a real ``.cw`` file, header and checksums included.
        vectors_per_second: Encoding speed, wall clock.
    """

    distortion: DistortionReport
    codes: CodeReport
    fixed_bits: float
    file_bits: float
    vectors_per_second: float

    def table(self) -> str:
        """The report as text."""
        d = self.distortion
        return "\n".join(
            [
                f"vectors                {d.num_vectors}",
                f"squared error          {d.squared_error:.6g}",
                f"error per feature      {d.mse_per_dimension:.6g}",
                f"relative error         {d.relative_error:.4f}  (1 is the variance of the data)",
                f"bits per vector        {self.file_bits:.3f} in a file, {self.fixed_bits:g} at fixed width",
                f"encoding               {self.vectors_per_second:.0f} vectors per second",
                "",
                self.codes.table(),
            ]
        )


def evaluate(model: Path, data: Path, *, column: str | None = None) -> VectorReport:
    """Encode a matrix to a file, decode it, and compare.

    Raises:
        ValueError: If model or data cannot be read, do not fit, or there are no vectors.
    """
    codec, source = VectorCodec.from_pretrained(model), open_vectors(data, column)
    if not len(source):
        raise ValueError(f"{data} holds no vectors: there is nothing to evaluate")
    distortion = Distortion(source.dim)
    codes: list[torch.Tensor] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.cw"
        start = time.perf_counter()
        size = codec.encode(source, path)
        seconds = time.perf_counter() - start
        with codec.open(path) as reader:
            first = 0
            for part in reader:
                chunk = torch.from_numpy(part)
                distortion.add(source[first : first + len(chunk)], codec.quantizer.decode(chunk))
                codes.append(chunk)
                first += len(chunk)
    return VectorReport(
        distortion=distortion.report(),
        codes=code_report(torch.cat(codes), codec.quantizer.sizes),
        fixed_bits=codec.quantizer.bits_per_vector,
        file_bits=8 * size / len(source),
        vectors_per_second=len(source) / seconds,
    )
