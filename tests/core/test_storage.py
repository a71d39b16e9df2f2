"""Files that appear whole or not at all; locks that die with their holder."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sharpeye.core import atomic_folder as atomic
from sharpeye.core.atomic_folder import atomic_files, atomic_folder, replace_folder
from sharpeye.core.config import Config
from sharpeye.core.storage import (
    TEMPORARY_PREFIX,
    FileLock,
    atomic_open,
    atomic_path,
    cache_root,
    explain_os_error,
    library_errors_at,
    make_folder,
    scratch_folder,
    sha256_file,
    write_bytes,
    write_text,
)
from sharpeye.errors import EnvironmentFault, ModelError, UsageError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import RunWriter

posix = pytest.mark.skipif(os.name == "nt", reason="signals and locks of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def child(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """A process that prints `ready` when it is where the test wants it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


# --- files -------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_text(file, "one\r\ntwo\n")
    assert file.read_bytes() == b"one\r\ntwo\n"  # no newline is translated
    write_bytes(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a.json"]
    assert sha256_file(file) == hashlib.sha256(b"\x00\xff").hexdigest()


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_open(file) as opened:
        opened.write("new")
        opened.flush()
        assert not file.exists()
    assert file.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_old_file_survives_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(error), atomic_open(file) as opened:
        opened.write("half of the n")
        raise error
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_text_that_utf_8_has_no_bytes_for_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_bytes() == rb"caf\udce9"


def test_a_path_can_be_filled_by_another_program(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with atomic_path(file) as temporary:
        assert temporary.suffix == ".onnx" and temporary.parent == tmp_path
        assert temporary.name.startswith(TEMPORARY_PREFIX)
        temporary.write_bytes(b"x")
    assert file.read_bytes() == b"x" and names(tmp_path) == ["model.onnx"]


def test_a_path_that_was_not_filled_is_a_fault_and_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"old")
    with pytest.raises(EnvironmentFault, match=r"cannot write .*model\.onnx"), atomic_path(file):
        pass
    assert file.read_bytes() == b"old"


def _refuse(path: Path) -> None:
    raise ModelError(f"{path} is no model")


def _write_inner(path: Path) -> None:
    with atomic_path(path):
        pass


def _open_missing(path: Path) -> None:
    (path / "missing").read_bytes()


def _fail_as_library(path: Path) -> None:
    with library_errors_at(path):
        raise RuntimeError(f"iostream error at {path}")


@pytest.mark.parametrize("fail", [_refuse, _write_inner, _fail_as_library, _open_missing])
@pytest.mark.parametrize("kind", ["path", "files", "folder", "run"])
def test_errors_name_the_target_and_no_temporary_path(
    kind: str, fail: Callable[[Path], None], tmp_path: Path
) -> None:
    target = tmp_path / "x"
    with pytest.raises((ModelError, EnvironmentFault, OSError)) as caught:
        if kind == "path":
            with atomic_path(target) as temporary:
                fail(temporary)
        elif kind == "files":
            with atomic_files(target) as folder:
                fail(folder / "x")
        elif kind == "folder":
            with atomic_folder(target) as folder:
                fail(folder)
        else:
            with RunWriter(target) as run:
                run.write_text(layout.CONFIG, Config().to_toml())
                run.write_text(layout.BUNDLE, "{}")
            with RunWriter(target, if_exists="replace") as run:
                assert run.path != target
                fail(run.path)
    assert str(target) in str(caught.value)
    assert TEMPORARY_PREFIX not in str(caught.value)


@pytest.mark.parametrize(
    ("free", "expected", "message"),
    [
        (1000, 0, "No space left on device; free some room"),
        (5 * 2**20, 0, "iostream error"),
        (5 * 2**20, 13 * 2**20, "No space left on device; free some room"),
        (50 * 2**20, 13 * 2**20, "iostream error"),
    ],
)
def test_a_library_that_fails_on_a_full_disk_lacks_space(
    free: int, expected: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - free, free)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    file = tmp_path / "model.xml"
    with (
        pytest.raises(EnvironmentFault, match=f"cannot write .*model.xml: {message}"),
        library_errors_at(file, expected),
    ):
        raise RuntimeError("iostream error")


@posix
@pytest.mark.parametrize("moment", ["while writing", "before the rename"])
def test_the_old_file_survives_a_kill(tmp_path: Path, moment: str) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    script = """
import os, sys, time
from pathlib import Path
from sharpeye.core import storage

def stop(*_):
    print("ready", flush=True)
    time.sleep(60)

file, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "before the rename":
    os.fsync = stop
with storage.atomic_open(file) as opened:
    opened.write("new" * 100_000)
    opened.flush()
    if moment == "while writing":
        stop()
"""
    process = child(script, file, moment)
    assert len(names(tmp_path)) == 2
    kill(process)
    assert file.read_text() == "old"
    write_text(file, "new")
    assert file.read_text() == "new"
    assert all(name == "a.txt" or name.startswith(TEMPORARY_PREFIX) for name in names(tmp_path))


@posix
def test_a_full_disk_is_a_fault_and_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")
    script = """
import resource, sys
from pathlib import Path
from sharpeye.errors import EnvironmentFault
from sharpeye.core.storage import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), bytes(5000))
except EnvironmentFault as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True
    )
    assert f"cannot write {file}: " in done.stdout and "free some room" in done.stdout
    assert file.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("write", [lambda p: write_text(p, "x"), lambda p: make_folder(p)])
def test_a_place_below_a_file_is_a_fault(tmp_path: Path, write: Callable[[Path], object]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFault) as caught:
        write(tmp_path / "file" / "below")
    message = str(caught.value)
    assert "a file is where a folder should be" in message and "\n" not in message
    assert str(tmp_path / "file" / "below") in message


def test_a_folder_in_the_place_of_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "a.txt" / "kept").write_text("x")
    with pytest.raises(EnvironmentFault, match="a folder where a file should be"):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"] and names(tmp_path / "a.txt") == ["kept"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    with pytest.raises(EnvironmentFault, match="allow it, or choose another place"):
        write_text(folder / "a.txt", "x")
    with pytest.raises(EnvironmentFault):
        FileLock(folder / "lock").try_acquire()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EACCES, "choose another place"),
        (errno.EROFS, "choose another place"),
        (errno.ENOSPC, "free some room"),
        (errno.EDQUOT, "free some room"),
        (errno.ENOTDIR, "a file is where a folder should be"),
        (errno.EIO, ""),
    ],
)
def test_what_the_system_says_becomes_one_line_with_advice(code: int, advice: str) -> None:
    message = str(explain_os_error(OSError(code, os.strerror(code)), Path("runs/a")))
    assert message.startswith(f"cannot write runs/a: {os.strerror(code)}")
    assert advice in message and "\n" not in message
    assert "--output" not in message and "SHARPEYE_CACHE" not in message


def test_the_advice_names_the_variable_of_the_cache_only_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(tmp_path / "cache"))
    error = OSError(errno.EACCES, "no")
    message = str(explain_os_error(error, tmp_path / "cache" / "pixels" / "a.npy"))
    assert message.endswith("choose another place, or set SHARPEYE_CACHE to another folder")
    assert str(explain_os_error(error, tmp_path / "a")).endswith("or choose another place")


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no current folder")
def test_an_error_is_explained_though_the_current_folder_was_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    error = OSError(errno.ENOSPC, "no")
    assert str(explain_os_error(error, Path("a"))).startswith("cannot write a: No space left")
    message = str(explain_os_error(OSError(errno.EACCES, "no"), Path("a"), "open"))
    assert message.startswith("cannot open a: Permission denied")


def test_errors_in_a_scratch_folder_name_the_folder_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(EnvironmentFault) as caught, scratch_folder() as folder:
        assert folder.parent == tmp_path
        raise explain_os_error(OSError(errno.ENOSPC, "no"), folder / "a.onnx")
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'a.onnx'}: No space left")
    assert names(tmp_path) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with (
        pytest.raises(EnvironmentFault, match=f"cannot write {tmp_path / 'missing'}: "),
        scratch_folder(),
    ):
        pass


def test_a_folder_can_be_made_twice(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == folder == make_folder(folder)


def test_the_cache_is_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(tmp_path / "not yet"))
    assert cache_root() == tmp_path / "not yet"
    assert not cache_root().exists()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SHARPEYE_CACHE", "~/c")
    assert cache_root() == tmp_path / "c"
    monkeypatch.delenv("SHARPEYE_CACHE")
    assert "sharpeye" in str(cache_root())


# --- folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_replaces_another(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(atomic, "exchange_names", lambda *_: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"] and names(tmp_path / "old") == ["new"]


@pytest.mark.skipif(sys.platform != "linux", reason="the system call of Linux")
def test_two_names_are_exchanged_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "1")
    write_text(tmp_path / "b", "2")
    monkeypatch.chdir(tmp_path)
    assert atomic.exchange_names(Path("a"), tmp_path / "b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("2", "1")
    assert not atomic.exchange_names(Path("a"), Path("missing"))


def test_many_files_are_flushed_with_their_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr("sharpeye.core.storage.flush_file", flushed.append)
    for name, count in (("few", 9), ("many", 200)):
        with atomic_folder(tmp_path / name) as folder:
            for number in range(count):
                (folder / str(number)).touch()
    can_flush_all = sys.platform == "linux"
    assert len(flushed) == (9 if can_flush_all else 209)
    assert len(names(tmp_path / "many")) == 200


def test_files_of_a_killed_export_are_replaced_and_others_are_not(tmp_path: Path) -> None:
    write_text(tmp_path / "m.json", "old")

    def write(**options: object) -> None:
        with atomic_files(tmp_path / "m.onnx", **options) as folder:  # type: ignore[arg-type]
            for name in ("m.onnx", "m.json", "m.txt"):
                (folder / name).write_text("new")

    with pytest.raises(UsageError, match=r"m\.json is there already"):
        write()
    assert (tmp_path / "m.json").read_text() == "old" and names(tmp_path) == ["m.json"]
    write(first="m.json", replaceable=["m.json"])
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == dict.fromkeys(
        ("m.json", "m.onnx", "m.txt"), "new"
    )


# --- locks -------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from sharpeye.core.storage import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.try_acquire()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "lock"
    process = child(HOLD, file)
    try:
        assert not FileLock(file).try_acquire()
    finally:
        kill(process)
    started = time.monotonic()
    with FileLock(file) as lock:
        assert time.monotonic() - started < 5
        assert not FileLock(file).try_acquire()
        assert lock.path == file
    again = FileLock(file)
    assert again.try_acquire()
    again.release()
    again.release()


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = child(HOLD.replace("time.sleep(60)", "time.sleep(0.5)"), file)
    with FileLock(file):
        assert process.wait(10) == 0
    process.communicate()


def test_a_lock_is_let_go_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), FileLock(tmp_path / "lock"):
        raise KeyError
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    lock.release()


def test_a_lock_that_cannot_be_made_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFault), FileLock(tmp_path / "file" / "lock"):
        pass


def test_looking_at_a_lock_makes_no_file_and_does_not_take_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "gone" / "lock")
    assert not lock.is_held()
    assert not lock.path.parent.exists()
    with FileLock(tmp_path / "lock") as held:
        assert FileLock(held.path).is_held()
    assert not FileLock(held.path).is_held()
    with FileLock(held.path):
        pass


def test_a_file_system_without_locks_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    with pytest.raises(EnvironmentFault, match="its file system has no locks"):
        FileLock(tmp_path / "lock").try_acquire()
