"""`sharpeye export`: what it writes, what it refuses, and that a failure leaves nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import one_line, temporaries, tree
from sharpeye.artefact.export import onnx_formats
from sharpeye.artefact.export.export_formats import FORMATS
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.core.inference import Graph
from sharpeye.errors import MissingExtra, ModelError
from sharpeye.jobs.export.export import export


def test_it_prints_parity_and_files(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(trained)
    assert run(["export", str(trained), "--format", "onnx", "--output", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("parity: ")
    assert "images at batch 1 and 7: probabilities differ by at most 0, the same" in lines[0]
    assert lines[1].startswith(f"wrote:  {tmp_path / 'out'} (")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.onnx", "labels.txt", "manifest.json"),
        *("predict.py", "predict.mjs", "predict.cpp"),
    }
    assert (tmp_path / "out" / "labels.txt").read_text() == "ash\nbirch\ncedar\n"
    assert tree(trained) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--format", "tflite", "-o", "x"), 2, "unknown format tflite. Did you mean litert?"),
        (("--format", "onnx"), 2, "--output is needed: where the onnx model is written"),
        (("-o", "x"), 2, "--format is needed: onnx, bundle"),
        (("--format", "litert", "-o", "x.onnx"), 2, "litert is written to a name that ends with"),
        (("--format", "saved_model", "-o", "x.pb"), 2, "saved_model is written to a folder"),
        (("--format", "keras", "-o", "x", "--quantize", "int8"), 2, "--quantize goes with onnx"),
        (("--format", "onnx", "-o", "x", "--quantize", "int4"), 2, "--quantize knows int8 only"),
        (("--format", "onnx", "-o", "x", "--data", "gone"), 3, "give their folder with --data"),
        (("--verify",), 2, "--verify takes a .sharpeye file"),
    ],
)
def test_a_refused_request_gives_one_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(trained), *arguments]) == code
    assert message in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "model.onnx.manifest.json").write_text("mine")
    for output in ("out", "model.onnx"):
        assert run(["export", str(trained), "-f", "onnx", "-o", str(tmp_path / output)]) == 2
        assert "is there already" in one_line(capsys.readouterr().err)
    assert (tmp_path / "model.onnx.manifest.json").read_text() == "mine"
    assert not (tmp_path / "model.onnx").exists()


def test_an_unfinished_run_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "bundle.json").unlink()
    assert run(["export", str(tmp_path / "run"), "-f", "onnx", "-o", str(tmp_path / "out")]) == 4
    assert "holds no finished model" in one_line(capsys.readouterr().err)
    assert run(["export", str(tmp_path / "gone"), "-f", "onnx", "-o", str(tmp_path / "out")]) == 2
    assert "no such model" in one_line(capsys.readouterr().err)
    file = trained / "model.onnx"
    assert run(["export", str(file), "-f", "onnx", "-o", str(tmp_path / "out")]) == 2
    assert "give the run directory" in one_line(capsys.readouterr().err)


def test_a_missing_package_is_named_before_anything_is_done(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else original(name)
    )
    with pytest.raises(MissingExtra, match=r"openvino.*pip install 'sharpeye\[export\]'"):
        export(trained, "openvino", tmp_path / "out")
    with pytest.raises(MissingExtra, match=r"sharpeye\[export\]"):
        FORMATS["openvino"].require_packages()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["out", "deep/model.onnx"])
def test_outputs_that_differ_leave_nothing(
    output: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_shifted(file: Path) -> Any:
        graph = Graph(file)

        def predict(pixels: Any) -> dict[str, Any]:
            outputs = graph.run(pixels)
            return outputs | {"probs": outputs["probs"] + np.float32(0.0011)}

        return predict

    monkeypatch.setattr(onnx_formats, "open_onnx", open_shifted)
    with pytest.raises(ModelError, match=r"a probability differs by 0\.0011, more than 0\.001"):
        export(trained, "onnx", tmp_path / output)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert temporaries(tmp_path) == []


def test_images_that_moved_are_found_with_data(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    config = (tmp_path / "run" / "config.toml").read_text()
    moved = config.replace(str(trained.parent / "hard"), str(tmp_path / "elsewhere"))
    assert moved != config
    (tmp_path / "run" / "config.toml").write_text(moved)
    shutil.copytree(trained.parent / "hard", tmp_path / "new")
    result = export(tmp_path / "run", "onnx", tmp_path / "one", data=tmp_path / "new")
    assert result.manifest["parity"]["pictures"] == 10
    # Images that changed since are not used.
    for file in (tmp_path / "new").rglob("*.png"):
        file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(Exception, match="give their folder with --data"):
        export(tmp_path / "run", "onnx", tmp_path / "two", data=tmp_path / "new")
    result = export(tmp_path / "run", "onnx", tmp_path / "three", parity=False)
    assert result.manifest["parity"] is None
    assert open_model(tmp_path / "three" / "model.onnx").manifest.labels == (
        "ash",
        "birch",
        "cedar",
    )
    assert json.loads((tmp_path / "three" / "manifest.json").read_text())["parity"] is None


def test_doctor_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert run(["doctor"]) == 5
    out = capsys.readouterr().out
    for module, purpose in (("openvino", "OpenVINO models"), ("ai_edge_litert", "LiteRT models")):
        assert f"missing: {module}, for {purpose}: pip install 'sharpeye[export]'" in out
