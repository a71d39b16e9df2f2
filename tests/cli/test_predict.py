"""`sharpeye predict`, `evaluate` and the small commands; every path gives the same scores."""

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharpeye
from runner import call, command, environment, one_line, train_here, tree
from sharpeye.cli.app import COMMANDS, run
from sharpeye.core.formatting import plain_percent
from sharpeye.core.storage import FileLock
from sharpeye.core.types import Prediction
from sharpeye.data.file_walk import original_name
from sharpeye.predict.writers import open_writer

TOLERANCE = 1e-3


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def stdout_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """The stdout of a command, which must end with `code`."""
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == code
    return capsys.readouterr().out


@pytest.fixture
def data(trained: Path) -> Path:
    """The images that `trained` was trained on: 3 classes of 12."""
    return trained.parent / "hard"


def scores_in_run(trained: Path) -> dict[str, tuple[str, float]]:
    with (trained / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {r["path"]: (r["predicted"], float(r["score"])) for r in csv.DictReader(file)}


# --- output formats ------------------------------------------------------------------------------


def test_jsonl_has_a_line_an_image(
    trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = data / "ash" / "ash1.png"
    lines = json_lines(
        stdout_of(capsys, "predict", trained, image, "--format", "jsonl", "--top", "2")
    )
    assert len(lines) == 1
    keys = ["path", "label", "score", "top", "box", "unknown", "unknown_score"]
    assert list(lines[0]) == keys
    assert lines[0]["path"] == str(image)
    assert lines[0]["box"] is None
    assert lines[0]["label"] in ("ash", "birch", "cedar")
    assert [list(item) for item in lines[0]["top"]] == [["label", "score"]] * 2
    assert lines[0]["top"][0] == {"label": lines[0]["label"], "score": lines[0]["score"]}
    assert lines[0]["top"][0]["score"] >= lines[0]["top"][1]["score"]


def test_csv_and_text_have_the_values_of_jsonl(
    trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = json_lines(stdout_of(capsys, "predict", trained, data, "--format", "jsonl"))
    table = list(
        csv.reader(io.StringIO(stdout_of(capsys, "predict", trained, data, "--format", "csv")))
    )
    assert table[0] == ["path", "label", "score", "error", "unknown", "unknown_score"]
    assert [row[:4] for row in table[1:]] == [
        [line["path"], line["label"], f"{line['score']:.6f}", ""] for line in lines
    ]
    assert [row[4:] for row in table[1:]] == [
        [str(line["unknown"]).lower(), f"{line['unknown_score']:.6f}"] for line in lines
    ]
    text = stdout_of(capsys, "predict", trained, data).splitlines()
    for text_line, line in zip(text, lines, strict=True):
        path, ranked = text_line.split("\t")
        assert path == line["path"]
        plain = ranked.removeprefix("unknown (most like ").removesuffix(")")
        assert line["unknown"] == (plain != ranked)
        assert plain == ", ".join(
            f"{item['label']} {plain_percent(item['score'])}" for item in line["top"]
        )


def test_scores_of_all_classes_sum_to_one_and_top_limits_them(
    trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in json_lines(stdout_of(capsys, "predict", trained, data, "--format", "jsonl")):
        assert len(line["top"]) == 3
        assert sum(item["score"] for item in line["top"]) == pytest.approx(1, abs=1e-5)
    text = stdout_of(capsys, "predict", trained, data / "ash" / "ash1.png", "--top", "1")
    assert text.count("%") == 1


def test_folders_are_searched_in_natural_order_and_other_files_skipped(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "inbox"
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("10.png", "9.png", "deep/er/x.png", ".hidden.png", "no_suffix"):
        shutil.copy(data / "ash" / "ash1.png", folder / name)
    (folder / "notes.txt").write_text("not an image")
    lines = json_lines(stdout_of(capsys, "predict", trained, folder, "--format", "jsonl"))
    assert [line["path"] for line in lines] == [
        str(folder / name) for name in ("9.png", "10.png", "deep/er/x.png", "no_suffix")
    ]


# --- unreadable images ---------------------------------------------------------------------------


@pytest.fixture
def inbox(data: Path, tmp_path: Path) -> Path:
    """A folder with two good images, three files that are no images, and a pipe."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    shutil.copy(data / "ash" / "ash1.png", folder / "a.png")
    (folder / "b.jpg").touch()
    (folder / "c.jpg").write_text("<html>")
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes()[:900])
    os.mkfifo(folder / "e.jpg")
    shutil.copy(data / "birch" / "birch1.png", folder / "z.png")
    return folder


def test_unreadable_files_are_named_and_all_others_predicted(
    trained: Path, inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(trained), str(inbox), "--format", "jsonl"]) == 3
    out, err = capsys.readouterr()
    by_name = {Path(line["path"]).name: line for line in json_lines(out)}
    assert set(by_name) == {"a.png", "b.jpg", "c.jpg", "d.png", "e.jpg", "z.png"}
    for name in ("b.jpg", "c.jpg", "d.png", "e.jpg"):
        assert set(by_name[name]) == {"path", "error"}
        assert by_name[name]["error"]
    assert "label" in by_name["a.png"]
    assert "label" in by_name["z.png"]
    assert one_line(err) == "error: 4 of 6 files could not be read; the others are answered"


def test_every_format_reports_unreadable_files(
    trained: Path, inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = csv.DictReader(
        io.StringIO(stdout_of(capsys, "predict", trained, inbox, "--format", "csv", code=3))
    )
    assert [bool(row["error"]) for row in table].count(True) == 4
    assert stdout_of(capsys, "predict", trained, inbox, code=3).count("\terror: ") == 4


def test_a_path_that_does_not_exist_is_reported_too(
    trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = data / "ash" / "ash1.png"
    text = stdout_of(capsys, "predict", trained, "nowhere.jpg", good, "--format", "jsonl", code=3)
    first, second = json_lines(text)
    assert first["path"] == "nowhere.jpg"
    assert "No such file" in first["error"]
    assert second["path"] == str(good)


def test_a_folder_without_images_is_an_error(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["predict", str(trained), str(tmp_path / "empty")]) == 3
    assert "no images in" in one_line(capsys.readouterr().err)


def test_hostile_names_are_escaped_on_the_terminal_and_intact_in_json(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    names = ["esc\x1b[31m.png", "new\nline.png", "tab\t.png", "rtl\u202egnp.png"]
    for name in names:
        shutil.copy(data / "ash" / "ash1.png", folder / name)
    with open(os.fsencode(folder) + b"/bytes\xff.png", "wb") as file:
        file.write((data / "ash" / "ash1.png").read_bytes())
    text = stdout_of(capsys, "predict", trained, folder)
    assert len(text.splitlines()) == 5
    assert not any(c in text for c in "\x1b\u202e")
    assert all(line.count("\t") == 1 for line in text.splitlines())
    assert "esc\\x1b[31m.png" in text
    assert "bytes\\xff.png" in text
    lines = json_lines(stdout_of(capsys, "predict", trained, folder, "--format", "jsonl"))
    assert {Path(line["path"]).name for line in lines} == {*names, "bytes\\xff.png"}


def test_the_name_of_a_file_that_was_left_out_is_escaped_once(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [os.fsdecode(b"bytes\xff.png"), "bytes\\xff.png"]
    shutil.copy(data / "ash" / "ash1.png", tmp_path / "1.png")
    for name in names:
        (tmp_path / name).symlink_to("nowhere")
    text = stdout_of(capsys, "predict", trained, tmp_path, "--format", "jsonl", code=3)
    paths = {original_name(line["path"]) for line in json_lines(text) if "error" in line}
    assert paths == {str(tmp_path / name) for name in names}


def test_an_image_with_the_longest_name_gets_a_drawing(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        shutil.copy(data / "ash" / "ash1.png", tmp_path / "in" / ("x" * 254 + str(number)))
    stdout_of(capsys, "predict", trained, tmp_path / "in", "--explain", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [len(name) for name in names] == [255, 255]


# --- models --------------------------------------------------------------------------------------


def test_a_model_that_does_not_exist_ends_with_2(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", "runs/nowhere", str(data)]) == 2
    assert "no such model: runs/nowhere" in one_line(capsys.readouterr().err)


def test_a_folder_without_a_model_ends_with_4(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(data), str(data)]) == 4
    assert "no finished model" in one_line(capsys.readouterr().err)


def test_the_onnx_file_alone_is_enough(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shutil.copy(trained / "model.onnx", tmp_path / "flowers.onnx")
    expected = stdout_of(capsys, "predict", trained, data, "--format", "jsonl")
    assert stdout_of(capsys, "predict", file, data, "--format", "jsonl") == expected


def test_a_bundle_is_two_files(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.onnx", "bundle.json"):
        shutil.copy(trained / name, tmp_path / name)
    expected = stdout_of(capsys, "predict", trained, data, "--format", "jsonl")
    assert stdout_of(capsys, "predict", tmp_path, data, "--format", "jsonl") == expected


def test_predict_writes_no_files(
    trained: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(trained.parent)
    stdout_of(capsys, "predict", trained, data)
    assert tree(trained.parent) == before
    assert list(cache.iterdir()) == []


# --- the same scores by every path ---------------------------------------------------------------


@pytest.mark.parametrize("address", ["https://example.org/a.png", "file:///a.png"])
def test_an_address_is_not_taken_for_a_path(
    trained: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(trained), address]) == 2
    assert "an address is not opened; download" in one_line(capsys.readouterr().err)


def test_every_path_gives_the_scores_of_training(
    trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = scores_in_run(trained)
    files = [data / path for path in expected]
    lines = json_lines(stdout_of(capsys, "predict", trained, *files, "--format", "jsonl"))
    by_command = [(line["label"], line["score"]) for line in lines]
    model = sharpeye.load(trained)

    def predict_opened(file: Path) -> Prediction:
        with Image.open(file) as image:
            return model.predict(image)

    paths = {
        "command": by_command,
        "path": [(p.label, p.score) for p in map(model.predict, files)],
        "text path": [(p.label, p.score) for p in map(model.predict, map(str, files))],
        "bytes": [(p.label, p.score) for p in (model.predict(f.read_bytes()) for f in files)],
        "PIL": [(p.label, p.score) for p in map(predict_opened, files)],
        "array": [
            (p.label, p.score) for p in (model.predict(np.asarray(Image.open(f))) for f in files)
        ],
        "list": [(p.label, p.score) for p in model.predict(list(files))],
    }
    for name, predictions in paths.items():
        for (label, score), right in zip(predictions, expected.values(), strict=True):
            assert label == right[0], name
            assert score == pytest.approx(right[1], abs=TOLERANCE), name


def test_sources_that_are_no_images_are_refused(trained: Path) -> None:
    model = sharpeye.load(trained)
    with pytest.raises(sharpeye.SharpEyeError, match="float32"):
        model.predict(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(sharpeye.SharpEyeError, match="Received: int"):
        model.predict(7)  # type: ignore[call-overload]
    with pytest.raises(sharpeye.SharpEyeError, match="0 bytes"):
        model.predict(b"")
    with pytest.raises(sharpeye.SharpEyeError, match="is a folder"):
        model.predict(trained)


# --- evaluate ------------------------------------------------------------------------------------


@pytest.fixture
def held_out_images(trained: Path, data: Path, tmp_path: Path) -> Path:
    """The images of the test split of `trained`, as a folder of their own."""
    for path in scores_in_run(trained):
        (tmp_path / "tests" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / path, tmp_path / "tests" / path)
    return tmp_path / "tests"


def test_evaluate_gives_the_scores_of_training(
    trained: Path, held_out_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["test"]
    arguments = ("evaluate", trained, held_out_images, "--json", "-o", tmp_path / "scores")
    scores = json.loads(stdout_of(capsys, *arguments))
    for key in ("count", "accuracy", "per_class"):
        assert scores[key] == expected[key]
    assert scores["log_loss"] == pytest.approx(expected["log_loss"], abs=TOLERANCE)
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [
        "confusion_matrix.png",
        "metrics.json",
        "misclassified.csv",
        "predictions.csv",
        "quarantine.csv",
        "report.html",
    ]
    with (tmp_path / "scores" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label, score = scores_in_run(trained)[row["path"]]
            assert row["predicted"] == label
            assert float(row["score"]) == pytest.approx(score, abs=TOLERANCE)


def test_evaluate_reports_in_words(
    trained: Path, held_out_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (held_out_images / "ash" / "bad.jpg").touch()
    text = stdout_of(capsys, "evaluate", trained, held_out_images)
    assert "95 % interval" in text
    assert "left out: 1 file" in text


def test_evaluate_refuses_a_class_that_the_model_does_not_know(
    trained: Path, held_out_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (held_out_images / "ash").rename(held_out_images / "oak")
    assert run(["evaluate", str(trained), str(held_out_images)]) == 3
    line = one_line(capsys.readouterr().err)
    assert "does not know oak" in line
    assert "ash, birch, cedar" in line


def test_evaluate_has_a_gate(
    trained: Path, held_out_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["test"][
        "accuracy"
    ]
    assert accuracy < 1
    arguments = ["evaluate", str(trained), str(held_out_images), "--min-accuracy"]
    assert run([*arguments, "1"]) == 9
    assert "below the 1 that was asked" in one_line(capsys.readouterr().err)
    assert run([*arguments, str(accuracy)]) == 0


def test_evaluate_uses_the_test_folder_of_a_split_data_set(
    trained: Path, data: Path, held_out_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = held_out_images.parent / "split"
    shutil.copytree(data, split / "train")
    held_out_images.rename(split / "test")
    scores = json.loads(stdout_of(capsys, "evaluate", trained, split, "--json"))
    assert scores["count"] == len(scores_in_run(trained))


# --- the small commands --------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = stdout_of(capsys, *arguments)
    assert all(f"  {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"sharpeye {name}" in stdout_of(capsys, name, "--help")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert stdout_of(capsys, "--version") == f"sharpeye {sharpeye.__version__}\n"


def test_models_lists_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    text = stdout_of(capsys, "models")
    assert len(text.splitlines()) == 1 + len(sharpeye.list_models())
    assert all(spec.name in text for spec in sharpeye.list_models())


def test_doctor_accepts_this_machine(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = stdout_of(capsys, "doctor")
    assert "ready to train" in text
    assert str(cache) in text


@pytest.mark.slow
def test_a_sample_can_be_trained_on(
    warm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = stdout_of(capsys, "sample", "shapes", tmp_path / "shapes")
    count = int(text.split()[0])
    assert count == len(list((tmp_path / "shapes").rglob("*.jpg"))) > 0
    for image in (tmp_path / "shapes").rglob("*.jpg"):  # a few of each class are enough
        if int(image.stem[-4:]) > 8:
            image.unlink()
    assert train_here(tmp_path / "shapes", tmp_path / "run") == 0
    assert run(["sample", "shaeps", str(tmp_path / "more")]) == 2
    assert "shapes" in one_line(capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "more").exists()


def test_the_cache_can_be_shown_and_cleared(
    warm: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_here(photo_folder, tmp_path / "run") == 0
    text = stdout_of(capsys, "cache", "info")
    assert str(warm) in text
    assert "efficientnet_lite0, view 0" in text
    assert "backbone" in text
    (warm / "mine.txt").write_text("not of the cache")
    stdout_of(capsys, "cache", "clear")
    assert [path.name for path in warm.iterdir()] == ["mine.txt"]
    assert "0.0 MiB" in stdout_of(capsys, "cache", "info")
    stdout_of(capsys, "cache", "clear")


def test_clearing_the_cache_leaves_what_another_command_is_writing(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("backbones/net.onnx", "backbones/.sharpeye-tmp-1.onnx", "features/a/x.bin"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
    with FileLock(cache / "backbones" / "net.lock"):
        text = stdout_of(capsys, "cache", "clear")
        assert "left: backbones, which another command is writing" in text
        assert sorted(path.name for path in (cache / "backbones").iterdir()) == [
            ".sharpeye-tmp-1.onnx",
            "net.lock",
            "net.onnx",
        ]
        assert not (cache / "features").exists()
    assert "left" not in stdout_of(capsys, "cache", "clear")
    assert list(cache.iterdir()) == []


def test_an_empty_cache_is_no_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(cache / "nowhere"))
    assert "0.0 MiB" in stdout_of(capsys, "cache", "info")
    stdout_of(capsys, "cache", "clear")
    assert not (cache / "nowhere").exists()


# --- as a process of its own ---------------------------------------------------------------------


def test_predict_needs_no_cache(trained: Path, data: Path, tmp_path: Path) -> None:
    done = call("predict", trained, data, cache=tmp_path / "none", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 36
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error(trained: Path, data: Path, cache: Path, tmp_path: Path) -> None:
    for number in range(40):  # more output than a pipe holds
        shutil.copytree(data, tmp_path / "many" / ("x" * 200) / str(number))
    process = subprocess.Popen(
        command("predict", trained, tmp_path / "many", "--format", "jsonl"),
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["label"]
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_table_holds_as_many_classes_as_top_names(
    trained: Path, data: Path, inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = data / "ash" / "ash1.png"
    (line,) = json_lines(stdout_of(capsys, "predict", trained, image, "--format", "jsonl"))
    ranked = [(item["label"], f"{item['score']:.6f}") for item in line["top"]]
    for top, count in ((1, 1), (2, 2), (3, 3), (9, 3)):  # the model has three classes
        arguments = ("predict", trained, image, "--format", "csv", "--top", str(top))
        (row,) = csv.DictReader(io.StringIO(stdout_of(capsys, *arguments)))
        assert list(row)[:6] == ["path", "label", "score", "error", "unknown", "unknown_score"]
        names = [f"{name}_{n}" for n in range(2, count + 1) for name in ("label", "score")]
        assert list(row)[6:] == names
        found = [(row["label"], row["score"])]
        found += [(row[f"label_{n}"], row[f"score_{n}"]) for n in range(2, count + 1)]
        assert found == ranked[:count]
    arguments = ("predict", trained, inbox, "--format", "csv", "--top", "3")
    rows = list(csv.reader(io.StringIO(stdout_of(capsys, *arguments, code=3))))
    assert {len(row) for row in rows} == {10}


def test_files_of_a_folder_that_are_no_images_are_counted_by_suffix(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    names = ("1.jpg_large", "WhatsApp Image at 10.30.45", "scan.001", "4.png!d", "5.png")
    for name in names:
        shutil.copy(data / "ash" / "ash1.png", folder / name)
    for name in ("a.txt", "b.txt", "c.mp4"):
        (folder / name).write_text("not an image")
    assert run(["predict", str(trained), str(folder), "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert {Path(line["path"]).name for line in json_lines(out)} == set(names)
    assert one_line(err) == "left out, as no images: 2 .txt, 1 .mp4"


def test_no_image_that_can_be_read_is_said_without_others(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no image")
    assert run(["predict", str(trained), str(tmp_path / "a.jpg")]) == 3
    error = one_line(capsys.readouterr().err)
    assert error.startswith(f"error: cannot read {tmp_path / 'a.jpg'}: not an image")
    assert run(["predict", str(trained), str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]) == 3
    assert one_line(capsys.readouterr().err) == "error: none of the 2 files could be read"


def test_only_a_probability_of_one_is_printed_as_100_percent() -> None:
    out = io.StringIO()
    write = open_writer("text", out)
    for score in (1.0, 0.999994, 0.5, 0.0000001):
        write(Prediction("a", score, [("a", score)], path="x"))
    texts = [line.partition("\t")[2] for line in out.getvalue().splitlines()]
    assert texts == ["a 100.0%", "a >99.99%", "a 50.0%", "a <0.1%"]
