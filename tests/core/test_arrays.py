"""Large arrays lie in files whose space is reserved: a full disk is an error, not a signal."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runner import mounted_disk
from sharpeye.core import arrays
from sharpeye.core.arrays import allocate_array, map_array
from sharpeye.errors import EnvironmentFault

MIB = 2**20

# Fills an array that lies in a file of a folder. The memory of the machine is given in MiB.
_FILL = """
import os, resource, signal, sys
from pathlib import Path
from sharpeye.core import arrays
from sharpeye.errors import EnvironmentFault
folder, size, memory, limit, reserves = sys.argv[1], *map(int, sys.argv[2:])
arrays.MAX_IN_MEMORY = 0
arrays._memory_bytes = lambda: memory * 2**20
if not reserves:
    vars(os).pop("posix_fallocate", None)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 2**20, limit * 2**20))
try:
    array = arrays.allocate_array((size, 2**20), "u1", Path(folder), description="maps")
except EnvironmentFault as error:
    sys.exit(f"EnvironmentFault: {error}")
assert not array.any()
array[:] = 7
assert int(array.sum()) == 7 * array.size
print("filled", os.listdir(folder))
"""


def fill(
    folder: Path, size: int, *, memory: int = 1024, limit: int = 0, reserves: int = 1
) -> subprocess.CompletedProcess[str]:
    """The result of filling `size` MiB in a process of its own."""
    arguments = [str(value) for value in (folder, size, memory, limit, reserves)]
    return subprocess.run(
        [sys.executable, "-c", _FILL, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with mounted_disk(tmp_path_factory.mktemp("disk"), mebibytes=4) as folder:
        yield folder


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("reserves", [1, 0])
def test_a_full_disk_is_an_error_or_a_warning_but_no_signal(
    small_disk: Path, reserves: int
) -> None:
    done = fill(small_disk, 3, reserves=reserves)
    assert (done.returncode, done.stdout, done.stderr) == (0, "filled []\n", "")
    done = fill(small_disk, 8, reserves=reserves)
    assert (done.returncode, done.stdout) == (0, "filled []\n")
    assert "the maps are held in memory: " in done.stderr
    assert "No space left on device" in done.stderr
    done = fill(small_disk, 8, memory=9, reserves=reserves)
    assert done.returncode == 1
    assert done.stderr.startswith("EnvironmentFault: the maps need 8 MiB on the disk: ")
    assert str(small_disk) in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(small_disk.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("reserves", [1, 0])
def test_a_limit_on_files_is_an_error_too(tmp_path: Path, reserves: int) -> None:
    done = fill(tmp_path, 8, memory=9, limit=2, reserves=reserves)
    assert done.returncode == 1
    assert f"cannot write {tmp_path}: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_disk_has_every_block_before_the_first_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 0)
    sizes: list[tuple[int, int]] = []

    def reserve(file: "arrays.IO[bytes]", size: int) -> None:
        original(file, size)
        status = os.fstat(file.fileno())
        sizes.append((status.st_size, getattr(status, "st_blocks", 10**9) * 512))

    original = arrays._reserve
    monkeypatch.setattr(arrays, "_reserve", reserve)
    for removed in (False, True):
        if removed:
            monkeypatch.delattr(os, "posix_fallocate", raising=False)
        array = allocate_array((5, MIB + 1), np.uint8, tmp_path, description="maps")
        assert array.shape == (5, MIB + 1) and not array.any()
    assert [size for size, _ in sizes] == [5 * (MIB + 1)] * 2
    assert all(reserved >= size for size, reserved in sizes)


def test_a_small_array_needs_no_disk(tmp_path: Path) -> None:
    array = allocate_array((3, 2), np.float16, tmp_path / "none", description="maps")
    assert array.dtype == np.float16 and not array.any()
    assert not (tmp_path / "none").exists()


def test_a_file_is_mapped_read_only(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"head" + bytes(range(6)))
    array = map_array(file, np.uint8, (2, 3), offset=4)
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]] and not array.flags.writeable
    with pytest.raises(ValueError, match="greater than file size"):
        map_array(file, np.uint8, (3, 3), offset=4)
    with pytest.raises(OSError, match="No such file"):
        map_array(tmp_path / "b", np.uint8, (1,))


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(arrays, "_memory_bytes", lambda: 1)
    with pytest.raises(EnvironmentFault, match="the maps need 4 MiB on the disk: cannot write"):
        allocate_array((4, MIB), np.uint8, tmp_path / "file" / "a", description="maps")
