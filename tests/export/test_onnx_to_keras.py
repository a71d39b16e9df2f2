"""Networks of every kind as plain Keras layers: they answer as ONNX Runtime does."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharpeye.artefact.export import onnx_to_keras
from sharpeye.models import onnx_emitter

# In a process of its own: many networks for one import of TensorFlow. Each is written as ONNX as
# training writes it, read back, and saved; then loaded by Keras without SharpEye's classes.
PROBE = """
import sys
from pathlib import Path
import keras
import numpy as np
import onnx
from sharpeye.artefact.export.onnx_to_keras import keras_model
from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Graph
from sharpeye.core.types import InputSpec
from sharpeye.models.classifier import build_classifier
from sharpeye.models.onnx_emitter import emit_onnx
from sharpeye.models.registry import get_spec

folder = Path(sys.argv[1])
random = np.random.default_rng(0)
for name, side, channels, boxes in (
    ("lenet5", 28, 1, 0),
    ("cnn", 32, 3, 8),
    ("resnet_cifar", 32, 3, 0),
    ("alexnet", 67, 3, 8),
    ("efficientnet_lite0", 80, 3, 16),
    ("mobilenet_v2_0.35_96", 96, 3, 16),
    ("mobilenet_0.25_128", 64, 3, 0),
    ("inception_v3", 75, 3, 0),
):
    size, net = InputSpec(side, side - 1 if name == "cnn" else side, channels=channels), NetConfig()
    scale = (1 / 128,) * channels
    model = build_classifier(get_spec(name), size, 3, net, scale, (-1.0,) * channels, boxes=boxes)
    for layer in model.layers:
        layer.set_weights([w + random.normal(0, 0.02, w.shape) for w in layer.get_weights()])
    outputs = {key: model.output[key] for key in ("logits", "box") if key in model.output}
    file = folder / f"{name}.onnx"
    onnx.save(emit_onnx(keras.Model(model.input, outputs, name="net"), "image"), file)
    keras_model(file, name).save(folder / f"{name}.keras")
    pixels = random.integers(0, 256, (7, size.height, size.width, channels), np.uint8)
    np.savez(folder / f"{name}.npz", pixels=pixels, **Graph(file).run(pixels))
"""
AGAIN = """
import sys
from pathlib import Path
import keras
import numpy as np
for file in sorted(Path(sys.argv[1]).glob("*.keras")):
    truth = np.load(file.with_suffix(".npz"))
    model = keras.models.load_model(file)
    for count in (1, 7):
        found = model.predict(truth["pixels"][:count], verbose=0)
        for name in set(truth.files) - {"pixels"}:
            gap = np.abs(np.asarray(found[name]) - truth[name][:count]).max()
            largest = np.abs(truth[name]).max()
            assert largest > 0 and gap <= 1e-4 * max(1, largest), (file.stem, name, gap, largest)
    print(file.stem, sorted(found))
assert "sharpeye" not in sys.modules
"""


@pytest.mark.slow
def test_networks_of_every_kind(tmp_path: Path) -> None:
    for program in (PROBE, AGAIN):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(said) == 8
    assert said["efficientnet_lite0"] == said["cnn"] == "['box', 'logits']"


def test_every_operation_that_is_written_is_known() -> None:
    """What `onnx_emitter` and the head can write, `onnx_to_keras` can read."""
    tree = ast.parse(Path(onnx_emitter.__file__).read_text(encoding="utf-8"))
    written = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._node":
            first = node.args[0]
            if isinstance(first, ast.Constant):
                written.add(first.value)
    written |= {"Mul", "Add", "MaxPool", "AveragePool", "Sqrt", "Gemm", "Softmax"}
    assert len(written) > 15
    assert written <= set(onnx_to_keras.RULES)
    assert np.all([callable(known) for known in onnx_to_keras.RULES.values()])
