"""How many planted faults `sharpeye check` finds: `python -m bench.faults DIR`.

Into a copy of a folder of images 20 faults are planted, drawn by a seed: 5 recompressed copies
across parts, 5 resized copies in another class, 5 images in a wrong class, 3 files that cannot be
read, 2 blank images. `train` learns from it, faults and all, and `check --labels RUN` looks. A
fault is found if the table names the file with the right kind; what else it says of an image is a
false alarm. Twice: with the parts given as folders, and with a split that `train` makes, in which
no copy may lie in another part than its original.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bench import arguments
from bench.measure import must, read_table, report
from sharpeye.cli.app import run
from sharpeye.core.types import Sample
from sharpeye.data.image_folder import scan_folder

SEEDS = 5
HELD_OUT = 0.2
# Of copies either of the two may be told of, and in the same class and part they are duplicates.
COPIES = frozenset({"leak", "label_conflict", "near_duplicate"})
MIRROR_LEVELS = 8  # mean difference in grey levels; of different images it is 20 or more


@dataclass(frozen=True)
class Fault:
    """A planted fault: its name, the file, what it is a copy of, and the kinds that name it."""

    name: str
    path: str
    original: str
    kinds: frozenset[str]


def main(folder: Path) -> None:
    found = [measure(folder, seed) for seed in range(SEEDS)]
    worst = {
        "found": min(one[method]["found"] for one in found for method in ("given", "flat")),
        "false_alarms": max(
            one[method]["false_alarms"] for one in found for method in ("given", "flat")
        ),
        "straddling": max(one["straddling"] for one in found),
    }
    goal = {"found": ">= 18 of 20", "false_alarms": "<= 5", "straddling": "0"}
    about = {"data": Path(folder).name, "pictures": found[0]["pictures"]}
    report("faults", about | {"worst": worst, "goal": goal, "seeds": found})


def measure(source: Path, seed: int, *options: str) -> dict[str, object]:
    """What was found with one seed; `options` go to `train`."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        given = plant(source, place / "given", seed, given=True)
        flat = plant(source, place / "flat", seed, given=False)
        model = place / "run"
        command = ["train", str(place / "flat"), "-o", str(model), "--seed", str(seed), "-q"]
        must(run([*command, *options]))
        result: dict[str, object] = {"seed": seed}
        for method, faults in (("given", given), ("flat", flat)):
            out = place / f"checked_{method}"
            must(run(["check", str(place / method), "--labels", str(model), "-o", str(out), "-q"]))
            result[method] = score_one(out / "issues.csv", faults, place / method)
        result["pictures"] = len(scan_folder(source))
        result["straddling"] = straddling(model / "split.csv", flat)
    return result


def score_one(table: Path, faults: list[Fault], folder: Path) -> dict[str, object]:
    """Faults found by name, by sort, and false alarms, by kind.

    Mirrored copies that the images had before anything was planted are no false alarms.
    """
    rows = [row for row in read_table(table) if row["kind"] != "small_class"]
    missed = [
        fault
        for fault in faults
        if not any(
            fault.path in (row["path"], row["related"]) and row["kind"] in fault.kinds
            for row in rows
        )
    ]
    planted = {fault.path for fault in faults}
    false = [
        row
        for row in rows
        if not planted & {row["path"], row["related"]}
        and not (
            row["kind"] in COPIES and is_mirrored(folder / row["path"], folder / row["related"])
        )
    ]
    return {
        "found": len(faults) - len(missed),
        "missed": [f"{fault.name}: {fault.path}" for fault in missed],
        "false_alarms": len(false),
        "false_by_kind": dict(Counter(row["kind"] for row in false)),
        "false": [f"{row['path']} ({row['kind']} {row['related']})" for row in false],
    }


