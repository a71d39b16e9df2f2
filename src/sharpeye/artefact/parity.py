"""Verify that the written model computes what training computed, and assemble `bundle.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.compare_outputs import (
    BATCH_SIZES,
    PARITY_LIMIT,
    check_limit,
    compare_outputs,
    predict_in_batches,
)
from sharpeye.artefact.cut_model import preprocessing_of
from sharpeye.artefact.manifest import MODEL_FILE, Manifest
from sharpeye.artefact.preprocess_nodes import FITTED
from sharpeye.artefact.session import OpenModel
from sharpeye.core.arrays import Floats
from sharpeye.core.inference import Graph
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import sha256_file
from sharpeye.core.types import Sample
from sharpeye.data.sample_image import load_sample, read_image
from sharpeye.images.boxes import from_input
from sharpeye.images.decode import image_size, read_file
from sharpeye.images.resize import fit_image
from sharpeye.learn.ood.detector import OodDetector

# A hundredth of the OOD score's scale holds up to a third of the images: scores can be steep.
OOD_PARITY_LIMIT = 1e-2
PARITY_IMAGES = 14

FULL_SIZE_IMAGES = 7
# Grey levels between Pillow's resizing and the graph's. A difference of 1 is usual, in less than
# 0.1 % of the values; another filter, or an image that is shifted by a pixel, makes tens.
LEVEL_LIMIT = 3
# Networks amplify a grey level more than their own rounding: the square root of features near 0 is
# steep. Measured on 204 images of things8 and crops of them, EfficientNet-Lite0: up to 1e-3 of a
# probability at 320 pixels, 7e-3 at 160 with bilinear, 0.05 with int8, which rounds again. So the
# pixels decide about full-size images, and these limits are wide.
FULL_SIZE_LIMIT = 0.25
FULL_SIZE_BOX_LIMIT = 0.02
_MAX_SIZES_READ = 100

_FAILURE = f"{MODEL_FILE} answers otherwise than training did"


def verify_parity(
    model: OpenModel, samples: Sequence[Sample], expected: Floats, *, boxes: Floats | None = None
) -> dict[str, Any]:
    """Run images through the model file, at batch 1 and 7, and compare with training.

    Args:
        samples: images; the first `PARITY_IMAGES` are used as training fits them, and
            `FULL_SIZE_IMAGES` of many sizes as they are on disk.
        expected: float[N,C], probabilities that training computed.
        boxes: float[N,4], boxes that training computed, shares 0..1 of the model's input.

    Returns:
        number of images, largest difference of a probability, share of equal top-1 predictions;
        of a localizer also the largest difference of an edge. The same at full size as `full_size`.

    Raises:
        ModelError: a difference exceeds its limit.
    """
    chosen = samples[:PARITY_IMAGES]
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in chosen])
    targets = {"probs": expected[: len(chosen)]}
    if boxes is not None:
        clipped = np.clip(boxes[: len(chosen)], 0, 1)  # as the graph does; a NaN stays one
        clipped[:, 2:] = np.maximum(clipped[:, :2], clipped[:, 2:])
        targets["box"] = clipped
    proof = compare_outputs(predict_in_batches(model.run, pixels), targets, _FAILURE)
    if model.takes_any_size:
        proof["full_size"] = verify_full_size(model, samples)
    return proof


def verify_full_size(model: OpenModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Give the graph images as they are on disk, and compare with images that Pillow fitted.

    Args:
        samples: images; `FULL_SIZE_IMAGES` of as many sizes as possible are used.

    Returns:
        number of images; the largest difference in grey levels of the network's input, the share
        of values that differ, and the largest difference of a probability; share of equal top-1
        predictions; of a localizer also the largest difference of an edge, as a share of the image.

    Raises:
        ModelError: a difference exceeds its limit, or the outputs depend on the batch.
    """
    file = model.path / MODEL_FILE if model.path.is_dir() else model.path
    preprocessing, spec = Graph(preprocessing_of(file)), model.manifest.input

    def compare(sample: Sample) -> dict[str, float]:
        image = read_image(sample)
        pixels, fitted = np.asarray(image)[None], fit_image(image, spec)
        levels = np.abs(preprocessing.run(pixels)[FITTED][0] - fitted.astype(np.float32))
        full_size, expected = model.graph.run(pixels), model.run(fitted[None])
        probs, expected_probs = full_size["probs"][0], expected["probs"][0]
        differences = {
            "max_levels": float(levels.max()),
            "share_of_levels": float((levels > 0).mean()),
            "max_difference": float(np.abs(probs - expected_probs).max()),
            "top1_agreement": float(probs.argmax() == expected_probs.argmax()),
        }
        if "box" in full_size:
            box = from_input(tuple(expected["box"][0].tolist()), image.size, spec)
            differences["max_box_difference"] = float(np.abs(full_size["box"][0] - box).max())
        return differences

    chosen = _choose_many_sizes(samples)
    by_image = [differences for _, differences in parallel_map(compare, chosen)]
    proof: dict[str, Any] = {"pictures": len(by_image)}
    for key in by_image[0]:
        combine = max if key.startswith("max_") else np.mean
        proof[key] = float(combine([differences[key] for differences in by_image]))
    for key, limit, what in (
        ("max_levels", LEVEL_LIMIT, "the pixels that it makes of a full-size one differ"),
        ("max_difference", FULL_SIZE_LIMIT, "probs of full-size pictures differ"),
        ("max_box_difference", FULL_SIZE_BOX_LIMIT, "box of full-size pictures differs"),
    ):
        check_limit(limit, proof.get(key, 0.0), f"{_FAILURE}: {what}")
    _verify_batch(model, chosen[0])
    return proof


