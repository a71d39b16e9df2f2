"""Verify that a written model has the outputs of training, or of another model."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.cut_model import preprocessing_of
from sharpeye.artefact.manifest import MODEL_FILE, Manifest
from sharpeye.artefact.preprocess_nodes import FITTED
from sharpeye.artefact.session import OpenModel
from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.inference import Graph, available_cores
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import sha256_file
from sharpeye.core.types import Sample
from sharpeye.data.sample_image import load_sample, read_image
from sharpeye.errors import ModelError
from sharpeye.images.boxes import from_input
from sharpeye.images.decode import image_size, read_file
from sharpeye.images.resize import fit_image
from sharpeye.learn.ood.detector import OodDetector

# uint8[N,...] images to float32[N,...] by output name.
PredictFunction = Callable[[Pixels], dict[str, Floats]]
# Outputs by name, by batch size.
OutputsByBatchSize = dict[int, dict[str, Floats]]

BATCH_SIZES = (1, 7)
PARITY_IMAGES, FULL_SIZE_IMAGES = 14, 7
PARITY_LIMIT = 1e-3
# Limit on edges, as shares of the input. Training stores maps with 11 bits: heads of a few steps
# differed by up to 3e-3, those of the default training by less than 1e-4.
BOX_PARITY_LIMIT = 5e-3
# Up to a third of the images lie within a hundredth of the OOD score's scale: scores can be steep.
OOD_PARITY_LIMIT = 1e-2
# Training stores maps with 11 bits; the score is a steep function of the boxes of small objects.
BOX_SCORE_PARITY_LIMIT = 2e-2
# Grey levels between Pillow's resizing and the graph's. A difference of 1 is usual, in less than
# 0.1 % of the values; a wrong filter, or a shift by one pixel, gives tens.
LEVEL_LIMIT = 3
# Networks amplify a grey level more than their own rounding errors: the square root is steep near
# 0. Measured on 204 images of things8 and crops of them, EfficientNet-Lite0: up to 1e-3 of a
# probability at 320 pixels, 7e-3 at 160 with bilinear, 0.05 with int8, which rounds again. So
# full-size images are judged by their pixels, and these limits are wide.
FULL_SIZE_LIMIT = 0.25
FULL_SIZE_BOX_LIMIT = 0.02
_MAX_SIZES_READ = 100

_FAILURE = f"{MODEL_FILE} answers otherwise than training did"


def predict_in_batches(
    predict: PredictFunction, pixels: Pixels, *, workers: int = 1
) -> OutputsByBatchSize:
    """A model's outputs for images, one by one and several at once; `workers` are threads."""
    # Large batches first, so that no core waits for the last one.
    batches = [
        (size, pixels[i : i + size])
        for size in sorted(BATCH_SIZES, reverse=True)
        for i in range(0, len(pixels), size)
    ]
    if workers == 1:  # Some runtimes predict in the main thread only.
        results = [predict(batch) for _, batch in batches]
    else:
        results = [r for _, r in parallel_map(lambda item: predict(item[1]), batches, workers)]
    by_size: dict[int, list[dict[str, Floats]]] = {}
    for (size, _), result in zip(batches, results, strict=True):
        by_size.setdefault(size, []).append(result)
    return {
        size: {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for size, parts in by_size.items()
    }


def compare_outputs(
    outputs: OutputsByBatchSize, expected: Mapping[str, Floats], failure: str
) -> dict[str, Any]:
    """Compare `probs` and, if both sides have it, `box`.

    Args:
        expected: `probs` float[N,C] and maybe `box` float[N,4]; N >= 1.
        failure: begins the message of the error.

    Returns:
        number of images, largest difference of a probability, share of equal top-1 predictions;
        with boxes also the largest difference of an edge.

    Raises:
        ModelError: a difference exceeds its limit.
    """
    probs = [values["probs"] for values in outputs.values()]
    difference = max_difference(probs, expected["probs"])
    check_limit(PARITY_LIMIT, difference, f"{failure}: a probability differs")
    classes = expected["probs"].argmax(1)
    proof: dict[str, Any] = {
        "pictures": len(classes),
        "max_difference": difference,
        "top1_agreement": min(float((values.argmax(1) == classes).mean()) for values in probs),
    }
    boxes = [values["box"] for values in outputs.values() if "box" in values]
    if boxes and "box" in expected:
        difference = max_difference(boxes, expected["box"])
        check_limit(BOX_PARITY_LIMIT, difference, f"{failure}: an edge of a box differs")
        proof["max_box_difference"] = difference
    return proof


def max_difference(arrays: Sequence[Floats], expected: Floats) -> float:
    """The largest absolute difference; infinite if shapes differ, NaN if any value is NaN."""
    if any(array.shape != expected.shape for array in arrays):
        return float("inf")
    return float(np.max([np.abs(array - expected).max() for array in arrays]))


def check_limit(limit: float, difference: float, what: str) -> None:
    """Raise `ModelError` if a difference exceeds its limit, or is NaN."""
    if not difference <= limit:
        raise ModelError(f"{what} by {difference:.2g}, more than {limit:g}")


def verify_parity(
    model: OpenModel,
    samples: Sequence[Sample],
    expected: Floats,
    *,
    boxes: Floats | None = None,
    box_scores: Floats | None = None,
    ood: tuple[OodDetector, Floats] | None = None,
) -> dict[str, Any]:
    """Run images through the model file, at batch 1 and 7, and compare with training.

    Args:
        samples: images; the first `PARITY_IMAGES` are used as training fits them, and
            `FULL_SIZE_IMAGES` of many sizes without fitting.
        expected: float[N,C], probabilities that training computed.
        boxes: float[N,4], boxes that training computed, shares 0..1 of the model's input.
        box_scores: float[N], the scores that training computed for the boxes.
        ood: training's detector, and its features float[N,D] of the samples.

    Returns:
        see `compare_outputs`; `full_size` holds what `verify_full_size` returns; with `box_scores`
        and `ood` also the largest difference of `box_score` and of `unknown_score`.

    Raises:
        ModelError: a difference exceeds its limit.
    """
    pixels = _load_first(model, samples)
    targets = {"probs": expected[: len(pixels)]}
    if boxes is not None:
        clipped = np.clip(boxes[: len(pixels)], 0, 1)  # as the graph does; NaN stays NaN
        clipped[:, 2:] = np.maximum(clipped[:, :2], clipped[:, 2:])
        targets["box"] = clipped
    outputs = predict_in_batches(model.run, pixels, workers=available_cores())
    proof = compare_outputs(outputs, targets, _FAILURE)
    if model.takes_any_size:
        proof["full_size"] = verify_full_size(model, samples)
    if box_scores is not None:
        scores = [values["box_score"] for values in outputs.values()]
        difference = max_difference(scores, box_scores[: len(pixels)])
        check_limit(BOX_SCORE_PARITY_LIMIT, difference, f"{_FAILURE}: box_score differs")
        proof["max_box_score_difference"] = difference
    if ood is not None:
        difference = _compare_unknown_scores(outputs, *ood)
        check_limit(OOD_PARITY_LIMIT, difference, f"{_FAILURE}: unknown_score differs")
        proof["max_unknown_difference"] = difference
    return proof


def _compare_unknown_scores(
    outputs: OutputsByBatchSize, detector: OodDetector, features: Floats
) -> float:
    """The largest difference to the detector's scores; the probabilities are the file's."""
    return max(
        max_difference(
            [values["unknown_score"]],
            detector.unknown_score(features[: len(values["probs"])], values["probs"]),
        )
        for values in outputs.values()
    )


def _load_first(model: OpenModel, samples: Sequence[Sample]) -> Pixels:
    spec = model.manifest.input
    loaded = parallel_map(partial(load_sample, spec=spec), samples[:PARITY_IMAGES])
    return np.stack([pixels for _, pixels in loaded])


def verify_full_size(model: OpenModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Run the graph on full-size images, and compare with images that Pillow fitted.

    `FULL_SIZE_IMAGES` of as many sizes as possible are used.

    Returns:
        number of images; the largest difference in grey levels of the network's input, the share
        of values that differ, and the largest difference of a probability; share of equal top-1
        predictions; for a localizer also that of an edge, as a share of the image.

    Raises:
        ModelError: a difference exceeds its limit, or the outputs depend on the batch.
    """
    file = model.path / MODEL_FILE if model.path.is_dir() else model.path
    preprocessing, spec = Graph(preprocessing_of(file)), model.manifest.input
    chosen = _choose_many_sizes(samples)

    def compare(sample: Sample) -> dict[str, float]:
        image = read_image(sample)
        pixels, fitted = np.asarray(image)[None], fit_image(image, spec)
        levels = np.abs(preprocessing.run(pixels)[FITTED][0] - fitted.astype(np.float32))
        full_size, expected = model.graph.run(pixels), model.run(fitted[None])
        if sample is chosen[0]:  # The first one, so that no core waits for the batch.
            _verify_batch(model, pixels, full_size)
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

    by_image = [differences for _, differences in parallel_map(compare, chosen)]
    proof: dict[str, Any] = {"pictures": len(by_image)}
    for key in by_image[0]:
        combine = max if key.startswith("max_") else np.mean
        proof[key] = float(combine([differences[key] for differences in by_image]))
    for key, limit, what in (
        ("max_levels", LEVEL_LIMIT, "the pixels that it makes of a full-size one differ"),
        ("max_difference", FULL_SIZE_LIMIT, "probs of full-size images differ"),
        ("max_box_difference", FULL_SIZE_BOX_LIMIT, "box of full-size images differs"),
    ):
        check_limit(limit, proof.get(key, 0.0), f"{_FAILURE}: {what}")
    return proof


def _verify_batch(model: OpenModel, pixels: Pixels, single: Mapping[str, Floats]) -> None:
    """Require the same outputs for a full-size image in a batch as alone, which are `single`."""
    size = max(BATCH_SIZES)
    batch = model.graph.run(np.repeat(pixels, size, axis=0))
    for name, values in single.items():
        difference = float(np.abs(batch[name] - values).max())
        check_limit(PARITY_LIMIT, difference, f"{_FAILURE}: {name} of a batch of {size} differs")


def _choose_many_sizes(samples: Sequence[Sample]) -> list[Sample]:
    """Images from the smallest to the largest; a size repeats only if there are no more sizes."""
    by_size: dict[tuple[int, int], Sample] = {}
    for sample in samples[:_MAX_SIZES_READ]:
        size = (0, 0)  # all images of an array file have one size
        if sample.row is None:
            size = image_size(read_file(sample.file, sample.path), sample.path).upright
        by_size.setdefault(size, sample)
    sizes = sorted(by_size, key=lambda size: (size[0] * size[1], size))
    positions = np.linspace(0, len(sizes) - 1, min(FULL_SIZE_IMAGES, len(sizes)))
    chosen = [by_size[sizes[round(position)]] for position in positions.tolist()]
    remaining = [sample for sample in samples if sample not in chosen]
    return chosen + remaining[: FULL_SIZE_IMAGES - len(chosen)]


def bundle_record(manifest: Manifest, parity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of `bundle.json`: the manifest, the parity results, and the model's digest."""
    files = {MODEL_FILE: sha256_file(folder / MODEL_FILE)}
    return manifest.to_dict() | {"parity": parity, "files": files}
