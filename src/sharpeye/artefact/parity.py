"""Proves that the written model answers as training did, and writes `bundle.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.graph import preprocessing_of
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.preprocess_nodes import FITTED
from sharpeye.artefact.session import MODEL_FILE, OpenModel
from sharpeye.core.inference import Graph
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import sha256_file
from sharpeye.core.types import Sample
from sharpeye.data.sample_image import load_sample, read_image
from sharpeye.errors import ModelError
from sharpeye.images.boxes import from_input
from sharpeye.images.decode import image_size, read_file
from sharpeye.images.resize import fit_image
from sharpeye.learn.ood.detector import OodDetector

PARITY_LIMIT = 1e-3
# Of edges, as shares of the input. Training sees its maps with 11 bits: heads of a few steps
# differed by up to 3e-3, those of the default training by less than 1e-4.
BOX_PARITY_LIMIT = 5e-3
# A hundredth of the scale of oddity holds up to a third of the images: scores can be steep.
UNKNOWN_PARITY_LIMIT = 1e-2
PARITY_IMAGES = 14
_BATCH = 7

FULL_SIZE_IMAGES = 7
# Grey levels between Pillow's resizing and the graph's. One is usual, in less than a tenth of a
# percent of the values; another filter, or an image that lies a pixel beside, makes tens.
LEVEL_LIMIT = 3
# Networks make more of a grey level than of their own rounding: the root of features that are
# nearly 0 is steep. Measured on 204 images of things8 and cuttings of them, EfficientNet-Lite0:
# up to 1e-3 of a probability at 320 pixels, 7e-3 at 160 with bilinear, 0.05 with int8, which rounds
# on. So full size is judged by its pixels, and these limits are wide.
FULL_SIZE_LIMIT = 0.25
FULL_SIZE_BOX_LIMIT = 0.02
_LOOKED_AT = 100

Floats = npt.NDArray[np.floating[Any]]


def verify_parity(
    model: OpenModel, samples: Sequence[Sample], expected: Floats, boxes: Floats | None = None
) -> dict[str, Any]:
    """Run images through the model file, at batch 1 and 7, and compare.

    Args:
        samples: images; the first `PARITY_PICTURES` are taken as training fits them, and
            `FULL_SIZE_PICTURES` of many sizes as they are on disk.
        expected: float[N,C], what training's path says of them.
        boxes: float[N,4], the same of boxes, shares 0..1 of the model's input.

    Returns:
        number of images, largest difference of a probability, share of equal top-1 answers; of
        a localizer also the largest difference of an edge. The same of full size as `full_size`.

    Raises:
        ModelError: a difference is beyond its limit.
    """
    chosen = samples[:PARITY_IMAGES]
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in chosen])
    single = [model.run(one[None]) for one in pixels]
    batched = [model.run(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]

    def gap(output: str, truth: Floats, limit: float) -> float:
        found = [np.concatenate([each[output] for each in way]) for way in (single, batched)]
        largest = max(float(np.abs(one - truth[: len(chosen)]).max()) for one in found)
        return _within(limit, largest, f"{output} differs")

    proof: dict[str, Any] = {
        "pictures": len(chosen),
        "max_difference": gap("probs", expected, PARITY_LIMIT),
        "top1_agreement": float(
            np.mean(
                [
                    e["probs"].argmax() == t.argmax()
                    for e, t in zip(single, expected[: len(chosen)], strict=True)
                ]
            )
        ),
    }
    if boxes is not None:
        inside = np.clip(boxes[: len(chosen)], 0, 1)  # as the graph does; a NaN stays one
        inside[:, 2:] = np.maximum(inside[:, :2], inside[:, 2:])
        proof["max_box_difference"] = gap("box", inside, BOX_PARITY_LIMIT)
    if model.takes_any_size:
        proof["full_size"] = verify_full_size(model, samples)
    return proof


def verify_full_size(model: OpenModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Give the graph images as they are on disk, and compare with what Pillow makes of them.

    Args:
        samples: images; `FULL_SIZE_PICTURES` of as many sizes as there are, are taken.

    Returns:
        number of images; the largest difference in grey levels of the network's input, the share
        of values that differ, and the largest difference of a probability; share of equal top-1
        answers; of a localizer also the largest difference of an edge, as a share of the image.

    Raises:
        ModelError: a difference is beyond its limit, or the answers hang on the batch.
    """
    file = model.path / MODEL_FILE if model.path.is_dir() else model.path
    fitting, spec = Graph(preprocessing_of(file)), model.manifest.input

    def compare(sample: Sample) -> dict[str, float]:
        image = read_image(sample)
        pixels, fitted = np.asarray(image)[None], fit_image(image, spec)
        levels = np.abs(fitting.run(pixels)[FITTED][0] - fitted.astype(np.float32))
        whole, expected = model.graph.run(pixels), model.run(fitted[None])
        one, other = whole["probs"][0], expected["probs"][0]
        found = {
            "max_levels": float(levels.max()),
            "share_of_levels": float((levels > 0).mean()),
            "max_difference": float(np.abs(one - other).max()),
            "top1_agreement": float(one.argmax() == other.argmax()),
        }
        if "box" in whole:
            back = from_input(tuple(expected["box"][0].tolist()), image.size, spec)
            found["max_box_difference"] = float(np.abs(whole["box"][0] - back).max())
        return found

    chosen = _of_many_sizes(samples)
    rows = [found for _, found in parallel_map(compare, chosen)]
    proof: dict[str, Any] = {"pictures": len(rows)}
    for key in rows[0]:
        combined = max if key.startswith("max_") else np.mean
        proof[key] = float(combined([row[key] for row in rows]))
    _within(LEVEL_LIMIT, proof["max_levels"], "the pixels that it makes of a full-size one differ")
    _within(FULL_SIZE_LIMIT, proof["max_difference"], "probs of full-size pictures differ")
    if "max_box_difference" in proof:
        moved = proof["max_box_difference"]
        _within(FULL_SIZE_BOX_LIMIT, moved, "box of full-size pictures differs")
    _prove_batch(model, chosen[0])
    return proof