def _verify_batch(model: OpenModel, sample: Sample) -> None:
    """Require the same outputs for a full-size image alone and in a batch."""
    pixels = np.asarray(read_image(sample))[None]
    size = max(BATCH_SIZES)
    single, batch = (model.graph.run(np.repeat(pixels, n, axis=0)) for n in (1, size))
    for name, values in single.items():
        difference = float(np.abs(batch[name] - values).max())
        what = f"{_FAILURE}: {name} of a batch of {size} differs"
        check_limit(PARITY_LIMIT, difference, what)


def _choose_many_sizes(samples: Sequence[Sample]) -> list[Sample]:
    """Images from the smallest to the largest; a size repeats only if there are no more sizes."""
    by_size: dict[tuple[int, int], Sample] = {}
    for sample in samples[:_MAX_SIZES_READ]:
        by_size.setdefault(_size_of(sample), sample)
    sizes = sorted(by_size, key=lambda size: (size[0] * size[1], size))
    positions = np.linspace(0, len(sizes) - 1, min(FULL_SIZE_IMAGES, len(sizes)))
    chosen = [by_size[sizes[round(position)]] for position in positions.tolist()]
    remaining = [sample for sample in samples if sample not in chosen]
    return chosen + remaining[: FULL_SIZE_IMAGES - len(chosen)]


def _size_of(sample: Sample) -> tuple[int, int]:
    if sample.row is not None:  # all images of an array file have one size
        return 0, 0
    return image_size(read_file(sample.file, sample.path), sample.path).upright


def verify_ood_parity(
    model: OpenModel, samples: Sequence[Sample], features: Floats, *, detector: OodDetector
) -> float:
    """Run images through the model file, and compare `unknown_score` with training's detector.

    Args:
        samples: images; the first `PARITY_IMAGES` are used.
        features: float[N,D], training's features of them.

    Returns:
        the largest difference.

    Raises:
        ModelError: it exceeds `OOD_PARITY_LIMIT`.
    """
    chosen = samples[:PARITY_IMAGES]
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in chosen])
    outputs = model.run(pixels, ("probs", "unknown_score"))
    expected = detector.unknown_score(features[: len(chosen)], outputs["probs"])
    largest = float(np.abs(outputs["unknown_score"] - expected).max())
    check_limit(OOD_PARITY_LIMIT, largest, f"{_FAILURE}: unknown_score differs")
    return largest


def bundle_record(manifest: Manifest, parity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of `bundle.json`: the manifest, the proof, and the digest of the model."""
    files = {MODEL_FILE: sha256_file(folder / MODEL_FILE)}
    return manifest.to_dict() | {"parity": parity, "files": files}
