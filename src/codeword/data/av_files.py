"""Files opened by PyAV, which the extra ``media`` brings, and what goes wrong with them in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from codeword.data.audio_wav import Readable
from codeword.data.tar_members import MemberFile

# PyAV is imported late, so its objects have no names here: a container, a stream of it, a decoded frame, and what
# changes the size and the colours of one.
Container = Any
Stream = Any
Frame = Any
Scaler = Any


@contextmanager
def opened(
    source: Path | Readable,
    kind: Literal["audio", "video"],
    error: type[ValueError],
    *,
    reason: str = "",
    bare: str | None = None,
) -> Iterator[tuple[Container, Stream]]:
    """A container and its first stream of a kind.

    Args:
        source: A file, a member of a tar file, or a binary stream that can seek.
        kind: What is looked for.
        error: What is raised.
        reason: Why another reader refused it.
        bare: The format of a file without a container.
    """
    name = source_name(source)
    try:
        import av
    except ImportError as missing:
        told = f" ({reason})" if reason else ""
        raise error(f"{name} cannot be read without PyAV{told}: pip install 'codeword[media]'") from missing
    try:
        container = av.open(str(source) if isinstance(source, Path) else source, mode="r", format=bare)
    except FileNotFoundError as missing:
        raise error(f"{name} does not exist") from missing
    except (av.FFmpegError, ValueError, OSError) as found:
        told = f"no {kind}: {reason}" if reason else f"damaged or no {kind}: {_told(found)}"
        raise error(f"{name} is {told}") from found
    with container:
        streams = getattr(container.streams, kind)
        if not streams:
            raise error(f"{name} holds no {kind}")
        yield container, streams[0]


@contextmanager
def decoding(name: str, error: type[ValueError]) -> Iterator[None]:
    """What PyAV raises within becomes one line."""
    import av

    try:
        yield
    except av.FFmpegError as found:
        raise error(f"{name} is truncated or damaged: {_told(found)}") from found


def new_scaler() -> Scaler:
    """What changes the size and the colours of frames, all of them alike."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def source_name(source: Path | Readable) -> str:
    """What a source is called in messages."""
    return str(source) if isinstance(source, Path | MemberFile) else "the stream"


def _told(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())
