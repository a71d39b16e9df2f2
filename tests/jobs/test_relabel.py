"""`relabel`: the folder it is for, errors half-way, and undoing."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner import one_line, tree
from sharpeye.cli.app import run
from sharpeye.core.tables import write_table
from sharpeye.data import moves as moving
from sharpeye.data.file_walk import printable
from sharpeye.data.moves import apply_moves, undo_moves
from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.audit.relabel import FIX_COLUMNS, dataset_folder, plan_moves


@pytest.fixture
def root(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for label in ("ball", "box"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(3):
            pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{number}.png")
    return tmp_path / "set"


def write_fixes(file: Path, *rows: tuple[str, str, str], folder: str = "") -> Path:
    write_table(file, FIX_COLUMNS, ((*row, "", folder) for row in rows))
    return file


def test_the_table_says_which_folder_it_is_for(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(root)
    fixes = write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", "box"), folder=str(root))
    assert run(["relabel", "--apply", str(fixes)]) == 0
    assert (root / "box/1-2.png").exists() and not (root / "ball/1.png").exists()
    undo = tmp_path / "f.undo.csv"
    assert f"sharpeye relabel --undo {undo}" in capsys.readouterr().out
    assert run(["relabel", "--undo", str(undo)]) == 0
    assert tree(root) == before


def test_a_table_without_a_folder_needs_one(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixes = write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", "box"))
    assert run(["relabel", "--apply", str(fixes)]) == 2
    assert "sharpeye relabel DIR" in one_line(capsys.readouterr().err)
    row = ("ball/1.png", "ball", "box")
    fixes.write_text(fixes.read_text() + f"{','.join(row)},,/a\n{','.join(row)},,/b\n")
    with pytest.raises(UsageError, match="names 2 folders"):
        dataset_folder(fixes)


def test_an_image_that_is_named_twice_moves_nothing(root: Path, tmp_path: Path) -> None:
    row = ("ball/1.png", "ball", "box")
    with pytest.raises(DataError, match="twice"):
        plan_moves(write_fixes(tmp_path / "f.csv", row, row), root)


def test_an_error_half_way_says_how_to_undo(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(root)
    rows = [(f"ball/{number}.png", "ball", "box") for number in range(3)]
    moves = plan_moves(write_fixes(tmp_path / "f.csv", *rows), root)
    move_file = moving.move_file

    def failing(source: Path, target: Path) -> None:
        if source.name == "1.png":
            raise DataError("the disk is gone")
        move_file(source, target)

    monkeypatch.setattr(moving, "move_file", failing)
    with pytest.raises(DataError, match=r"1 of 3 images .* --undo .*undo\.csv"):
        apply_moves(moves, root, tmp_path / "undo.csv")
    monkeypatch.undo()
    assert tree(root) != before
    assert undo_moves(tmp_path / "undo.csv", root) == 1
    assert tree(root) == before


def test_a_move_that_was_stopped_between_its_steps_is_undone(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    moves = plan_moves(write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", "box")), root)
    apply_moves(moves, root, tmp_path / "undo.csv")
    os.link(root / "box/1-2.png", root / "ball/1.png")  # as between the link and the unlink
    assert undo_moves(tmp_path / "undo.csv", root) == 1
    assert tree(root) == before


def test_a_new_file_under_an_old_name_is_not_overwritten(root: Path, tmp_path: Path) -> None:
    rows = [(f"ball/{number}.png", "ball", "box") for number in range(2)]
    moves = plan_moves(write_fixes(tmp_path / "f.csv", *rows), root)
    apply_moves(moves, root, tmp_path / "undo.csv")
    (root / "ball/0.png").write_text("new")
    with pytest.raises(DataError, match=r"1 images cannot be put back.*ball/0\.png; 1 were"):
        undo_moves(tmp_path / "undo.csv", root)
    assert (root / "ball/0.png").read_text() == "new"
    assert (root / "ball/1.png").exists()
    assert (root / "box/0-2.png").exists()


def test_an_undo_file_that_leads_out_of_the_folder_is_refused(root: Path, tmp_path: Path) -> None:
    undo = tmp_path / "undo.csv"
    undo.write_text("from,to\n../away.png,box/1.png\n")
    with pytest.raises(UsageError, match="which is not in"):
        undo_moves(undo, root)
    undo.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no column from, to"):
        undo_moves(undo, root)


def test_paths_with_backslashes_are_found(root: Path, tmp_path: Path) -> None:
    (move,) = plan_moves(write_fixes(tmp_path / "f.csv", ("ball\\1.png", "ball", "box")), root)
    assert move.target == "box/1-2.png"


def test_nothing_is_overwritten_by_a_move(root: Path, tmp_path: Path) -> None:
    remaining, moved = (root / "box/1.png").read_bytes(), (root / "ball/1.png").read_bytes()
    moves = plan_moves(write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", "box")), root)
    apply_moves(moves, root, tmp_path / "undo.csv")
    assert (root / "box/1.png").read_bytes() == remaining
    assert (root / "box/1-2.png").read_bytes() == moved
    with pytest.raises(UsageError, match="is there already"):
        apply_moves([], root, tmp_path / "undo.csv")
    assert undo_moves(tmp_path / "undo.csv", root) == 1
    assert (root / "ball/1.png").read_bytes() == moved
    assert undo_moves(tmp_path / "undo.csv", root) == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("ball/9.png", "ball", "box"), "no image"),
        (("ball/1.png", "kite", "box"), "not in kite"),
        (
            ("ball/1.png", "ball", "../box"),
            r"\.csv: '../box' for ball/1.png is no name for a class",
        ),
        (("ball/1.png", "ball", ""), "no name for a class folder"),
    ],
)
def test_a_table_that_does_not_fit_moves_nothing(
    root: Path, tmp_path: Path, row: tuple[str, str, str], words: str
) -> None:
    before = tree(root)
    good = ("box/1.png", "box", "kite")
    with pytest.raises(DataError, match=words):
        plan_moves(write_fixes(tmp_path / "f.csv", good, row), root)
    assert tree(root) == before


def test_a_copy_leaves_the_data_set_alone(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    fixes = write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", "box"))
    out = tmp_path / "out"
    assert run(["relabel", str(root), "--apply", str(fixes), "--copy", str(out)]) == 0
    assert tree(root) == before
    assert (out / "box/1-2.png").read_bytes() == (root / "ball/1.png").read_bytes()
    assert len(list(out.rglob("*.png"))) == 6
    assert run(["relabel", str(root), "--apply", str(fixes), "--copy", str(out)]) == 2
    assert run(["relabel", str(root)]) == 2


def test_undoing_in_a_folder_that_does_not_exist_is_refused(root: Path, tmp_path: Path) -> None:
    moves = plan_moves(write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", "box")), root)
    apply_moves(moves, root, tmp_path / "undo.csv")
    assert run(["relabel", str(tmp_path / "none"), "--undo", str(tmp_path / "undo.csv")]) == 3


ODD_NAMES = [
    "Icon\r.png",
    "a,b.png",
    '"q".png',
    "x\ny,tulip.png",
    "=1.png",
    "\u2028.png",
    " a .png",
]


@pytest.mark.skipif(os.name == "nt", reason="names of bytes")
def test_any_name_is_moved_put_back_and_copied(root: Path, tmp_path: Path) -> None:
    """Also names that are no UTF-8, and two that are printed alike; classes of such names, too."""
    data = (root / "ball" / "0.png").read_bytes()
    names = [*ODD_NAMES, os.fsdecode(b"lit\xff.png"), "lit\\xff.png", "lit\\x5cxff.png"]
    for number, name in enumerate(names):
        (root / "ball" / name).write_bytes(data + bytes([number]))
    odd_class = os.fsdecode(b"box\xfe")
    (root / odd_class).mkdir()
    (root / odd_class / "1.png").write_bytes(data)
    before = tree(root)
    label = printable(odd_class)
    paths = [printable(f"ball/{name}") for name in names]
    assert len(set(paths)) == len(names)
    fixes = write_fixes(
        tmp_path / "f.csv", *((path, "ball", label) for path in paths), folder=printable(str(root))
    )
    copy = tmp_path / "copy"
    assert run(["relabel", "--apply", str(fixes), "--copy", str(copy)]) == 0
    assert tree(root) == before
    moved = {path.replace("ball/", f"{odd_class}/") for path in (f"ball/{n}" for n in names)}
    expected = ({*before} - {f"ball/{name}" for name in names}) | moved
    assert {*tree(copy)} == expected
    assert run(["relabel", "--apply", str(fixes)]) == 0
    assert {*tree(root)} == expected and tree(copy) == tree(root)
    (tmp_path / "f.undo.csv").read_text(encoding="utf-8")  # any reader can open it
    assert run(["relabel", "--undo", str(tmp_path / "f.undo.csv")]) == 0
    assert tree(root) == before | {key: value for key, value in tree(root).items() if key in before}
    assert {*tree(root)} == {*before}


def test_an_existing_class_of_any_name_takes_images(root: Path, tmp_path: Path) -> None:
    (root / 'what? "this"').mkdir()
    (root / 'what? "this"' / "a.png").write_bytes((root / "ball" / "0.png").read_bytes() + b"x")
    fixes = write_fixes(tmp_path / "f.csv", ("ball/1.png", "ball", 'what? "this"'))
    (move,) = plan_moves(fixes, root)
    assert move.target == 'what? "this"/1.png'
    for label in ("a/b", "..", "a\nb", "what?", ""):
        with pytest.raises(DataError, match="is no name for a class folder"):
            plan_moves(write_fixes(tmp_path / "g.csv", ("ball/1.png", "ball", label)), root)
