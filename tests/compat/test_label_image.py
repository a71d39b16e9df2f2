"""`sharpeye label-image`: its flags, the form of its output, and SharpEye's own models."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner import environment, one_line, tree
from sharpeye.cli.app import run

BLOCK = re.compile(r"\nEvaluation time \(1-image\): \d+\.\d{3}s\n\n((?:.+ \(score=\d\.\d{5}\)\n)+)")


def ranked(out: str) -> list[tuple[str, float]]:
    """The classes and scores of one image, in the original's form."""
    match = BLOCK.fullmatch(out)
    assert match is not None, out
    lines = [line[:-1].rsplit(" (score=", 1) for line in match.group(1).splitlines()]
    return [(label, float(score)) for label, score in lines]


def stdout_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """The stdout of `sharpeye label-image`, which must end with `code`."""
    capsys.readouterr()
    assert run(["label-image", *map(str, arguments)]) == code
    return capsys.readouterr().out


@pytest.fixture
def image(trained: Path) -> Path:
    return trained.parent / "hard" / "ash" / "ash1.png"


# --- SharpEye's own models -----------------------------------------------------------------------


def test_a_run_directory_gives_the_scores_of_predict(
    trained: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(trained.parent)
    scores = ranked(stdout_of(capsys, "--graph", trained, "--image", image))
    assert run(["predict", str(trained), str(image), "--format", "jsonl"]) == 0
    top = json.loads(capsys.readouterr().out)["top"]
    assert scores == [(item["label"], pytest.approx(item["score"], abs=1e-5)) for item in top]
    alone = ranked(stdout_of(capsys, "--graph", trained / "model.onnx", image))
    assert alone == scores
    assert tree(trained.parent) == before


def test_sharpeyes_own_model_needs_no_tensorflow(trained: Path, image: Path, cache: Path) -> None:
    program = """
import sys
from sharpeye.cli.app import run
assert run(["label-image", *sys.argv[1:]]) == 0
heavy = {"tensorflow", "keras", "scipy", "onnx", "matplotlib", "google.protobuf"}
sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)
"""
    command = [sys.executable, "-c", program, "--graph", str(trained), str(image)]
    done = subprocess.run(
        command, env=environment(cache), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_flags_that_agree_with_the_model_are_accepted(
    trained: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ("--input_height", "64", "--input_width=64", "--input_mean", "0", "--input_std", "1")
    plain = ranked(stdout_of(capsys, "--graph", trained, image))
    assert ranked(stdout_of(capsys, "--graph", trained, *size, image)) == plain


@pytest.mark.parametrize(
    "flag",
    [
        "--input_height=224",
        "--input-width=299",
        "--input_mean=128",
        "--input_std=128",
        "--input_layer=Mul",
        "--output_layer=final_result",
    ],
)
def test_flags_that_contradict_the_model_end_with_2(
    flag: str, trained: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["label-image", "--graph", str(trained), flag, str(image)]) == 2
    line = one_line(capsys.readouterr().err)
    name, value = flag.replace("input-", "input_").split("=")
    assert line.startswith(f"error: {name} {value}")
    assert "takes images of 64 x 64 pixels and scales them itself" in line


def test_labels_may_be_renamed(
    trained: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Esche\nBirke\nZeder\n", encoding="utf-8")
    german = {"ash": "Esche", "birch": "Birke", "cedar": "Zeder"}
    plain = ranked(stdout_of(capsys, "--graph", trained, image))
    renamed = ranked(stdout_of(capsys, "--graph", trained, "--labels", names, image))
    assert renamed == [(german[label], score) for label, score in plain]
    names.write_text("Esche\nBirke\n", encoding="utf-8")
    stdout_of(capsys, "--graph", trained, "--labels", names, image, code=4)
    run(["label-image", "--graph", str(trained), "--labels", str(names), str(image)])
    assert "gives 3 scores, but there are 2 labels" in one_line(capsys.readouterr().err)


# --- images ------------------------------------------------------------------------------------


def test_several_images_are_named(
    trained: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    for name in ("10.png", "9.png", "notes.txt"):
        shutil.copy(image, folder / name)
    out = stdout_of(
        capsys, "--graph", trained, folder, "--image", image, "--image", folder / "9.png"
    )
    names = [image, folder / "9.png", folder / "9.png", folder / "10.png", folder / "notes.txt"]
    blocks = re.split(r"^(/.*)\n", out, flags=re.M)
    assert blocks[1::2] == [str(name) for name in names]
    assert blocks[0] == ""
    for block in blocks[2:-1:2]:  # a blank line lies between two
        assert ranked(block.removesuffix("\n") if block.endswith("\n\n") else "")
    assert ranked(blocks[-1])


def test_unreadable_images_are_named_and_the_others_labelled(
    trained: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.jpg"
    page.write_text("<html>")
    assert run(["label-image", "--graph", str(trained), str(page), "gone.png", str(image)]) == 3
    out, err = capsys.readouterr()
    assert out.startswith(f"{image}\n\nEvaluation time")
    first, second, last = err.splitlines()
    assert first.startswith(f"{page}: cannot read: not an image: it is a saved web page (HTML)")
    assert second == "gone.png: cannot read: cannot be opened: No such file or directory"
    assert last == "error: 2 of 3 files could not be read; the others are answered"
    assert stdout_of(capsys, "--graph", trained, page, code=3) == ""


def test_an_image_is_required(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["label-image", "--graph", str(trained)]) == 2
    assert "an image is required" in one_line(capsys.readouterr().err)
    assert run(["label-image", "--graph", str(trained), str(tmp_path)]) == 3
    assert "no images in" in one_line(capsys.readouterr().err)


# --- flags ---------------------------------------------------------------------------------------


def test_top_k(trained: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = ranked(stdout_of(capsys, "--graph", trained, image))
    assert len(scores) == 3
    for flag in ("--top_k", "--top-k"):
        assert ranked(stdout_of(capsys, "--graph", trained, image, flag, "2")) == scores[:2]
    assert run(["label-image", "--graph", str(trained), str(image), "--top_k", "0"]) == 2


def test_the_default_graph_is_that_of_the_tutorial(
    trained: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["label-image", "--image", str(image)]) == 2
    assert "no such graph: tf_files/retrained_graph.pb" in one_line(capsys.readouterr().err)
    shutil.copytree(trained, Path("tf_files/retrained_graph.pb"))
    assert ranked(stdout_of(capsys, "--image", image))


def test_a_misspelt_flag_is_not_ignored(
    trained: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["label-image", "--graph", str(trained), "--input_heigth", "64", str(image)]
    assert run(arguments) == 2
    line = one_line(capsys.readouterr().err)
    assert "--input_heigth" in line
    assert "--input_height" in line


def test_control_characters_in_names_are_escaped(
    trained: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, hostile = tmp_path / "names.txt", tmp_path / "\x1b[2J.png"
    names.write_text("a\x1b[2J\nb\nc\n", encoding="utf-8")
    hostile.touch()
    files = [os.fspath(hostile), os.fspath(image)]
    assert run(["label-image", "--graph", str(trained), "--labels", str(names), *files]) == 3
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "a\\x1b[2J (score=" in out


def test_graph_and_labels_may_begin_with_a_tilde(
    trained: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(trained.parent))
    labels = f"--labels=~/{trained.name}/labels.txt"
    assert ranked(stdout_of(capsys, f"--graph=~/{trained.name}", labels, image)) == ranked(
        stdout_of(capsys, f"--graph={trained}", image)
    )
