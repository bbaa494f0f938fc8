"""Files that appear complete or not at all."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from codeword.formats.atomic import atomic_write
from codeword.formats.errors import WriteError


def test_a_good_end_replaces_the_file(tmp_path):
    path = tmp_path / "codes.cw"
    path.write_bytes(b"before")
    with atomic_write(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, ValueError])
@pytest.mark.parametrize("existing", [False, True])
def test_any_exception_leaves_everything_as_it_was(tmp_path, error, existing):
    path = tmp_path / "codes.cw"
    if existing:
        path.write_bytes(b"before")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half")
        raise error
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([b"before"] if existing else [])


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    path = tmp_path / "codes.cw"
    program = (
        "import os, signal, sys; from codeword.formats.atomic import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert not path.exists()


def test_permissions_are_those_of_any_new_file_and_kept(tmp_path):
    path = tmp_path / "codes.cw"
    mask = os.umask(0o027)
    try:
        with atomic_write(path):
            pass
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        with atomic_write(path):
            pass
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(mask)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.cw", tmp_path / "link.cw"
    link.symlink_to(real)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_full_device_is_one_line():
    with pytest.raises(WriteError) as caught, atomic_write("/dev/full") as file:
        file.write(bytes(100_000))
    assert str(caught.value) == "cannot write /dev/full: no space left on device"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="no space left on device"), atomic_write(tmp_path / "codes.cw") as file:
        file.write(b"data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch, number):
    def refuse(path, flags, mode=0o777):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WriteError) as caught, atomic_write(tmp_path / "codes.cw"):
        pass
    assert str(caught.value) == f"cannot write {tmp_path / 'codes.cw'}: {os.strerror(number).lower()}"


def test_a_missing_folder_and_a_folder_in_the_place_of_the_file_are_one_line(tmp_path):
    with pytest.raises(WriteError, match="no such file or directory"), atomic_write(tmp_path / "no" / "codes.cw"):
        pass
    with pytest.raises(WriteError, match="is a directory"), atomic_write(tmp_path):
        pass


def test_errors_of_other_files_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "codes.cw"):
        (tmp_path / "input.npy").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("a" * 255)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_pipe_without_a_name_of_its_own_is_written():
    program = (
        "from codeword.formats.atomic import atomic_write\n"
        "with atomic_write('/dev/stdout') as file:\n"
        "    file.write(b'through a pipe')"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"through a pipe"


def test_a_read_only_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "codes.cw"
    path.write_bytes(b"before")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)  # a superuser may write everything
    with pytest.raises(WriteError) as caught, atomic_write(path) as file:
        file.write(b"after")
    assert str(caught.value) == f"cannot write {path}: the file is read-only"
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"before"]


def test_owner_and_group_are_kept(tmp_path, monkeypatch):
    path, given = tmp_path / "codes.cw", []
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "chown", lambda _path, *owner: given.append(owner))
    with atomic_write(path):
        pass
    assert given == [(path.stat().st_uid, path.stat().st_gid)]
