"""Every format, opened by its own runtime without SharpEye, gives the run's outputs."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from exporting import assert_same_probs, fitted_images, images_of
from PIL import Image

from bare_runtimes import probs_by_runtime
from sharpeye.artefact.export.export_formats import FORMATS, get_format
from sharpeye.artefact.session import open_model
from sharpeye.core.storage import sha256_file
from sharpeye.errors import UsageError
from sharpeye.jobs.export.export import export

SLOW = {name for name, form in FORMATS.items() if form.own_process}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_formats_are_found_by_name() -> None:
    for name, form in FORMATS.items():
        assert get_format(name) is form
        assert all(callable(function) for function in form.functions())
    with pytest.raises(UsageError, match=r"unknown format coreml\. Allowed: onnx, bundle"):
        get_format("coreml")
    with pytest.raises(UsageError, match="Did you mean openvino"):
        get_format("openvio")


def test_onnx_takes_images_of_any_size(trained: Path, tmp_path: Path) -> None:
    import onnxruntime

    result = export(trained, "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert session.get_inputs()[0].shape[1:] == ["H", "W", 3]
    pixels = fitted_images(trained)
    assert_same_probs(trained, lambda x: session.run(["probs"], {"image": x})[0], pixels)
    image = np.asarray(Image.open(images_of(trained)[0]).convert("RGB"))[None]
    (probs,) = session.run(["probs"], {"image": image})
    assert np.abs(probs - open_model(trained).run(fitted_images(trained, 1))["probs"]).max() <= 1e-3
    assert result.manifest["parity"]["max_difference"] <= 1e-3
    assert result.manifest["parity"]["top1_agreement"] == 1
    assert result.manifest["parity"]["any_size_max_difference"] <= 1e-3
    assert result.manifest["files"] == {"model.onnx": sha256_file(trained / "model.onnx")}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == result.manifest


def test_onnx_of_a_fixed_size_has_no_preprocessing(trained: Path, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    export(trained, "onnx", tmp_path / "fixed.onnx", fixed=True)
    assert names_in(tmp_path) == {
        "fixed.onnx",
        *("fixed.onnx.labels.txt", "fixed.onnx.manifest.json"),
        *("fixed.onnx.predict.py", "fixed.onnx.predict.mjs", "fixed.onnx.predict.cpp"),
    }
    nodes = onnx.load(tmp_path / "fixed.onnx").graph.node
    assert "Resize" not in {node.op_type for node in nodes}
    session = onnxruntime.InferenceSession(tmp_path / "fixed.onnx")
    assert session.get_inputs()[0].shape[1:] == [64, 64, 3]
    pixels = fitted_images(trained)
    assert_same_probs(trained, lambda x: session.run(["probs"], {"image": x})[0], pixels)
    fixed = open_model(tmp_path / "fixed.onnx")
    assert_same_probs(fixed, lambda x: open_model(trained).run(x)["probs"], pixels)


def test_openvino(trained: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    result = export(trained, "openvino", tmp_path / "out")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(tmp_path / "out" / "model.xml", "CPU", exact)
    assert_same_probs(trained, lambda x: np.array(model(x)["probs"]), fitted_images(trained))
    assert set(result.manifest["files"]) == {"model.xml", "model.bin"}
    default = openvino.Core().compile_model(tmp_path / "out" / "model.xml", "CPU")
    by_default = result.manifest["parity"]["by_default"]
    assert by_default["precision"] == default.get_property("INFERENCE_PRECISION_HINT").to_string()
    pixels = fitted_images(trained)
    expected = open_model(trained).run(pixels)["probs"]
    difference = abs(np.array(default(pixels)["probs"]) - expected).max()
    assert by_default["max_difference"] == pytest.approx(difference, abs=2e-3)
    assert 0 <= by_default["top1_agreement"] <= 1


def test_formats_lie_side_by_side(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    for name, file in (("onnx", "faces.onnx"), ("openvino", "faces.xml")):
        export(trained, name, tmp_path / file)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"faces.onnx.labels.txt", "faces.xml.labels.txt"} < names


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_formats_of_tensorflow(name: str, trained: Path, tmp_path: Path) -> None:
    pixels = fitted_images(trained)
    result = export(trained, name, tmp_path / "out")
    single, batches = probs_by_runtime(name, tmp_path / "out", pixels)
    assert_same_probs(trained, lambda x: single[:1] if len(x) == 1 else batches, pixels)
    assert result.manifest["parity"]["batches"] == [1, 7]
    if name == "litert":
        _check_litert(tmp_path / "out" / "model.tflite", open_model(trained).manifest.labels)


@pytest.mark.slow
def test_nothing_stays_in_the_folder_of_temporary_files(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    for name in ("saved_model", "litert"):
        export(trained, name, tmp_path / name)
    assert list((tmp_path / "temporary").rglob("*")) == []


def _check_litert(file: Path, labels: tuple[str, ...]) -> None:
    """The labels are where LiteRT's tools expect them; there are only built-in operations."""
    from ai_edge_litert import schema_py_generated as schema

    from sharpeye.artefact.export.litert_metadata import BUFFER_NAME

    data = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode() == "".join(f"{label}\n" for label in labels)
    model = schema.ModelT.InitFromPackedBuf(data)
    (entry,) = [entry for entry in model.metadata if entry.name.decode() == BUFFER_NAME]
    assert bytes(model.buffers[entry.buffer].data)[4:8] == b"M001"
    assert all(code.customCode is None for code in model.operatorCodes)
