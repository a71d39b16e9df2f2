"""The pointing game (Zhang et al. 2016, arXiv:1608.00507): is the hottest place in the true box?

    python -m bench.explain SCENES

SCENES has train/ and test/ with images and their Pascal VOC files. A classifier of default
settings learns from the first, and never sees a box; its heat maps of the true classes are judged
on the second. For scale: the share of the image that a box covers is what a random place gives.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import sharpeye
from bench import arguments
from bench.measure import report, time_process
from sharpeye.core.metrics import wilson_interval
from sharpeye.core.storage import cache_root
from sharpeye.core.types import Sample
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.images.boxes import area
from sharpeye.predict.predictor import Model


def main(scenes: Path) -> None:
    parts = {part: scan_voc(scenes / part).samples for part in ("train", "test")}
    with tempfile.TemporaryDirectory() as place:
        for part, samples in parts.items():
            copy_by_class(samples, Path(place) / "scenes" / part)
        run = Path(place) / "run"
        command = ["train", str(Path(place) / "scenes"), "--quiet", "--output", str(run)]
        time_process(command, cache_root())
        report(f"explain_{scenes.resolve().name}", pointing_game(sharpeye.load(run), parts["test"]))


def pointing_game(model: Model, samples: Sequence[Sample]) -> dict[str, object]:
    """Shares of images whose hottest place is in the box, 0..1, with a 95 % interval."""
    hits, right, middle, covered = [], [], [], []
    for sample in samples:
        if sample.box is None:
            continue
        result = model.explain(sample.file, sample.label)
        height, width = result.heat.shape
        y, x = np.unravel_index(int(result.heat.argmax()), (height, width))
        hits.append(inside(sample, (x + 0.5) / width, (y + 0.5) / height))
        right.append(result.prediction.label == sample.label)
        middle.append(inside(sample, 0.5, 0.5))
        covered.append(float(area(np.array(sample.box))))
    low, high = wilson_interval(sum(hits), len(hits))
    return {
        "hit": round(float(np.mean(hits)), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "hit_where_right": round(float(np.mean(np.array(hits)[right])), 4),
        "hit_of_the_middle": round(float(np.mean(middle)), 4),
        "hit_of_a_random_place": round(float(np.mean(covered)), 4),
        "accuracy": round(float(np.mean(right)), 4),
        "pictures": len(hits),
    }


def inside(sample: Sample, x: float, y: float) -> bool:
    """Whether a place, as shares of the image, lies in the true box."""
    left, top, right, bottom = sample.box or (0.0, 0.0, 0.0, 0.0)
    return left <= x <= right and top <= y <= bottom


def copy_by_class(samples: Sequence[Sample], target: Path) -> None:
    for sample in samples:
        (target / sample.label).mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.file, target / sample.label)


if __name__ == "__main__":
    arguments.run(main, __doc__, scenes={"type": arguments.folder})
