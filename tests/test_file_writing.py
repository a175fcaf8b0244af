"""Files are written whole or not at all, and leave nothing behind."""

from __future__ import annotations

import errno
import os

import pytest

from course_lib.file_writing import write_atomically


def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_files_are_written_and_replaced(tmp_path):
    path = write_atomically(tmp_path / "new" / "a.bin", b"one")
    assert path.read_bytes() == b"one"
    assert write_atomically(path, lambda partial: partial.write_bytes(b"two")) == path
    if os.name == "posix":  # Windows wants a privilege for links, and shorter paths
        (tmp_path / "link").symlink_to(path)
        write_atomically(tmp_path / "link", b"three")
        assert path.read_bytes() == b"three" and (tmp_path / "link").is_symlink()
        longest = tmp_path / ("n" * 251 + ".png")  # 255 characters: no room for an ending
        assert write_atomically(longest, b"x").is_file()
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_whatever_happens_the_earlier_file_stays(tmp_path, error):
    path = write_atomically(tmp_path / "a.bin", b"old")

    def half(partial):
        partial.write_bytes(b"ne")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, half)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_says_how_much_is_needed_and_free(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    message = (
        r"cannot write .*a\.bin \(No space left on device: it needs 2\.35MB, and .*B are free\)"
    )
    with pytest.raises(OSError, match=message):
        write_atomically(tmp_path / "a.bin", bytes(2_345_678))
    assert os.listdir(tmp_path) == []  # no file of 0 bytes


def test_files_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file.x\.png"):
        write_atomically(tmp_path / "file" / "x.png", b"")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*folder\.png"):
        write_atomically(tmp_path / "folder.png", b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_what_killed_programs_left_is_removed_and_nothing_else(tmp_path):
    names = [".12-0123abcd.partial", ".13-0123abcd.partial", "mine.partial", ".x.partial"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    for name in (names[0], *names[2:]):
        os.utime(tmp_path / name, (0, 0))
    write_atomically(tmp_path / "a.bin", b"")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "a.bin"])
