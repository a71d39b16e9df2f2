"""Images move into another class, and back."""

from pathlib import Path

import pytest

from runner import tree
from sharpeye.errors import DataError, UsageError
from sharpeye.studio.relabelling import UNDO_FOLDER, recent_moves, relabel, undo
from sharpeye.studio.workspace import Workspace


@pytest.fixture
def workspace(photo_folder: Path, tmp_path: Path) -> Workspace:
    return Workspace(photo_folder, tmp_path / "runs")


def test_there_and_back(workspace: Workspace) -> None:
    before = tree(workspace.root)
    annotation = workspace.root / "apple" / "apple0.xml"
    annotation.write_text("<annotation/>")
    undo_name = relabel(workspace, "apple/apple0.jpg", "leaf")
    assert (workspace.root / "leaf" / "apple0.jpg").is_file()
    assert (workspace.root / "leaf" / "apple0.xml").is_file()
    assert not annotation.exists()
    assert (workspace.root / UNDO_FOLDER / undo_name).is_file()
    assert workspace.classes() == [("apple", 7), ("leaf", 9), ("sky", 8)]
    (listed,) = recent_moves(workspace)
    assert listed == {"id": undo_name, "source": "apple/apple0.jpg", "target": "leaf/apple0.jpg"}
    assert undo(workspace, undo_name) == 2
    annotation.unlink()
    assert recent_moves(workspace) == []
    (workspace.root / UNDO_FOLDER).rmdir()
    assert tree(workspace.root) == before
    with pytest.raises(DataError, match="taken back already"):
        undo(workspace, undo_name)


def test_nothing_is_overwritten(workspace: Workspace) -> None:
    occupant = workspace.root / "leaf" / "apple1.png"
    occupant.write_bytes((workspace.root / "leaf" / "leaf0.jpg").read_bytes())
    content = occupant.read_bytes()
    relabel(workspace, "apple/apple1.png", "leaf")
    assert occupant.read_bytes() == content
    assert (workspace.root / "leaf" / "apple1-2.png").is_file()
    first, second = (relabel(workspace, f"apple/apple{n}", "sky") for n in ("2.webp", "3.bmp"))
    assert first != second
    assert recent_moves(workspace)[0]["id"] == second


@pytest.mark.parametrize("label", ["", "..", "new class", "../sky", "leaf/deep", ".hidden"])
def test_only_into_existing_classes(workspace: Workspace, label: str) -> None:
    before = tree(workspace.root)
    with pytest.raises(UsageError):
        relabel(workspace, "apple/apple0.jpg", label)
    assert tree(workspace.root) == before


def test_what_cannot_be_moved(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="not there"):
        relabel(workspace, "apple/gone.jpg", "leaf")
    with pytest.raises(DataError, match="already"):
        relabel(workspace, "apple/apple0.jpg", "apple")
    (workspace.root / "apple" / "apple0.jpg").rename(workspace.root / "loose.jpg")
    with pytest.raises(UsageError, match="in no class"):
        relabel(workspace, "loose.jpg", "leaf")


@pytest.mark.parametrize(
    "name", ["", "../x.csv", "relabel-1.csv", "/etc/passwd", "relabel-20260101-000000-1.csv/.."]
)
def test_undo_takes_its_own_names_only(workspace: Workspace, name: str) -> None:
    with pytest.raises(UsageError, match="nothing that can be taken back"):
        undo(workspace, name)
