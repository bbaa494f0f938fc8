"""Members of tar files, found and read by their place: nothing is unpacked, nothing but the member is read."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = tarfile.BLOCKSIZE


class TarError(ValueError):
    """A tar file that cannot be used; the message is one line that names the file."""


class Member(NamedTuple):
    """A file in a tar file.

    Attributes:
        name: Its path there.
        place: Byte at which its header begins; its data begins one block of 512 bytes later.
        size: Bytes of its data.
    """

    name: str
    place: int
    size: int


class MemberFile(io.BytesIO):
    """A member of a tar file in memory, to be read as any file; as text it is the names of both.

    Args:
        path: The tar file.
        place: Byte at which the header of the member begins.

    Raises:
        TarError: If no header is there, or the file ends within the data.
    """

    def __init__(self, path: Path, place: int):
        name, data = named_member(path, place)
        super().__init__(data)
        self.name = f"{path}, {name}"

    def __str__(self) -> str:
        return self.name


def is_tar(path: Path) -> bool:
    """Whether a path is named like a tar file that can be read at any place, so not a compressed one."""
    return path.suffix.lower() == ".tar"


def members(path: Path) -> Iterator[Member]:
    """All files of a tar file in order, from their headers alone.

    Raises:
        TarError: If it is no tar file, or ends early.
    """
    try:
        # Without "r:", compressed files would be taken, whose places cannot be sought.
        with tarfile.open(path, "r:") as file:
            size = path.stat().st_size
            end = 0
            for info in file:
                end = info.offset_data + info.size
                if end > size:
                    break
                if info.isreg():
                    yield Member(info.name, info.offset_data - _BLOCK, info.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise TarError(f"{path} is no tar file or is damaged: {error}: give an uncompressed .tar") from error
    # Two empty blocks end a tar file; one that was cut off lacks them.
    if size < end + _BLOCK:
        raise TarError(f"{path} is truncated: it ends at byte {size}, within or right after a member: write it again")


def read_member(path: Path, place: int) -> bytes:
    """The data of the member whose header begins at a place.

    Raises:
        TarError: If no header is there, or the file ends within the data.
    """
    return named_member(path, place)[1]


def named_member(path: Path, place: int) -> tuple[str, bytes]:
    """The path of a member and its data."""
    try:
        with path.open("rb") as file:
            file.seek(place)
            info = tarfile.TarInfo.frombuf(file.read(_BLOCK), tarfile.ENCODING, "surrogateescape")
            data = file.read(info.size)
    except tarfile.HeaderError as error:
        raise TarError(f"{path}: no member begins at byte {place}: list the shards again") from error
    except OSError as error:
        raise TarError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) < info.size:
        raise TarError(f"{path} is truncated: its member at byte {place} has {len(data)} of {info.size} bytes")
    return info.name, data
