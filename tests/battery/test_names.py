"""Names that break tables, terminals, pages and paths, over all commands that read folders."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import sharpeye
from battery.commands import RunCommand, check_printed, command_runner
from battery.hostile_names import (
    CLASS_NAMES,
    FILE_NAMES,
    REFUSED_CLASS_NAMES,
    SYSTEM_FOLDERS,
    SYSTEM_NAMES,
)
from battery.processes import check_unchanged
from battery.tally import LossError, Tally, Tier
from image_files import encoded
from runner import SMALL, share_backbones, tree
from sharpeye.core.inference import Backbone
from sharpeye.core.tables import read_table, write_table
from sharpeye.data.file_walk import original_name, printable

_PER_CLASS = 4  # ordinary images of each class

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names of bytes")


@dataclass
class NamesFolder:
    """A data set: `names` has what is tried by path, relative to `root` and as bytes decode."""

    root: Path
    names: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def _image(random: np.random.Generator, tint: int) -> bytes:
    colour = np.array([60 + 37 * tint % 150, 60 + 61 * tint % 150, 60 + 89 * tint % 150])
    pixels = np.clip(colour + random.normal(0, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
    return encoded(pixels, "PNG")


def _spread(table: Mapping[str, bytes], count: int) -> dict[str, bytes]:
    """The first half of `count` entries of a table, and others from all of the rest."""
    names = list(table)
    head, rest = names[: count // 2], names[count // 2 :]
    step = max(1, len(rest) // max(1, count - len(head)))
    return {name: table[name] for name in [*head, *rest[::step]]}


@pytest.fixture
def folder(tier: Tier, seed: int, tmp_path: Path) -> NamesFolder:
    """Class folders of hostile names, and images of hostile names in them."""
    result, random = NamesFolder(tmp_path / "photos"), np.random.default_rng(seed)
    everything = len(FILE_NAMES)
    labels = _spread(CLASS_NAMES, tier.count(small=8, battery=everything, full=everything))
    for tint, (what, raw) in enumerate(labels.items()):
        name = os.fsdecode(raw)
        result.classes[name] = what
        (result.root / name).mkdir(parents=True)
        for number in range(_PER_CLASS):
            result.images.append(f"{name}/{number}.png")
            (result.root / name / f"{number}.png").write_bytes(_image(random, tint))
    files = _spread(FILE_NAMES, tier.count(small=32, battery=everything, full=everything))
    for number, (what, raw) in enumerate(files.items()):
        tint = number % len(result.classes)
        path = f"{[*result.classes][tint]}/{os.fsdecode(raw)}.png"
        result.names[path] = what
        result.images.append(path)
        (result.root / path).write_bytes(_image(random, tint))
    for raw in REFUSED_CLASS_NAMES.values():
        result.refused.append(f"{os.fsdecode(raw)}/1.png")
        (result.root / os.fsdecode(raw)).mkdir()
        (result.root / result.refused[-1]).write_bytes(_image(random, 0))
    first = result.root / next(iter(result.classes))
    for name in SYSTEM_NAMES:
        (first / name).write_bytes(_image(random, 0))
    for name in SYSTEM_FOLDERS:
        (result.root / name).mkdir()
        (result.root / name / "1.png").write_bytes(_image(random, 0))
    return result


class _ActiveElements(HTMLParser):
    """Collects what of a page would run if it came from a name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            runs = name.startswith("on") or "javascript:" in (value or "")
            if runs and "alert(" in (value or ""):
                self.found.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script" and re.search(r"^alert\(\d\)", data):
            self.found.append(data)


def check_page(page: Path) -> None:
    """Fail if a name has become an element of a page, or an attribute that runs."""
    text, parser = page.read_text(encoding="utf-8"), _ActiveElements()
    parser.feed(text)
    assert parser.found == [], f"{page.name}: {parser.found}"
    assert "<script>alert(" not in text and "<img src=x" not in text, page.name
    assert not {"\x1b", "\x07", "\x08", "\u202e"} & {*text}, f"{page.name} has control characters"


