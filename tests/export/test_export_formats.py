"""Every format, opened by its own runtime as a stranger would, answers as the run does."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from exporting import fitted, images_of, same_answers
from PIL import Image

from sharpeye.artefact.export.export_formats import FORMATS, get_format
from sharpeye.artefact.session import open_model
from sharpeye.core.storage import sha256_file
from sharpeye.errors import UsageError
from sharpeye.jobs.export.export import export

SLOW = {name for name, form in FORMATS.items() if form.own_process}

# In a process of its own, without SharpEye: OPEN gives `answer`, from pixels to probabilities.
PROBE = """
import sys
import numpy as np
pixels, path = np.load(sys.argv[1]), sys.argv[2]
{open}
found = [answer(pixels[:1]), answer(pixels)]
assert "sharpeye" not in sys.modules
np.savez(sys.argv[3], one=found[0], many=found[1])
"""
OPEN = {
    "keras": """
import keras
model = keras.models.load_model(path + "/model.keras")
answer = lambda x: np.asarray(model.predict(x, verbose=0)["probs"])
""",
    "saved_model": """
import tensorflow as tf
model = tf.saved_model.load(path)
answer = lambda x: model.signatures["serving_default"](image=tf.constant(x))["probs"].numpy()
""",
    "litert": """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(path + "/model.tflite")
def answer(x):
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
""",
    "frozen_graph": """
import tensorflow.compat.v1 as tf
definition = tf.GraphDef()
definition.ParseFromString(open(path + "/graph.pb", "rb").read())
graph = tf.Graph()
with graph.as_default():
    tf.import_graph_def(definition)
def answer(x):
    with tf.Session(graph=graph) as session:
        taken = {"import/input:0": (x.astype("float32") - 128) / 128}
        return session.run("import/final_result:0", taken)
""",
}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_formats_are_found_by_name() -> None:
    for name, form in FORMATS.items():
        assert get_format(name) is form
        assert form.module().write and form.module().open_exported
    with pytest.raises(UsageError, match=r"unknown format coreml\. Allowed: onnx, bundle"):
        get_format("coreml")
    with pytest.raises(UsageError, match="Did you mean openvino"):
        get_format("openvio")


def test_onnx_takes_images_of_any_size(trained: Path, tmp_path: Path) -> None:
    import onnxruntime

    done = export(trained, "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert session.get_inputs()[0].shape[1:] == ["H", "W", 3]
    same_answers(trained, lambda x: session.run(["probs"], {"image": x})[0], fitted(trained))
    image = np.asarray(Image.open(images_of(trained)[0]).convert("RGB"))[None]
    (probs,) = session.run(["probs"], {"image": image})
    assert np.abs(probs - open_model(trained).run(fitted(trained, 1))["probs"]).max() <= 1e-3
    assert done.manifest["parity"]["max_difference"] <= 1e-3
    assert done.manifest["parity"]["top1_agreement"] == 1
    assert done.manifest["parity"]["any_size_max_difference"] <= 1e-3
    assert done.manifest["files"] == {"model.onnx": sha256_file(trained / "model.onnx")}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == done.manifest


def test_onnx_of_a_fixed_size_needs_no_preprocessing(trained: Path, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    export(trained, "onnx", tmp_path / "fixed.onnx", fixed=True)
    assert names_in(tmp_path) == {
        "fixed.onnx",
        *("fixed.labels.txt", "fixed.manifest.json"),
        *("fixed.predict.py", "fixed.predict.mjs", "fixed.predict.cpp"),
    }
    nodes = onnx.load(tmp_path / "fixed.onnx").graph.node
    assert "Resize" not in {node.op_type for node in nodes}
    session = onnxruntime.InferenceSession(tmp_path / "fixed.onnx")
    assert session.get_inputs()[0].shape[1:] == [64, 64, 3]
    same_answers(trained, lambda x: session.run(["probs"], {"image": x})[0], fitted(trained))
    same_answers(
        open_model(tmp_path / "fixed.onnx"),
        lambda x: open_model(trained).run(x)["probs"],
        fitted(trained),
    )


def test_openvino(trained: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    done = export(trained, "openvino", tmp_path / "out")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(tmp_path / "out" / "model.xml", "CPU", exact)
    same_answers(trained, lambda x: np.array(model(x)["probs"]), fitted(trained))
    assert set(done.manifest["files"]) == {"model.xml", "model.bin"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_formats_of_tensorflow(name: str, trained: Path, tmp_path: Path) -> None:
    pixels = fitted(trained)
    np.save(tmp_path / "pixels.npy", pixels)
    done = export(trained, name, tmp_path / "out")
    program = PROBE.format(open=OPEN[name])
    paths = [str(tmp_path / part) for part in ("pixels.npy", "out", "found.npz")]
    ran = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    found = np.load(tmp_path / "found.npz")
    same_answers(trained, lambda x: found["one" if len(x) == 1 else "many"], pixels)
    assert done.manifest["parity"]["batches"] == [1, 7]
    if name == "litert":
        _check_litert(tmp_path / "out" / "model.tflite", open_model(trained).manifest.labels)


def _check_litert(file: Path, labels: tuple[str, ...]) -> None:
    """The labels are where LiteRT's tools look for them; there are only built-in operations."""
    from ai_edge_litert import schema_py_generated as schema

    from sharpeye.artefact.export.litert_metadata import BUFFER_NAME

    data = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode() == "".join(f"{label}\n" for label in labels)
    model = schema.ModelT.InitFromPackedBuf(data)
    (entry,) = [each for each in model.metadata if each.name.decode() == BUFFER_NAME]
    assert bytes(model.buffers[entry.buffer].data)[4:8] == b"M001"
    assert all(code.customCode is None for code in model.operatorCodes)
