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
    device or a pipe, which cannot be replaced, is written directly. A file that is replaced keeps its permissions and,
    where the system allows it, its owner and group.

    Raises:
        WriteError: In one line, if the file or its folder may not be written or the disk is full.
    """
    named, target = Path(path), Path(os.path.realpath(path))
    try:
        # Asked of the name as given: /dev/stdout leads to a pipe that has no other name.
        if named.exists() and not named.is_file():
            with named.open("wb") as file:
                yield file
            return
        # A name may be as long as the file system allows; its start is enough to recognise the hidden one.
        temporary = target.with_name(f".{target.name[:32]}.{secrets.token_hex(4)}.part")
        with _replacing(temporary, target) as file:
            yield file
    except OSError as error:
        # The block may also fail at files of its own; only a full disk, and what names our file, concerns this output.
        ours = {str(named), str(target), str(target.parent)}
        if error.errno not in _DISK_FULL and error.filename not in ours:
            raise
        raise WriteError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def _replacing(temporary: Path, target: Path) -> Generator[BinaryIO, None, None]:
    before = target.stat() if target.exists() else None
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", str(target))
    try:
        try:
            # 0o666 less the umask, as for any new file; an existing file keeps its permissions.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error
        with os.fdopen(descriptor, "wb") as file:
            if before is not None:
                with suppress(OSError, AttributeError):
                    os.chown(temporary, before.st_uid, before.st_gid)
                temporary.chmod(before.st_mode & 0o7777)
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