def test_names(
    folder: NamesFolder,
    tally: Tally,
    tier: Tier,
    cache: Path,
    session_cache: Path,
    backbone: Backbone,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names of files and of classes: bytes, control characters, formulas, scripts, lengths."""
    share_backbones(session_cache, cache)
    run, before = command_runner(tier, capsys, cache), tree(folder.root)
    root, run_dir, checked = folder.root, tmp_path / "run", tmp_path / "checked"
    with tally.case("check"):
        check_printed(run("check", root, "-o", checked).check({0}))
        check_page(checked / "check.html")
        issues = read_table(checked / "issues.csv")
        refused = {original_name(row["path"]) for row in issues if row["kind"] == "unreadable"}
        assert refused == {*folder.refused}
    with tally.case("train"):
        check_printed(run("train", root, "-o", run_dir, *SMALL).check({0}))
        check_page(run_dir / "report.html")
        rows = read_table(run_dir / "quarantine.csv")
        assert sorted(original_name(row["path"]) for row in rows) == sorted(folder.refused)
    with tally.case("predict"):
        check_printed(run("predict", run_dir, root).check({0}))
        lines = run("predict", run_dir, root, "--format", "csv").check({0}).out
        (tmp_path / "p.csv").write_bytes(lines.encode())
    with tally.case("evaluate"):
        evaluated = tmp_path / "evaluated"
        check_printed(run("evaluate", run_dir, root, "-o", evaluated).check({0}))
        check_page(evaluated / "report.html")
    with tally.case("augment"):
        copies = tmp_path / "copies"
        # The copies of the longest names would have names too long for a file.
        check_printed(run("augment", root, copies, "--random", "1").check({3}))
    split = {original_name(row["path"]): row for row in read_table(run_dir / "split.csv")}
    predicted = {original_name(row["path"]): row for row in read_table(tmp_path / "p.csv")}
    with tally.case("every image is in the tables, under its own name"):
        assert sorted(split) == sorted(folder.images)
        expected = {f"{root}/{path}" for path in [*folder.images, *folder.refused]}
        assert {*predicted} == expected
    labels = sharpeye.load(run_dir).labels
    for name, what in folder.classes.items():
        with tally.case(f"class: {what}"):
            assert sum(label == printable(name) for label in labels) == 1
            assert split[f"{name}/0.png"]["label"] == printable(name)
            assert predicted[f"{root}/{name}/0.png"]["label"] in labels
    for path, what in folder.names.items():
        with tally.case(f"file: {what}"):
            assert split[path]["label"] == printable(path.split("/")[0])
            assert predicted[f"{root}/{path}"]["error"] == ""
            _check_copy(copies / path)
    with tally.case("the folder is as it was"):
        check_unchanged(root, before)
    _check_relabelling(folder, tally, run, before)
    _check_quarantine(folder, tally, run)


def _check_copy(image: Path) -> None:
    """An augmented copy of an image exists, unless it is one itself or its name is too long."""
    copy = image.name.removesuffix(".png") + "_nohash_r1.png"
    expected = len(os.fsencode(copy)) <= 255 and "_nohash_" not in image.name
    assert (copy in os.listdir(image.parent)) == expected


def _check_relabelling(
    folder: NamesFolder, tally: Tally, run: RunCommand, before: Mapping[str, str]
) -> None:
    """Every image of a hostile name moves to the next class and back."""
    root, classes = folder.root, [*folder.classes]
    rows, moved = [], {}
    for path in folder.names:
        label, name = path.split("/")
        other = classes[(classes.index(label) + 1) % len(classes)]
        rows.append([*map(printable, (path, label, other)), "", printable(str(root))])
        moved[path] = f"{other}/{name}"
    fixes = root.with_name("fixes.csv")
    write_table(fixes, ("path", "label", "new_label", "detail", "folder"), rows)
    with tally.case("relabel --apply"):
        check_printed(run("relabel", "--apply", fixes).check({0}))
        expected = {moved.get(path, path): entry for path, entry in before.items()}
        assert tree(root) == expected
    with tally.case("relabel --undo"):
        check_printed(run("relabel", "--undo", root.with_name("fixes.undo.csv")).check({0}))
        check_unchanged(root, before)


def _check_quarantine(folder: NamesFolder, tally: Tally, run: RunCommand) -> None:
    """Damaged files of these names move to a folder, byte for byte."""
    root, moved = folder.root, folder.root.with_name("moved")
    for number, path in enumerate(folder.names):
        (root / path).write_bytes(b"no image %d" % number)
    before = tree(root)
    with tally.case("check --quarantine"):
        check_printed(run("check", root, "--quarantine", moved).check({0}))
        rows = read_table(moved / "moved.csv")
        assert {original_name(row["from"]) for row in rows} == {f"{root}/{p}" for p in folder.names}
        after, quarantined = tree(root), tree(moved)
        for path in folder.names:
            if path in after or quarantined.get(path) != before[path]:
                raise LossError(f"{path!r} is not in the quarantine as it was")
