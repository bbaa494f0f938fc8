"""Files that appear complete or not at all."""

import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from codeword.formats.errors import WriteError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Generator[BinaryIO, None, None]:
    """Open ``path`` for binary writing such that it changes only when the block ends well.

    The bytes go to a hidden file in the same folder, which is synced and renamed at the end; after any exception, also
    KeyboardInterrupt, that file is removed and what was at ``path`` before is untouched. A symbolic link is followed; a
    device or a pipe, which cannot be replaced, is written directly.

    Raises:
        WriteError: In one line, if the folder does not take files or the disk is full.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        with _replacing(temporary, target) as file:
            yield file
    except OSError as error:
        # The block may also fail at files of its own; only a full disk, and what names our file, concerns this output.
        if error.errno not in _DISK_FULL and error.filename not in (str(target), str(target.parent)):
            raise
        raise WriteError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def _replacing(temporary: Path, target: Path) -> Generator[BinaryIO, None, None]:
    try:
        # 0o666 less the umask, as for any new file; an existing file keeps its permissions.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o7777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a loss of power, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
