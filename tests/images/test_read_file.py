"""Files are read within a limit, and only regular ones."""

import os
import stat
from pathlib import Path

import pytest

from image_files import (
    at_most,
    encoded,
    quarters,
)
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import (
    read_file,
)


def read_refusal(file: Path) -> str:
    with at_most(5), pytest.raises(ImageReadError) as caught:
        read_file(file, "x.jpg")
    return caught.value.reason


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(encoded(quarters(), "PNG"))
    os.truncate(file, 64 * 2**20 + 1)
    assert "over the limit of 64 MiB" in read_refusal(file)
    os.truncate(file, 64 * 2**20)
    assert len(read_file(file, "x.png")) == 64 * 2**20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    assert read_refusal(tmp_path / "x.jpg").startswith("not a regular file")


def test_folders_devices_and_missing_files_are_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in read_refusal(tmp_path / "none.jpg")
    (tmp_path / "x.jpg").mkdir()
    read_refusal(tmp_path / "x.jpg")
    if stat.S_ISCHR(Path(os.devnull).stat().st_mode):
        assert read_refusal(Path(os.devnull)).startswith("not a regular file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(encoded(quarters(), "PNG"))
    file.chmod(0)
    assert read_refusal(file) == "cannot be opened: Permission denied"
