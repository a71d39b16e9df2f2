"""All kinds of networks as plain Keras layers: outputs equal those of ONNX Runtime."""

import subprocess
import sys
from pathlib import Path

import pytest

# One process for many networks, since importing TensorFlow takes long. Each network is written as
# ONNX as training does, translated back and saved; then Keras loads it without SharpEye's classes.
TRANSLATE = """
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
    size = InputSpec(side, side - 1 if name == "cnn" else side, channels=channels)
    net = NetConfig(flip_tta=name in ("lenet5", "resnet_cifar"))
    scaling = {"scale": (1 / 128,) * channels, "offset": (-1.0,) * channels}
    model = build_classifier(get_spec(name), size, 3, net=net, **scaling, boxes=boxes)
    for layer in model.layers:
        layer.set_weights([w + random.normal(0, 0.02, w.shape) for w in layer.get_weights()])
    outputs = {key: model.output[key] for key in ("logits", "box") if key in model.output}
    file = folder / f"{name}.onnx"
    onnx.save(emit_onnx(keras.Model(model.input, outputs, name="net"), "image"), file)
    keras_model(file, name).save(folder / f"{name}.keras")
    pixels = random.integers(0, 256, (7, size.height, size.width, channels), np.uint8)
    np.savez(folder / f"{name}.npz", pixels=pixels, **Graph(file).run(pixels))
"""
LOAD = """
import sys
from pathlib import Path
import keras
import numpy as np
for file in sorted(Path(sys.argv[1]).glob("*.keras")):
    expected = np.load(file.with_suffix(".npz"))
    model = keras.models.load_model(file)
    for count in (1, 7):
        outputs = model.predict(expected["pixels"][:count], verbose=0)
        for name in set(expected.files) - {"pixels"}:
            gap = np.abs(np.asarray(outputs[name]) - expected[name][:count]).max()
            largest = np.abs(expected[name]).max()
            assert largest > 0 and gap <= 1e-4 * max(1, largest), (file.stem, name, gap, largest)
    print(file.stem, sorted(outputs))
assert "sharpeye" not in sys.modules
"""


@pytest.mark.slow
def test_all_kinds_of_networks(tmp_path: Path) -> None:
    for program in (TRANSLATE, LOAD):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    outputs = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(outputs) == 8
    assert outputs["efficientnet_lite0"] == outputs["cnn"] == "['box', 'logits']"
