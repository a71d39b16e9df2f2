"""What killed processes leave is removed by the next one that writes there; nothing else is."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sharpeye.core import temporaries
from sharpeye.core.atomic_folder import atomic_folder
from sharpeye.core.storage import atomic_path, write_text
from sharpeye.core.temporaries import (
    TEMPORARY_PREFIX,
    remove_stale_temporaries,
    temporary_folder,
    temporary_name,
)

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

# Writes a file, a folder and a file within a folder until it is killed.
_WRITER = """
import sys, time
from pathlib import Path
from sharpeye.core.atomic_folder import atomic_folder
from sharpeye.core.storage import atomic_path
from sharpeye.core.temporaries import temporary_folder
place = Path(sys.argv[1])
with (
    atomic_path(place / "a.bin") as file,
    atomic_folder(place / "b") as folder,
    temporary_folder(place) as scratch,
):
    file.write_bytes(bytes(1000))
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "1.jpg").write_bytes(b"x")
    (scratch / "1.jpg").write_bytes(b"x")
    print("ready", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def writer(folder: Path) -> "contextlib.AbstractContextManager[subprocess.Popen[str]]":  # type: ignore[misc]
    command = [sys.executable, "-c", _WRITER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process  # type: ignore[misc]
    finally:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@posix
@pytest.mark.parametrize("write", ["atomic_path", "atomic_folder", "temporary_folder"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, write: str) -> None:
    writers: dict[str, Callable[[], object]] = {
        "atomic_path": lambda: write_text(tmp_path / "new", "x"),
        "atomic_folder": lambda: contextlib.ExitStack().enter_context(
            atomic_folder(tmp_path / "new")
        ),
        "temporary_folder": lambda: contextlib.ExitStack().enter_context(
            temporary_folder(tmp_path)
        ),
    }
    with writer(tmp_path) as process:
        left = names(tmp_path)
        assert len(left) == 3 and all(name.startswith(TEMPORARY_PREFIX) for name in left)
        remove_stale_temporaries.cache_clear()
        writers[write]()
        assert set(left) <= set(names(tmp_path))  # its process lives
        process.send_signal(signal.SIGKILL)
        process.wait()
    remove_stale_temporaries.cache_clear()
    writers[write]()
    assert not set(left) & set(names(tmp_path))


@posix
def test_only_what_is_certainly_stale_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    system, old = temporaries._system(), time.time() - 3 * 24 * 3600
    other = "0" * 8
    kept = [
        temporary_name(".npy"),  # of this process
        f"{TEMPORARY_PREFIX}{system}-1-00000000",  # of a process of another user, or of init
        f"{TEMPORARY_PREFIX}{other}-{dead.pid}-00000000.onnx",  # of another machine, and new
        f"{TEMPORARY_PREFIX}{dead.pid}-00000000.onnx",  # of an earlier version, and new
        f"{TEMPORARY_PREFIX}0123456789abcdef.part",  # a download that can be continued
        f"{TEMPORARY_PREFIX}box_head.onnx",
        ".sharpeye",
        "photo.jpg",
    ]
    stale = [
        f"{TEMPORARY_PREFIX}{system}-{dead.pid}-00000000",
        f"{TEMPORARY_PREFIX}{system}-{dead.pid}-00000000.csv",
    ]
    aged = [
        f"{TEMPORARY_PREFIX}{other}-{dead.pid}-11111111.onnx",
        f"{TEMPORARY_PREFIX}{dead.pid}-11111111.onnx",
    ]
    for name in (*kept, *stale, *aged):
        (tmp_path / name).write_bytes(b"x")
    for name in (*aged, *kept[4:]):
        os.utime(tmp_path / name, (old, old))
    folder = tmp_path / f"{TEMPORARY_PREFIX}ab_cd012"  # by `tempfile`, in an earlier version
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "1.jpg").write_bytes(b"x")
    for path in (folder, folder / "inner"):  # the file is new: a process may write there
        os.utime(path, (old, old))
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == sorted([*kept, folder.name])
    os.utime(folder / "inner" / "1.jpg", (old, old))
    remove_stale_temporaries.cache_clear()
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == sorted(kept)
    name = f"{TEMPORARY_PREFIX}{system}-{dead.pid}-00000000"
    (tmp_path / name).touch()
    with os.scandir(tmp_path) as entries:
        entry = next(entry for entry in entries if entry.name == name)
    assert temporaries._is_stale(entry)
    with monkeypatch.context() as patch:  # Windows cannot ask whether a process lives
        patch.setattr(temporaries, "_CAN_ASK", False)
        assert not temporaries._is_stale(entry)


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").touch()
    link = tmp_path / f"{TEMPORARY_PREFIX}{temporaries._system()}-4000000000-00000000"
    link.symlink_to(outside)
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == ["outside"] or link.is_symlink()
    assert names(outside) == ["a"]


def test_a_folder_that_does_not_exist_or_has_nothing_is_left_alone(tmp_path: Path) -> None:
    remove_stale_temporaries(tmp_path / "none")
    remove_stale_temporaries(tmp_path)
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch()
    assert names(tmp_path) == ["a"]
