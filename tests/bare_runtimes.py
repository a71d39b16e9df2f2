"""Opens exported models by their own runtimes, in processes without SharpEye."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Floats, Pixels

_BATCH = 7
# OPEN defines `predict`, from pixels to probabilities.
_PROBE = """
import sys
import numpy as np
pixels, path = np.load(sys.argv[1]), sys.argv[2]
{open}
def in_batches(size):
    batches = [pixels[i : i + size] for i in range(0, len(pixels), size)]
    return np.concatenate([predict(each) for each in batches])
probs = [in_batches(1), in_batches({batch})]
assert "sharpeye" not in sys.modules
np.savez(sys.argv[3], single=probs[0], batch=probs[1])
"""
OPEN = {
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path + "/model.onnx")
predict = lambda x: session.run(["probs"], {"image": x})[0]
""",
    "bundle": """
import onnxruntime, zipfile
model = zipfile.ZipFile(path + "/model.sharpeye").read("model.onnx")
session = onnxruntime.InferenceSession(model)
predict = lambda x: session.run(["probs"], {"image": x})[0]
""",
    "openvino": """
import openvino
exact = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(path + "/model.xml", "CPU", exact)
predict = lambda x: np.array(model(x)["probs"])
""",
    "keras": """
import keras
model = keras.models.load_model(path + "/model.keras")
predict = lambda x: np.asarray(model.predict(x, verbose=0)["probs"])
""",
    "saved_model": """
import tensorflow as tf
model = tf.saved_model.load(path)
predict = lambda x: model.signatures["serving_default"](image=tf.constant(x))["probs"].numpy()
""",
    "litert": """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(path + "/model.tflite")
def predict(x):
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
def predict(x):
    with tf.Session(graph=graph) as session:
        inputs = {"import/input:0": (x.astype("float32") - 128) / 128}
        return session.run("import/final_result:0", inputs)
""",
}


def probs_by_runtime(name: str, folder: Path, pixels: Pixels) -> tuple[Floats, Floats]:
    """float[N,C] probabilities of an export in a folder: one by one, and in batches of 7.

    Args:
        name: the format's.
        pixels: uint8[N,height,width,channels] of the model's size.
    """
    with tempfile.TemporaryDirectory() as scratch:
        images, probs = Path(scratch, "pixels.npy"), Path(scratch, "probs.npz")
        np.save(images, pixels)
        program = _PROBE.format(open=OPEN[name], batch=_BATCH)
        arguments = [str(images), str(folder), str(probs)]
        ran = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=scratch
        )
        assert ran.returncode == 0, ran.stderr
        with np.load(probs) as arrays:
            return arrays["single"], arrays["batch"]
