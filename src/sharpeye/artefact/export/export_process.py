"""Writes and opens one format in a process of its own: its libraries are heavy and talkative.

    python -m sharpeye.artefact.export.export_process FORMAT FOLDER FILE

It ends when the process that started it does. FOLDER holds what `Source.save` left and
`pixels.npy`, uint8[n,height,width,channels]; the model is written to FILE and opened again. What is
special about it is left in `facts.json`, its answers at each batch size in `answers-SIZE.npz`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.export_formats import get_format
from sharpeye.artefact.export.export_source import Answer, Floats, Pixels, Source, read_source
from sharpeye.core.processes import run_child, run_module
from sharpeye.core.storage import atomic_path, write_text
from sharpeye.errors import MissingExtra

BATCHES = (1, 7)

# Output by name, by batch size.
Answers = dict[int, dict[str, Floats]]


def in_batches(answer: Answer, pixels: Pixels) -> Answers:
    """What a model says of images, one by one and several at once."""
    found: Answers = {}
    for size in BATCHES:
        parts = [answer(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        found[size] = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
    return found


def write_apart(
    form: str, source: Source, pixels: Pixels, scratch: Path, file: Path
) -> tuple[dict[str, Any], Answers]:
    """Write a model and let it answer, in a process of its own.

    Args:
        scratch: an empty folder.

    Returns:
        what `write` tells, and the answers.

    Raises:
        the errors of the format's `write`.
    """
    source.save(scratch)
    with atomic_path(scratch / "pixels.npy") as temporary:
        np.save(temporary, pixels)
    # JAX, which can train the networks, cannot write TensorFlow's formats.
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    run_module(
        "sharpeye.artefact.export.export_process",
        form,
        str(scratch),
        str(file),
        environment=environment,
    )
    answers: Answers = {}
    for size in BATCHES if len(pixels) else ():
        with np.load(scratch / f"answers-{size}.npz", allow_pickle=False) as found:
            answers[size] = {name: found[name] for name in found.files}
    facts: dict[str, Any] = json.loads((scratch / "facts.json").read_text(encoding="utf-8"))
    return facts, answers


def main() -> int:
    form, folder, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

    def work() -> None:
        try:
            _export(form, folder, file)
        except ImportError as error:
            raise MissingExtra(str(error.name), "train", f"exporting to {form}") from None

    return run_child(work, str(file))


def _export(form: str, folder: Path, file: Path) -> None:
    module = get_format(form).module()
    facts = module.write(read_source(folder), file)
    write_text(folder / "facts.json", json.dumps(facts))
    pixels = np.load(folder / "pixels.npy", allow_pickle=False)
    if len(pixels):
        for size, found in in_batches(module.open_written(file), pixels).items():
            with atomic_path(folder / f"answers-{size}.npz") as temporary:
                np.savez(temporary, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
