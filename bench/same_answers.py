"""Every way to ask a model: do they all say the same of real images?

    python -m bench.same_answers PICTURES [RUN]

PICTURES is a folder; 300 files are made of its images, seeded, in all modes that decoders know
(EXIF-turned, CMYK, palettes, transparency, 16 bits, animations, progressive) and in sizes from
1 x 1 to 4000 pixels. Without RUN a model of default settings learns from that folder first. Truth
is `sharpeye.load(RUN).predict(file)`; the programs are those that `sharpeye export` writes, run as
processes with `-I`, so without SharpEye. Needs the extras dev and export.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from tests.image_modes import MODES, write_modes
from tests.prediction_paths import (
    Probabilities,
    by_bytes,
    by_command,
    by_program,
    by_python,
    by_tensor,
    by_upload,
    compare,
    serving,
)

import sharpeye
from bench import arguments
from bench.measure import report, time_process
from sharpeye.core.storage import cache_root

COUNT, LARGEST, LIMIT = 300, 4000, 1e-3
FORMATS = ("onnx", "litert", "openvino")


def main(folder: Path, run: Path | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        run = run or Path(place) / "run"
        if not run.exists():
            time_process(["train", str(folder), "--quiet", "--output", str(run)], cache_root())
        images = [read(file) for file in sorted(folder.rglob("*.jpg"))]
        files = write_modes(images, Path(place) / "pictures", COUNT, LARGEST)
        report("same_answers", compare_paths(run, files, Path(place)) | about(folder, run, files))


def read(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def compare_paths(run: Path, files: list[Path], place: Path) -> dict[str, object]:
    """Largest difference of a probability and share of equal top answers, by way."""
    labels, cache = sharpeye.load(run).labels, cache_root()
    targets = by_python(run, files)
    rows = {}

    def add(method: str, actual: Probabilities) -> None:
        difference = asdict(compare(actual, targets))
        difference["pictures"] = difference.pop("images")
        rows[method] = {
            key: round(value, 6) if isinstance(value, float) else value
            for key, value in difference.items()
        }
        print(f"{method}: {rows[method]}", flush=True)

    add("Python, bytes", by_bytes(run, files))
    add("sharpeye predict", by_command(run, files, cache))
    with serving(run, cache) as client:
        add("sharpeye serve, files", by_upload(client, files, len(labels)))
        add("sharpeye serve, tensors", by_tensor(client, files, labels))
    for form in FORMATS:
        sharpeye_export(run, form, place / form)
        add(f"program beside {form}", by_program(place / form / "predict.py", files))
    return {"ways": rows, "limit": LIMIT}


def sharpeye_export(run: Path, form: str, output: Path) -> None:
    command = ["export", str(run), "--format", form, "--output", str(output), "--no-parity"]
    time_process(command, cache_root())


def about(folder: Path, run: Path, files: list[Path]) -> dict[str, object]:
    spec = sharpeye.load(run).input
    return {
        "pictures": len(files),
        "of": folder.resolve().name,
        "modes": len(MODES),
        "model": sharpeye.load(run).manifest.model,
        "input": [spec.height, spec.width, spec.fit, spec.filter],
    }


if __name__ == "__main__":
    run = {"type": arguments.folder, "nargs": "?"}
    arguments.run(main, __doc__, folder={"type": arguments.folder}, run=run)
