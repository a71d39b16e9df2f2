"""`evaluate` leads with images that the model was not trained on, and reads labels as training."""

import json
import math
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sharpeye
from runner import hard_photos, one_line, train_here
from sharpeye.cli.app import run
from sharpeye.core.tables import read_table
from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.evaluation_output import EVALUATION_FILES
from sharpeye.report.evaluation import Evaluation

pytestmark = pytest.mark.usefixtures("warm")

SEEN = ("train", "validation", "near_copy")


def images_of(run_dir: Path, data: Path, *splits: str, to: Path) -> Path:
    """A folder with the run's images of some splits."""
    for row in read_table(run_dir / "split.csv"):
        if row["part"] in splits:
            (to / row["path"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / row["path"], to / row["path"])
    return to


def counts(evaluation: Evaluation) -> dict[str, int]:
    return {kind: row["count"] for kind, row in evaluation.by_exposure.items()}


def parts(run_dir: Path) -> dict[str, int]:
    rows = [row["part"] for row in read_table(run_dir / "split.csv")]
    return {part: rows.count(part) for part in dict.fromkeys(rows)}


def printed(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments)]) == code
    return capsys.readouterr().out


def test_the_folder_of_the_training_gives_the_test_score(
    hard: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation, samples, _ = sharpeye.evaluate(undisturbed, hard)
    expected = sharpeye.Run(undisturbed).metrics["test"]
    assert len(samples) == 36
    assert evaluation.metrics["count"] == expected["count"] < 36
    assert evaluation.metrics["accuracy"] == expected["accuracy"]
    assert evaluation.metrics["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-3)
    assert evaluation.overlap is not None
    assert evaluation.overlap.metrics["count"] == 36 - expected["count"]
    assert counts(evaluation) == parts(undisturbed)
    text = printed(capsys, undisturbed, hard)
    assert f"of {expected['count']} images that it was not trained on" in text.splitlines()[0]
    assert "training images of the run" in text and "validation images of the run" in text


def test_images_of_the_training_alone_say_nothing(
    hard: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images_of(undisturbed, hard, "train", "validation", to=tmp_path / "old")
    count = len([*folder.rglob("*.png")])
    evaluation, _, _ = sharpeye.evaluate(undisturbed, folder)
    assert evaluation.metrics["count"] == 0 and math.isnan(evaluation.metrics["accuracy"])
    out = tmp_path / "scores"
    first, *table = printed(capsys, undisturbed, folder, "-o", out).splitlines()
    test = sharpeye.Run(undisturbed).metrics["test"]
    assert first.startswith(
        f"accuracy: unknown for new images: the model was trained on these {count} images"
    )
    assert first.endswith(f"% of {test['count']} images")
    assert "training images of the run" in "".join(table)
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["test"]["count"], metrics["test"]["accuracy"]) == (0, None)
    assert metrics["seen"]["count"] == count
    assert set(metrics["images"]) == {"train", "validation"}
    page = (out / "report.html").read_text()
    assert "unknown for new images" in page and 'class="big"' not in page
    assert len(read_table(out / "predictions.csv")) == count
    json_text = printed(capsys, undisturbed, folder, "--json")
    assert json.loads(json_text)["accuracy"] is None
    # A gate cannot be passed with images of the training.
    capsys.readouterr()
    assert run(["evaluate", str(undisturbed), str(folder), "--min-accuracy", "0"]) == 9
    assert "unknown" in one_line(capsys.readouterr().err.splitlines()[-1])


def recompressed(image: Image.Image, file: Path) -> None:
    image.resize((image.width * 2, image.height * 2)).save(file.with_suffix(".jpg"), quality=92)


def copied(image: Image.Image, file: Path) -> None:
    image.save(file)


@pytest.mark.parametrize(
    ("change", "expected"), [(recompressed, "near_copy"), (copied, "train")], ids=["near", "exact"]
)
@pytest.mark.parametrize("is_cached", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_copies_of_training_images_are_seen_under_any_name(
    change: Callable[[Image.Image, Path], None],
    expected: str,
    is_cached: bool,
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = photo_like(tmp_path / "photos", 10)
    assert train_here(data, tmp_path / "run") == 0
    if not is_cached:
        shutil.rmtree(cache / "looks")
    new = photo_like(tmp_path / "new", 4, seed=7)
    trained = [r for r in read_table(tmp_path / "run" / "split.csv") if r["part"] == "train"][:3]
    for number, row in enumerate(trained):
        with Image.open(data / row["path"]) as image:
            change(image, new / row["label"] / f"other-{number}.png")
    evaluation, _, _ = sharpeye.evaluate(tmp_path / "run", new)
    assert counts(evaluation) == {"new": 8, expected: 3}
    assert evaluation.metrics["count"] == 8
    assert evaluation.exposures == ("new",) * 8
    rows = {}
    assert run(["evaluate", str(tmp_path / "run"), str(new), "-o", str(tmp_path / "out")]) == 0
    for row in read_table(tmp_path / "out" / "predictions.csv"):
        rows[row["path"]] = row["part"]
    assert {p for path, p in rows.items() if "other" in path} == {expected}
    assert "copies with small changes" not in capsys.readouterr().err


def photo_like(folder: Path, per_class: int, seed: int = 0) -> Path:
    """Smooth random images of 96 pixels: no two are nearly the same."""
    random = np.random.default_rng(seed)
    for label, tint in (("cold", (0, 20, 60)), ("warm", (60, 20, 0))):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            coarse = random.integers(0, 190, (6, 6, 3)) + np.array(tint)
            image = Image.fromarray(coarse.astype(np.uint8))
            image = image.resize((96, 96), Image.Resampling.BICUBIC)
            image.save(folder / label / f"{label}{number}.png")
    return folder


@pytest.mark.slow
def test_it_is_said_when_copies_cannot_be_looked_for(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photo_like(tmp_path / "photos", 10)
    assert train_here(data, tmp_path / "run") == 0
    shutil.rmtree(cache / "looks", ignore_errors=True)
    data.rename(tmp_path / "moved")
    new = photo_like(tmp_path / "new", 2, 7)
    assert "of 4 images that it was not trained on" in printed(capsys, tmp_path / "run", new)
    assert run(["evaluate", str(tmp_path / "run"), str(new)]) == 0
    assert "copies with small changes could be looked for of 0 of the" in capsys.readouterr().err


def test_a_model_without_its_run_cannot_tell(
    hard: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(undisturbed / "model.onnx", tmp_path / "model.onnx")
    assert (
        run(["evaluate", str(tmp_path / "model.onnx"), str(hard), "-o", str(tmp_path / "o")]) == 0
    )
    captured = capsys.readouterr()
    assert "cannot be told" in captured.err and "give the run directory" in captured.err
    assert captured.out.startswith("accuracy: ") and "of 36 images, 95 %" in captured.out
    assert "seen" not in json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert "cannot be told" in (tmp_path / "o" / "report.html").read_text()
    # The file in the run directory can tell.
    assert "not trained on" in printed(capsys, undisturbed / "model.onnx", hard)


# --- the folder of the results -------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def make_output(kind: str, folder: Path, *, run_dir: Path, data: Path) -> Path:
    if kind == "run":
        shutil.copytree(run_dir, folder)
    elif kind == "stopped run":
        folder.mkdir()
        shutil.copy(run_dir / "config.toml", folder)
    elif kind == "file":
        folder.write_text("mine")
    elif kind == "images":
        return data / "report"
    else:
        folder.mkdir()
        (folder / kind).write_text("mine")
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("run", "holds a finished run, which is not replaced"),
        ("stopped run", "holds config.toml, which is of no evaluation"),
        ("file", "is a file; give --output a folder"),
        ("images", "give --output a folder outside of it"),
        ("notes.txt", "holds notes.txt, which is of no evaluation"),
        ("report.html", "holds report.html, which is of no evaluation"),
        ("metrics.json", "holds metrics.json, which is of no evaluation"),
    ],
)
def test_results_of_a_run_and_files_of_a_user_are_not_replaced(
    kind: str,
    message: str,
    hard: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = make_output(kind, tmp_path / "out", run_dir=undisturbed, data=hard)
    before = contents(output) if output.is_dir() else None
    monkeypatch.setattr("sharpeye.jobs.evaluate.load", None)  # Nothing is scored.
    assert run(["evaluate", str(undisturbed), str(hard), "-o", str(output)]) == 2
    assert message in one_line(capsys.readouterr().err)
    assert (contents(output) if output.is_dir() else None) == before


def test_an_earlier_evaluation_is_replaced(
    hard: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".DS_Store").touch()
    new = hard_photos(tmp_path / "new", 2, seed=4)
    for folder, count in ((hard, 36), (new, 6)):
        printed(capsys, undisturbed, folder, "-q", "-o", out)
        assert len(read_table(out / "predictions.csv")) == count
    assert {p.name for p in out.iterdir()} == {*EVALUATION_FILES, ".DS_Store"}


# --- damaged runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_without_its_configuration_a_run_still_knows_its_images(
    kind: str, hard: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "config.toml").unlink()
    if kind == "folder":
        (tmp_path / "run" / "config.toml").mkdir()
    expected = sharpeye.evaluate(undisturbed, hard)[0]
    evaluation, _, _ = sharpeye.evaluate(tmp_path / "run", hard)
    assert counts(evaluation) == counts(expected) == parts(undisturbed)
    old = images_of(undisturbed, hard, "train", to=tmp_path / "old")
    arguments = ["evaluate", str(tmp_path / "run"), str(old), "--min-accuracy", "0"]
    assert run(arguments) == 9
    assert "the model was trained on all of these" in capsys.readouterr().err


def test_without_configuration_and_cache_copies_cannot_be_looked_for(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photo_like(tmp_path / "photos", 10)
    assert train_here(data, tmp_path / "run") == 0
    shutil.rmtree(cache / "looks", ignore_errors=True)
    (tmp_path / "run" / "config.toml").unlink()
    assert run(["evaluate", str(tmp_path / "run"), str(photo_like(tmp_path / "new", 2, 7))]) == 0
    captured = capsys.readouterr()
    assert "of 4 images that it was not trained on" in captured.out
    assert f"{tmp_path / 'run'} has no config.toml with their folder" in captured.err


@pytest.mark.parametrize("content", ["", "path,label,part,sha256,group\na,ash,holdout,,\n", "\0\0"])
def test_a_damaged_split_is_named(
    content: str, hard: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "split.csv").write_text(content)
    assert run(["evaluate", str(tmp_path / "run"), str(hard), "-q"]) == 3
    assert "split.csv is damaged" in one_line(capsys.readouterr().err)


# --- labels --------------------------------------------------------------------------------------


def flat(folder: Path, source: Path, separator: str = "_") -> Path:
    folder.mkdir()
    for file in source.rglob("*.png"):
        number = file.stem.removeprefix(file.parent.name)
        shutil.copy(file, folder / f"{file.parent.name}{separator}{number}.png")
    return folder


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New images, whose names begin with their class, in one folder."""
    root = tmp_path_factory.mktemp("prefixed")
    return flat(root / "flat", hard_photos(root / "new", 4, seed=9))


@pytest.mark.parametrize("options", [(), ("--label-from", "prefix")])
def test_labels_are_read_from_file_names(
    options: tuple[str, ...],
    undisturbed: Path,
    prefixed: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run was trained on class folders; the names of these images begin with its classes."""
    scores = json.loads(printed(capsys, undisturbed, prefixed, "--json", *options))
    assert scores["count"] == 12
    assert all(row["support"] == 4 for row in scores["per_class"].values())


def test_labels_are_read_as_training_read_them(
    hard: Path, prefixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = flat(tmp_path / "photos", hard)
    assert train_here(data, tmp_path / "run", "--label-from", "prefix") == 0
    # Every image lies in a folder that is named as a class: the file names count.
    misleading = tmp_path / "in" / "ash"
    shutil.copytree(prefixed, misleading)
    scores = json.loads(printed(capsys, tmp_path / "run", tmp_path / "in", "--json"))
    assert all(row["support"] == 4 for row in scores["per_class"].values())
    by_folder = json.loads(
        printed(capsys, tmp_path / "run", tmp_path / "in", "--json", "--label-from", "folder")
    )
    assert by_folder["per_class"]["ash"]["support"] == 12
    # Class folders, whose files have other names.
    plain = hard_photos(tmp_path / "plain", 2, seed=4)
    scores = json.loads(printed(capsys, tmp_path / "run", plain, "--json"))
    assert scores["count"] == 6


def test_a_source_of_labels_that_does_not_exist_is_refused(undisturbed: Path, hard: Path) -> None:
    with pytest.raises(UsageError, match=r"one of folder, prefix, xml\. Received: name"):
        sharpeye.evaluate(undisturbed, hard, label_from="name")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_another_unicode_form_are_the_same_class(form: str, tmp_path: Path) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    data, new = photo_like(tmp_path / "photos", 8), photo_like(tmp_path / "new", 3, seed=5)
    (data / "warm").rename(data / unicodedata.normalize(form, "café"))
    (new / "warm").rename(new / unicodedata.normalize(other, "café"))
    assert train_here(data, tmp_path / "run") == 0
    evaluation, _, _ = sharpeye.evaluate(tmp_path / "run", new)
    per_class = evaluation.metrics["per_class"]
    assert per_class[unicodedata.normalize(form, "café")]["support"] == 3


def test_unknown_classes_are_named_with_those_that_are_meant(
    hard: Path, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(hard, tmp_path / "new")
    (tmp_path / "new" / "birch").rename(tmp_path / "new" / "Birches")
    with pytest.raises(DataError, match="does not know Birches; perhaps birch for Birches"):
        sharpeye.evaluate(undisturbed, tmp_path / "new")
    for number in range(40):
        (tmp_path / "new" / f"class {number}").mkdir()
        shutil.copy(hard / "ash" / "ash0.png", tmp_path / "new" / f"class {number}")
    with pytest.raises(DataError) as error:
        sharpeye.evaluate(undisturbed, tmp_path / "new")
    assert "and 31 more" in str(error.value) and len(str(error.value)) < 400


def test_the_right_folder_is_named_above_and_below(
    hard: Path, undisturbed: Path, tmp_path: Path
) -> None:
    def copy(label: str, folder: str) -> None:
        """With a name that says nothing of the class."""
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(hard / label / f"{label}0.png", tmp_path / folder / "1.png")

    labels = sorted(folder.name for folder in hard.iterdir())
    for label in labels:
        copy(label, f"wrapper/Archive v2/{label}")
    inner = f"'{tmp_path / 'wrapper' / 'Archive v2'}'"
    with pytest.raises(DataError, match=f"give {inner}, which holds the folders"):
        sharpeye.evaluate(undisturbed, tmp_path / "wrapper")
    copy("ash", "photos/ash")
    with pytest.raises(DataError) as caught:
        sharpeye.evaluate(undisturbed, tmp_path / "photos" / "ash")
    message = str(caught.value)
    assert f"it is the folder of the class ash: give {tmp_path / 'photos'}" in message
    assert "prefix" not in message
    # A folder that holds neither stays an error with the classes of the model.
    copy("ash", "other/x/y")
    with pytest.raises(DataError, match=r"does not know x; rename .*the model knows ash"):
        sharpeye.evaluate(undisturbed, tmp_path / "other")
