"""Files are moved without overwriting, and put back from the undo file."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner import mounted_disk
from sharpeye.data import moves
from sharpeye.data.moves import (
    Move,
    apply_moves,
    finish_move,
    free_path,
    is_copied,
    move_file,
    read_moves,
    undo_moves,
)
from sharpeye.errors import DataError, EnvironmentFault, UsageError


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or path.name)
    return path


def test_a_free_path_counts_companions_and_planned_names(tmp_path: Path) -> None:
    target = tmp_path / "1.jpg"
    assert free_path(target) == target
    write(tmp_path / "1.xml")
    assert free_path(target) == target
    assert free_path(target, companions=(".xml",)) == tmp_path / "1-2.jpg"
    write(target)
    assert free_path(target, reserved=[tmp_path / "1-2.jpg"]) == tmp_path / "1-3.jpg"
    (tmp_path / "1-2.jpg").symlink_to(tmp_path / "nowhere")
    assert free_path(target) == tmp_path / "1-3.jpg"


def test_a_number_behind_a_long_name_replaces_its_end(tmp_path: Path) -> None:
    target = write(tmp_path / ("x" * 251 + ".jpg"))
    assert free_path(target).name == "x" * 249 + "-2.jpg"


def no_links(code: int):  # type: ignore[no-untyped-def]
    """`os.link` of a file system that has no hard links, or of two file systems."""
    plain = os.link

    def link(source: Path, target: Path, **options: bool) -> None:
        if code == errno.EXDEV and Path(source).parent == Path(target).parent:
            return plain(source, target, **options)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists")
        raise OSError(code, os.strerror(code))

    return link


@pytest.mark.parametrize("code", [0, errno.EPERM, errno.EXDEV])
def test_a_file_is_moved_and_never_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    if code:
        monkeypatch.setattr(moves.os, "link", no_links(code))
    source, target = write(tmp_path / "a" / "1.jpg", "one"), tmp_path / "b" / "c" / "1.jpg"
    move_file(source, target)
    assert target.read_text() == "one" and not source.exists()
    other = write(tmp_path / "a" / "1.jpg", "two")
    with pytest.raises(DataError, match="is there already"):
        move_file(other, target)
    assert (other.read_text(), target.read_text()) == ("two", "one")
    with pytest.raises(DataError, match="is not there any more"):
        move_file(tmp_path / "a" / "none.jpg", tmp_path / "b" / "none.jpg")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["1.jpg", "1.jpg"]


def test_a_copy_to_another_file_system_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, **_: bool) -> None:
        target.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(moves.os, "link", no_links(errno.EXDEV))
    monkeypatch.setattr(moves.shutil, "copy2", full)
    source = write(tmp_path / "a" / "1.jpg", "one")
    with pytest.raises(Exception, match="No space left"):
        move_file(source, tmp_path / "b" / "1.jpg")
    assert source.read_text() == "one" and list((tmp_path / "b").iterdir()) == []


def test_moves_are_undone_from_their_table(tmp_path: Path) -> None:
    root, undo = tmp_path / "photos", tmp_path / "undo.csv"
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        write(root / name)
    planned = [Move("a/1.jpg", "b/1.jpg"), Move("b/3.jpg", "c/3.jpg")]
    apply_moves(planned, root, undo)
    assert read_moves(undo) == planned
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*.jpg")) == [
        "a/2.jpg",
        "b/1.jpg",
        "c/3.jpg",
    ]
    with pytest.raises(UsageError, match="is there already"):
        apply_moves(planned, root, undo)
    write(root / "a" / "1.jpg", "new")
    with pytest.raises(DataError, match=r"1 images cannot be put back, .* a/1.jpg; 1 were"):
        undo_moves(undo, root)
    assert (root / "b" / "3.jpg").exists() and (root / "a" / "1.jpg").read_text() == "new"
    (root / "a" / "1.jpg").unlink()
    assert undo_moves(undo, root) == 1
    assert undo_moves(undo, root) == 0


@pytest.mark.parametrize("name", ["../out.jpg", f"{'x' * 300}/out.jpg", "ring/out.jpg"])
def test_an_undo_file_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    root, undo = tmp_path / "photos", tmp_path / "undo.csv"
    write(root / "a" / "1.jpg")
    (root / "ring").symlink_to(root / "ring")
    undo.write_text(f"from,to,folder\n{name},a/1.jpg,x\n")
    with pytest.raises(UsageError, match="which is not in"):
        undo_moves(undo, root)
    assert (root / "a" / "1.jpg").exists()


def test_a_file_that_another_process_has_moved_is_no_copy(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    assert not is_copied(tmp_path / "gone.jpg", tmp_path / "a.jpg")
    assert not is_copied(tmp_path / "a.jpg", tmp_path / "gone.jpg")
    assert not finish_move(tmp_path / "gone.jpg", tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").exists()


_MOVE = """
import os, signal, sys
from pathlib import Path
from sharpeye.data import moves
step, count = sys.argv[3], 0
def at(name):
    global count
    count += 1
    if f"{name}{count}" == step:
        print("ready", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
names = ("flush_file", "flush_folder", "sha256_file", "temporary_name")
for name in names:
    def wrapped(*arguments, plain=getattr(moves, name), name=name):
        at(name)
        return plain(*arguments)
    setattr(moves, name, wrapped)
def copy(source, target, **_):
    data = Path(source).read_bytes()
    for part in (data[:10], data):
        Path(target).write_bytes(part)
        at("copy")
moves.shutil.copy2 = copy
moves.move_file(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def other_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with mounted_disk(tmp_path_factory.mktemp("disk"), mebibytes=1) as folder:
        yield folder


STEPS = ("temporary_name1", "copy2", "copy3", "flush_file4", "sha256_file5", "flush_folder7")


@pytest.mark.parametrize("step", [*STEPS, "never"])
def test_a_kill_on_the_way_to_another_disk_leaves_complete_files_only(
    tmp_path: Path, other_disk: Path, step: str
) -> None:
    data = bytes(range(256)) * 100
    source, target = tmp_path / "1.jpg", other_disk / step / "1.jpg"
    source.write_bytes(data)
    arguments = [sys.executable, "-c", _MOVE, str(source), str(target), step]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if step == "never" else -9), done.stderr
    left = [path for path in (source, target) if path.exists()]
    assert left and all(path.read_bytes() == data for path in left)
    assert source.exists() == (step != "never") and target.exists() == (
        step in (*STEPS[5:], "never")
    )
    if not target.exists():  # the next move removes what the killed one left
        move_file(source, target)
    assert [path.name for path in target.parent.iterdir()] == ["1.jpg"]


def test_a_full_disk_leaves_the_source_and_nothing_else(tmp_path: Path, other_disk: Path) -> None:
    source = tmp_path / "1.jpg"
    source.write_bytes(bytes(2 * 2**20))
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        move_file(source, other_disk / "full" / "1.jpg")
    assert source.stat().st_size == 2 * 2**20
    assert list((other_disk / "full").iterdir()) == []


def test_a_file_that_another_process_moves_at_the_same_time_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, first, second = (tmp_path / name for name in ("1.jpg", "first.jpg", "second.jpg"))
    write(source, "one")
    plain = os.link

    def link(one: Path, other: Path, **options: bool) -> None:
        plain(one, other, **options)
        if other == first:  # another process does all of its move in between
            moves.move_file(source, second)

    monkeypatch.setattr(moves.os, "link", link)
    with pytest.raises(DataError, match="is not there any more"):
        move_file(source, first)
    assert [path.name for path in tmp_path.iterdir()] == ["second.jpg"]
    assert second.read_text() == "one"


def test_a_file_whose_old_name_is_gone_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "1.jpg", "one"), tmp_path / "2.jpg"
    plain = os.link

    def link(one: Path, other: Path, **options: bool) -> None:
        plain(one, other, **options)
        source.unlink()

    monkeypatch.setattr(moves.os, "link", link)
    move_file(source, target)
    assert target.read_text() == "one"


def test_of_two_relabellings_with_one_undo_file_one_ends(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.jpg")
    write(tmp_path / "a" / "2.jpg")
    undo = tmp_path / "undo.csv"
    apply_moves([Move("a/1.jpg", "b/1.jpg")], tmp_path, undo)
    with pytest.raises(UsageError, match="is there already"):
        apply_moves([Move("a/2.jpg", "b/2.jpg")], tmp_path, undo)
    assert (tmp_path / "a" / "2.jpg").exists()
    assert undo_moves(undo, tmp_path) == 1
