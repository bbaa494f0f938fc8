"""What a model loses on vectors, what it spends, and how it uses its codebooks."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from codeword.codecs.vectors import VectorCodec
from codeword.codecs.vectors.codec import Progress
from codeword.data.vectors import open_vectors
from codeword.metrics.codes import CodeReport, code_report
from codeword.metrics.distortion import Distortion, DistortionReport

_COUNTED = 1 << 22  # codewords of a level whose use is counted; FSQ and LFQ may have 2^63 of them


@dataclass(frozen=True)
class VectorReport:
    """A model on a matrix.

    Attributes:
        distortion: Errors of the decoded vectors.
        codes: Usage and entropies of the codes; ``None`` where a level has too many codewords to count.
        fixed_bits: Bits of a code at fixed width.
        file_bytes: Size of a real ``.cw`` file, header and checksums included.
        vectors_per_second: Encoding speed, wall clock.
    """

    distortion: DistortionReport
    codes: CodeReport | None
    fixed_bits: float
    file_bytes: int
    vectors_per_second: float

    @property
    def file_bits(self) -> float:
        """Bits per vector of that file."""
        return 8 * self.file_bytes / self.distortion.num_vectors

    def table(self) -> str:
        """The report as text."""
        d = self.distortion
        features = d.squared_error / d.mse_per_dimension if d.mse_per_dimension else 0.0
        raw = f", {32 * features:.0f} as float32" if features else ""
        usage = f"codebooks of more than {_COUNTED} codewords: their use is not counted"
        return "\n".join(
            [
                f"vectors                {d.num_vectors}",
                f"squared error          {d.squared_error:.6g} per vector",
                f"error per feature      {d.mse_per_dimension:.6g}",
                f"relative error         {d.relative_error:.4f}  (1 is the variance of the data)",
                f"bits per vector        {self.file_bits:.3f} in a file, {self.fixed_bits:g} at fixed width{raw}",
                f"file                   {self.file_bytes} bytes, header and checksums included",
                f"encoding               {self.vectors_per_second:.0f} vectors per second",
                "",
                usage if self.codes is None else self.codes.table(),
            ]
        )


def evaluate(model: Path, data: Path, *, column: str | None = None, progress: Progress | None = None) -> VectorReport:
    """Encode a matrix to a file, decode it, and compare.

    Args:
        model: Folder of a trained model.
        data: Vectors.
        column: Which column or array of ``data`` holds the vectors.
        progress: Called while encoding, with the vectors done and all vectors.

    Raises:
        ValueError: If model or data cannot be read, do not fit, or there are no vectors.
    """
    codec, source = VectorCodec.from_pretrained(model), open_vectors(data, column)
    distortion = Distortion(source.dim)
    codes: list[torch.Tensor] = []
    countable = max(codec.quantizer.sizes) <= _COUNTED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.cw"
        codec.warm_up()
        start = time.perf_counter()
        size = codec.encode(source, path, progress=progress)
        seconds = time.perf_counter() - start
        with codec.open(path) as reader:
            first = 0
            for part in reader:
                chunk = torch.from_numpy(part)
                distortion.add(source[first : first + len(chunk)], codec.quantizer.decode(chunk))
                if countable:
                    codes.append(chunk)
                first += len(chunk)
    return VectorReport(
        distortion=distortion.report(),
        codes=code_report(torch.cat(codes), codec.quantizer.sizes) if countable else None,
        fixed_bits=codec.quantizer.bits_per_vector,
        file_bytes=size,
        vectors_per_second=len(source) / seconds,
    )
