"""What ``codeword compress`` and ``codeword decompress`` do with audio, whichever codec it is for."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from codeword.cli.common import check_output, offering_salvage, progress_bar

if TYPE_CHECKING:
    from codeword.codecs.audio.choice import Compressed
    from codeword.codecs.sound import SalvagedSound
    from codeword.codecs.speech.codec import CompressedSpeech


@runtime_checkable
class SoundCodec(Protocol):
    """What codecs of sound have in common; every one has readers of its own."""

    @property
    def model(self) -> Any: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def compress(self) -> "Callable[..., Compressed | CompressedSpeech]": ...
    @property
    def decompress(self) -> Callable[..., Any]: ...
    @property
    def salvage(self) -> "Callable[..., SalvagedSound]": ...
    @property
    def reader(self) -> Callable[..., Any]: ...
    @property
    def check_reader(self) -> Callable[..., None]: ...


def compress_sound(
    codec: SoundCodec,
    rate: object,
    source: Path,
    out: Path,
    place: str,
    *,
    mono: bool,
    overwrite: bool,
    live: int = 1 << 16,
) -> None:
    """One recording to a file of codes; ``-`` are standard input and output.

    From standard input Ctrl-C ends the recording, not the file.

    Args:
        codec: Which one.
        rate: What it may spend.
        source: The recording.
        out: The file.
        place: Of the recording among several.
        mono: Mix all channels into one.
        overwrite: Whether to replace a file.
        live: Samples of standard input that are waited for before they are coded.
    """
    from codeword.cli.errors import ending_at_interrupt
    from codeword.codecs.audio.choice import Compressed
    from codeword.data.audio_stream import stream_audio
    from codeword.formats.atomic import atomic_write

    piped, written = str(source) == "-", str(out) == "-"
    given, channels = sys.stdin.buffer if piped else source, 1 if mono else None
    with ExitStack() as stack:
        ended = stack.enter_context(ending_at_interrupt()) if piped else None
        block = {"block": live} if piped else {}
        stream = stack.enter_context(stream_audio(given, rate=codec.sample_rate, channels=channels, **block))
        if ended is not None:
            stream.end_when(ended)
        told = stack.enter_context(progress_bar(f"compressing {place}".strip(), unit=" s"))
        if not written:
            check_output(out, overwrite=overwrite, inputs=() if piped else (source,))
        with nullcontext(sys.stdout.buffer) if written else atomic_write(out) as file:

            def progress(done: float, total: float | None) -> None:
                file.flush()  # somebody may listen
                if told is not None:
                    told(done, total)

            done = codec.compress(stream, file, rate, streaming=piped, progress=progress)
            file.flush()
    spent = f"{done.levels:.2f} of {codec.model.levels} levels" if isinstance(done, Compressed) else f"step {done.step}"
    print(
        f"{out}: {done.seconds:.2f} seconds in {done.num_bytes} bytes, {done.kbps:.3f} kbps, {spent}",
        file=sys.stderr if written else sys.stdout,
    )
    if done.note:
        print(f"codeword: {source}: {done.note}", file=sys.stderr)


def decompress_sound(
    codec: SoundCodec,
    source: Path,
    out: Path,
    place: str,
    *,
    bits: Literal[16, 24, 32],
    salvage: bool,
    overwrite: bool,
    **stretch: object,
) -> None:
    """One file of codes to audio, in the format of its name, or WAV to standard output.

    Args:
        codec: Which one.
        source: The file.
        out: The recording.
        place: Of the file among several.
        bits: Of a sample.
        salvage: Decode what is intact.
        overwrite: Whether to replace a file.
        stretch: Of the codec's ``decompress``.
    """
    from codeword.data.audio_writer import AudioWriter

    piped, written = str(source) == "-", str(out) == "-"
    with (
        codec.reader(sys.stdin.buffer if piped else source) as reader,
        progress_bar(f"decompressing {place}".strip(), unit=" s") as progress,
    ):
        codec.check_reader(reader)
        header = reader.header
        writer = AudioWriter(
            sys.stdout.buffer if written else out, rate=header.sample_rate, channels=header.channels, bits=bits
        )
        if not written:
            check_output(out, overwrite=overwrite, inputs=() if piped else (source,))
        with writer:
            if salvage:
                blocks, report = codec.salvage(reader)
                for problem in report.problems:
                    print(f"codeword: {source}: {problem}", file=sys.stderr)
                for first, last in report.missing:
                    span = codec.model.hop / codec.sample_rate
                    print(f"codeword: {source}: {first * span:.2f} to {last * span:.2f} s are lost", file=sys.stderr)
                for block in blocks:
                    writer.write(block)
            else:
                with offering_salvage():
                    for block in codec.decompress(reader, progress=progress, **stretch):
                        writer.write(block)
    seconds = writer.frames / header.sample_rate
    channels = f"{header.channels} channel{'' if header.channels == 1 else 's'}"
    told = sys.stderr if written else sys.stdout
    print(f"{out}: {seconds:.2f} seconds, {channels} at {header.sample_rate} Hz", file=told)
    if writer.cut:
        print(f"codeword: {out}: {writer.cut} samples were beyond full scale and were cut", file=sys.stderr)
