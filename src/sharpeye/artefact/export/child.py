"""Writes and opens one format in a process of its own: its libraries are heavy and talkative.

    python -m sharpeye.artefact.export.child FORMAT FOLDER FILE

It ends when the process that started it does. FOLDER holds what `Source.save` left and
`pixels.npy`, uint8[n,height,width,channels]; the model is written to FILE and opened again. What is
special about it is left in `facts.json`, its answers at each batch size in `answers-SIZE.npz`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.formats import get_format
from sharpeye.artefact.export.source import Answer, Floats, Pixels, Source, read_source
from sharpeye.core.processes import work_for_parent
from sharpeye.core.storage import atomic_path, write_text
from sharpeye.errors import EnvironmentFault, MissingExtra, ModelError, SharpEyeError, UsageError

BATCHES = (1, 7)

# Output by name, by batch size.
Answers = dict[int, dict[str, Floats]]


def in_batches(answer: Answer, pixels: Pixels) -> Answers:
    """What a model says of pictures, one by one and several at once."""
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
    program = [sys.executable, "-m", "sharpeye.artefact.export.child"]
    # JAX, which can train the networks, cannot write TensorFlow's formats.
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [*program, form, str(scratch), str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise _child_error(done)
    answers: Answers = {}
    for size in BATCHES if len(pixels) else ():
        with np.load(scratch / f"answers-{size}.npz", allow_pickle=False) as found:
            answers[size] = {name: found[name] for name in found.files}
    facts: dict[str, Any] = json.loads((scratch / "facts.json").read_text(encoding="utf-8"))
    return facts, answers


def _child_error(done: "subprocess.CompletedProcess[str]") -> SharpEyeError:
    """The child's last line tells what went wrong; see `main`."""
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    kinds: dict[int, type[SharpEyeError]] = {2: UsageError, 4: ModelError}
    kind = kinds.get(done.returncode, EnvironmentFault)
    return kind(lines[-1].strip())


def main() -> int:
    form, folder, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

    def work() -> None:
        try:
            _export(form, folder, file)
        except ImportError as error:
            raise MissingExtra(str(error.name), "train", f"exporting to {form}") from None

    return work_for_parent(work, str(file))


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