def _prove_batch(model: OpenModel, sample: Sample) -> None:
    """A full-size image is answered for alike alone and among others."""
    pixels = np.asarray(read_image(sample))[None]
    alone, together = (model.graph.run(np.repeat(pixels, n, axis=0)) for n in (1, _BATCH))
    for name, values in alone.items():
        largest = float(np.abs(together[name] - values).max())
        _within(PARITY_LIMIT, largest, f"{name} of a batch of {_BATCH} differs")


def _of_many_sizes(samples: Sequence[Sample]) -> list[Sample]:
    """Images from the smallest to the largest, no two of one size before there are no others."""
    sizes: dict[tuple[int, int], Sample] = {}
    for sample in samples[:_LOOKED_AT]:
        sizes.setdefault(_size(sample), sample)
    ordered = [sizes[size] for size in sorted(sizes, key=lambda size: (size[0] * size[1], size))]
    picks = np.linspace(0, len(ordered) - 1, min(FULL_SIZE_IMAGES, len(ordered)))
    chosen = [ordered[round(at)] for at in picks.tolist()]
    more = [sample for sample in samples if sample not in chosen]
    return chosen + more[: FULL_SIZE_IMAGES - len(chosen)]


def _size(sample: Sample) -> tuple[int, int]:
    if sample.row is not None:  # all images of an array file have one size
        return 0, 0
    return image_size(read_file(sample.file, sample.path), sample.path).upright


def verify_ood_parity(
    model: OpenModel, samples: Sequence[Sample], features: Floats, unknown: OodDetector
) -> float:
    """Run images through the model file, and compare its `unknown_score` with training's.

    Args:
        samples: images; the first `PARITY_PICTURES` are taken.
        features: float[N,D], training's of them.
        unknown: what training made.

    Returns:
        the largest difference.

    Raises:
        ModelError: it is beyond `UNKNOWN_PARITY_LIMIT`.
    """
    chosen = samples[:PARITY_IMAGES]
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in chosen])
    found = model.run(pixels, ("probs", "unknown_score"))
    expected = unknown.unknown_score(features[: len(chosen)], found["probs"])
    largest = float(np.abs(found["unknown_score"] - expected).max())
    return _within(UNKNOWN_PARITY_LIMIT, largest, "unknown_score differs")


def _within(limit: float, found: float, what: str) -> float:
    if not found <= limit:
        raise ModelError(
            f"{MODEL_FILE} answers otherwise than training did: {what} by {found:.2g}, "
            f"more than {limit:g}"
        )
    return found


def bundle_record(manifest: Manifest, parity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `bundle.json` holds: the manifest, the proof, and the digests of the files."""
    files = {MODEL_FILE: sha256_file(folder / MODEL_FILE)}
    return manifest.to_dict() | {"parity": parity, "files": files}
