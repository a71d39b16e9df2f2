"""The default learning rate of each network from scratch, beside smaller and larger ones.

    python -m bench.rates DIR [NET ...]

DIR holds Fashion-MNIST. Each network learns 1,800 images of it by `sharpeye sweep` with the
defaults of a training, AdamW in one cycle and 64 images a step, and is judged by the log loss of
200 others in its best epoch. The images are larger where the network asks for that.
"""

import gzip
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench import arguments
from bench.measure import read_table, report, time_process
from sharpeye.models.registry import get_spec

IMAGES, HELD_OUT = 2000, 500
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
# network: pixels, epochs, further knobs
NETS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "lenet5": (28, 20, ()),
    "cnn": (28, 12, ()),
    "resnet_cifar": (28, 12, ("net.width=16",)),
    "mobilenet_0.25_128": (64, 12, ()),
    "mobilenet_v2_0.35_96": (64, 12, ()),
    "resnet18": (32, 6, ()),
    "resnet50": (32, 6, ()),
    "alexnet": (67, 6, ()),
}


def main(data: Path, nets: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "fashion"
        write_subset(data, images)
        for net in nets or NETS:
            report(f"rate_{net}", measure(images, net, Path(place) / net))


def measure(images: Path, net: str, place: Path) -> dict[str, object]:
    """The validation log loss by rate, of one training each."""
    side, epochs, knobs = NETS[net]
    default = get_spec(net).learning_rate
    rates = [factor * default for factor in FACTORS]
    command = ["sweep", str(images), "--model", net, "--no-prune", "--quiet"]
    command += ["--grid", f"train.learning_rate={','.join(f'{rate:g}' for rate in rates)}"]
    fixed = (f"model.image_size={side}", "model.weights=none", "net.color=grey", *knobs)
    for knob in (*fixed, "split.validation=0.1", f"train.epochs={epochs}"):
        command += ["--set", knob]
    seconds = time_process([*command, "--output", str(place / "sweep")], place / "cache")
    rows = read_table(place / "sweep" / "leaderboard.csv")
    losses = {
        float(r["train.learning_rate"]): float(r["validation_log_loss"] or "inf") for r in rows
    }
    by_factor = [losses[float(f"{rate:g}")] for rate in rates]
    return {
        "rate": default,
        "losses": dict(zip(map(str, FACTORS), by_factor, strict=True)),
        "ratio": {"median": round(by_factor[FACTORS.index(1.0)] / min(by_factor), 3), "n": 1},
        "goal": "<= 1.1",
        "pixels": side,
        "epochs": epochs,
        "seconds": round(seconds, 1),
    }


def write_subset(data: Path, folder: Path) -> None:
    """The first images of each part, as IDX files with the classes' names."""
    folder.mkdir()
    for part, count in (("train", IMAGES), ("t10k", HELD_OUT)):
        for kind, shape in (("images-idx3", (28, 28)), ("labels-idx1", ())):
            name = f"{part}-{kind}-ubyte"
            values = _read_idx(data, name, shape)[:count]
            _write_idx(folder / name, values)
    names = data / "labels.txt"
    if names.exists():
        (folder / names.name).write_bytes(names.read_bytes())


def _read_idx(data: Path, name: str, shape: Iterable[int]) -> "np.ndarray":
    packed = data / f"{name}.gz"
    content = (
        gzip.decompress(packed.read_bytes()) if packed.exists() else (data / name).read_bytes()
    )
    dimensions = tuple(shape)
    start = 4 + 4 * (1 + len(dimensions))
    return np.frombuffer(content, np.uint8, offset=start).reshape(-1, *dimensions)


def _write_idx(file: Path, values: "np.ndarray") -> None:
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    file.write_bytes(head + values.tobytes())


if __name__ == "__main__":
    nets = {"nargs": "*", "type": arguments.one_of(NETS)}
    arguments.run(main, __doc__, data={"type": arguments.folder}, nets=nets)
