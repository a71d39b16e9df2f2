"""A bundle: round trip, the same bytes each time, and refusal of every deviation."""

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exporting import images_of

import sharpeye
from runner import one_line
from sharpeye.artefact.archive import read_archive, write_archive
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.errors import ModelError
from sharpeye.jobs.export.export import export, verify_bundle

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "birds.sharpeye"
    export(trained, "bundle", file)
    return file


def rewritten(bundle: Path, file: Path, change: Callable[[Members], None]) -> Path:
    """A bundle with other members and right digests."""
    archive = read_archive(bundle)
    members = dict(archive.members)
    change(members)
    write_archive(file, members, {k: v for k, v in archive.record.items() if k != "files"})
    return file


def appended(bundle: Path, file: Path, add: Callable[[zipfile.ZipFile], None]) -> Path:
    """A copy of a bundle with members that a test adds."""
    shutil.copy(bundle, file)
    with zipfile.ZipFile(file, "a") as archive:
        add(archive)
    return file


def test_a_bundle_is_one_file_with_the_outputs_of_the_run(trained: Path, bundle: Path) -> None:
    assert [path.name for path in bundle.parent.iterdir()] == ["birds.sharpeye"]
    ours, theirs = sharpeye.load(trained), sharpeye.load(bundle)
    for image in images_of(trained)[:5]:
        assert ours.predict(image) == theirs.predict(image)
    members = read_archive(bundle).members
    assert {"model.onnx", "labels.txt", "README.md", "predict.py", "samples/1.png"} <= set(members)
    assert members["labels.txt"].decode().splitlines() == list(theirs.labels)
    expected = json.loads(members["samples/expected.json"])["pictures"]
    assert len(expected) == 5 and all(len(entry["probs"]) == 3 for entry in expected)
    assert verify_bundle(bundle)["pictures"] == 5


def test_the_same_run_makes_the_same_bytes(trained: Path, bundle: Path, tmp_path: Path) -> None:
    export(trained, "bundle", tmp_path / "again.sharpeye")
    assert (tmp_path / "again.sharpeye").read_bytes() == bundle.read_bytes()


def test_samples_can_be_left_out(trained: Path, tmp_path: Path) -> None:
    export(trained, "bundle", tmp_path / "bare.sharpeye", samples=0)
    names = read_archive(tmp_path / "bare.sharpeye").members
    assert not any(name.startswith("samples/") for name in names)
    assert verify_bundle(tmp_path / "bare.sharpeye")["pictures"] == 0


def test_commands_open_a_bundle(
    trained: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = images_of(trained)[0]
    assert run(["predict", str(bundle), str(image), "--format", "jsonl"]) == 0
    prediction = json.loads(capsys.readouterr().out)
    assert prediction["label"] == sharpeye.load(trained).predict(image).label
    assert run(["evaluate", str(bundle), str(trained.parent / "hard"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 36
    assert run(["export", str(bundle), "--verify"]) == 0
    assert capsys.readouterr().out.startswith("sound: ")


def test_a_bundle_with_other_outputs_than_expected_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(members: Members) -> None:
        expected = json.loads(members["samples/expected.json"])
        expected["pictures"][2]["probs"][0] += 0.002
        members["samples/expected.json"] = json.dumps(expected).encode()

    changed = rewritten(bundle, tmp_path / "wrong.sharpeye", change)
    open_model(changed)  # its digests are right
    assert run(["export", str(changed), "--verify"]) == 4
    assert "differs by 0.002, allowed is 0.001" in one_line(capsys.readouterr().err)


def test_one_flipped_bit_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    random = np.random.default_rng(0)
    for position in random.integers(0, len(data), 12):
        flipped = bytearray(data)
        flipped[position] ^= 1
        file = tmp_path / "flipped.sharpeye"
        file.write_bytes(flipped)
        with pytest.raises(ModelError):
            read_archive(file)


def test_a_cut_off_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    data, file = bundle.read_bytes(), tmp_path / "cut.sharpeye"
    for length in (0, 3, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"cut\.sharpeye is no bundle|larger|missing"):
            read_archive(file)


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "/etc/passwd", "samples/../model.py", "code.py", "samples/01.png", "a\\b"],
)
def test_a_member_of_another_name_is_refused(name: str, bundle: Path, tmp_path: Path) -> None:
    file = appended(bundle, tmp_path / "x.sharpeye", lambda archive: archive.writestr(name, b"x"))
    with pytest.raises(ModelError, match="does not belong into a bundle"):
        open_model(file)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_links_duplicates_and_compression_are_refused(bundle: Path, tmp_path: Path) -> None:
    def link(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("samples/9.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")

    def duplicate(archive: zipfile.ZipFile) -> None:
        archive.writestr("labels.txt", b"other\n")

    def bomb(archive: zipfile.ZipFile) -> None:
        archive.writestr("samples/9.png", bytes(2**24), zipfile.ZIP_DEFLATED)

    for add, reason in (
        (link, "is a link or encrypted"),
        (duplicate, "two of one name"),
        (bomb, "is compressed"),
    ):
        file = appended(bundle, tmp_path / f"{add.__name__}.sharpeye", add)
        with pytest.raises(ModelError, match=reason):
            open_model(file)


def test_members_and_digests_must_agree(bundle: Path, tmp_path: Path) -> None:
    file = appended(
        bundle, tmp_path / "more.sharpeye", lambda archive: archive.writestr("samples/9.png", b"x")
    )
    with pytest.raises(ModelError, match="names other files than it holds"):
        open_model(file)
    model = read_archive(bundle).members["model.onnx"]
    changed = bundle.read_bytes().replace(model[-64:], bytes(64))
    (tmp_path / "changed.sharpeye").write_bytes(changed)
    with pytest.raises(ModelError, match="damaged"):  # by the archive's own checksum
        open_model(tmp_path / "changed.sharpeye")


def test_a_bundle_without_a_model_is_refused(bundle: Path, tmp_path: Path) -> None:
    file = rewritten(bundle, tmp_path / "x.sharpeye", lambda m: m.__delitem__("model.onnx"))
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        open_model(file)
    (tmp_path / "text.sharpeye").write_text("hello")
    with pytest.raises(ModelError, match="is no bundle of SharpEye's"):
        open_model(tmp_path / "text.sharpeye")


def test_a_bundle_without_digests_is_refused(bundle: Path, tmp_path: Path) -> None:
    members, record = read_archive(bundle).members, dict(read_archive(bundle).record)
    assert record["files"]["model.onnx"] == hashlib.sha256(members["model.onnx"]).hexdigest()
    del record["files"]
    file = tmp_path / "x.sharpeye"
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr("bundle.json", json.dumps(record))
    with pytest.raises(ModelError, match="names no files"):
        open_model(file)
