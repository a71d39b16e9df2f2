"""Open a Keras file in a process that knows nothing of SharpEye."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

_PROGRAM = """
import sys
import numpy as np
import keras

file, images, answers, train = sys.argv[1:]
model = keras.saving.load_model(file)
assert not any(name.partition(".")[0] == "sharpeye" for name in sys.modules)
assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
pixels = np.load(images).astype("float32")
outputs = model(pixels, training=False)
outputs = outputs if isinstance(outputs, dict) else {"probs": outputs}
arrays = {name: np.asarray(value) for name, value in outputs.items()}
if train == "True":
    before = [np.array(weight) for weight in model.get_weights()]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(pixels, np.zeros(len(pixels)), verbose=0)
    after = model.get_weights()
    arrays["moved"] = np.max([abs(a - b).max() for a, b in zip(before, after) if a.size])
np.savez(answers, **arrays)
"""


def keras_answers(
    file: Path, images: "np.ndarray[Any, Any]", folder: Path, *, train: bool = False
) -> dict[str, "np.ndarray[Any, Any]"]:
    """The outputs of a Keras file by name; with `train` also `moved`: how far one step of
    stochastic gradient descent moves a weight.

    Args:
        images: uint8[N,H,W,C] as the run fits them.
        folder: takes the files of the process.
    """
    np.save(folder / "images.npy", images)
    answers = folder / "answers.npz"
    arguments = [str(file), str(folder / "images.npy"), str(answers), str(train)]
    command = [sys.executable, "-I", "-c", _PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(answers) as arrays:
        return dict(arrays)