def is_mirrored(file: Path, other: Path) -> bool:
    """Whether an image is another one mirrored, up to the noise of JPEG's compression."""
    with Image.open(file) as first, Image.open(other) as second:
        one, two = first.convert("RGB"), ImageOps.mirror(second.convert("RGB"))
    if one.size != two.size:
        return False
    difference = np.asarray(one, np.int16) - np.asarray(two, np.int16)
    return float(np.abs(difference).mean()) < MIRROR_LEVELS


def straddling(table: Path, faults: list[Fault]) -> int:
    """How many copies lie in another part of the split than what they are copies of."""
    parts = {row["path"]: row["part"] for row in read_table(table)}
    return sum(parts[one.path] != parts[one.original] for one in faults if one.original)


def plant(source: Path, folder: Path, seed: int, *, given: bool) -> list[Fault]:
    """Copy the images, with given parts or without, and plant the 20 faults."""
    random = np.random.default_rng(seed)
    samples = scan_folder(source)
    paths = {}
    for label in samples.class_names:
        own = [sample for sample in samples if sample.label == label]
        held_out = random.permutation(len(own)) < max(1, round(HELD_OUT * len(own)))
        for sample, out in zip(own, held_out, strict=True):
            part = ("test" if out else "train") if given else ""
            paths[sample] = Path(part, label, sample.file.name)
    used = iter([list(samples)[i] for i in random.permutation(len(samples))])
    if given:
        used = (sample for sample in used if paths[sample].parts[0] == "train")
    remaining = list(used)
    swapped = remaining[10:15]
    others = {sample: str(random.choice([x for x in samples.class_names if x != sample.label]))
              for sample in remaining[:15]}  # fmt: skip
    faults = list(_swaps(swapped, others, paths))
    for sample, place in paths.items():
        write(folder / place, sample.file.read_bytes())
    faults += _copies(remaining[:10], others, paths, folder)
    faults += _spoiled(remaining[15:17], samples.class_names, paths, folder)
    return faults


def _swaps(
    samples: list[Sample], others: dict[Sample, str], paths: dict[Sample, Path]
) -> Iterator[Fault]:
    for number, sample in enumerate(samples):
        old = paths[sample]
        paths[sample] = old.parent.parent / others[sample] / f"swapped{number}{old.suffix}"
        path = paths[sample].as_posix()
        yield Fault("swapped label", path, "", frozenset({"mislabelled"}))


def _copies(
    samples: list[Sample], others: dict[Sample, str], paths: dict[Sample, Path], folder: Path
) -> Iterator[Fault]:
    for number, sample in enumerate(samples):
        old = paths[sample]
        with Image.open(sample.file) as opened:
            image = opened.convert("RGB")
        if number < 5:
            name, quality = "recompressed copy", 60
            parts = [part.replace("train", "test") for part in old.parent.parts]
            new = Path(*parts, f"copy{number}.jpg")
        else:
            name, quality = "resized copy", 85
            image = image.resize((round(image.width * 0.6), round(image.height * 0.6)))
            new = old.parent.parent / others[sample] / f"copy{number}.jpg"
        write(folder / new, encoded(image, quality))
        yield Fault(name, new.as_posix(), old.as_posix(), COPIES)


def _spoiled(
    samples: list[Sample], labels: tuple[str, ...], paths: dict[Sample, Path], folder: Path
) -> Iterator[Fault]:
    top = paths[samples[0]].parent.parent
    whole = samples[1].file.read_bytes()
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    for number, data in enumerate((b"", page, whole[: len(whole) // 3])):
        path = top / labels[number % len(labels)] / f"spoiled{number}.jpg"
        write(folder / path, data)
        yield Fault("unreadable", path.as_posix(), "", frozenset({"unreadable"}))
    for number, level in enumerate((255, 120)):
        path = top / labels[-1 - number] / f"blank{number}.jpg"
        write(folder / path, encoded(Image.new("RGB", (200, 150), (level,) * 3), 90))
        yield Fault("blank", path.as_posix(), "", frozenset({"blank"}))


def encoded(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    arguments.run(main, __doc__, folder={"type": arguments.folder})
