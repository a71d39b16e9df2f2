"""Small real images in a bundle, with the outputs that its model must give for them."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.artefact.archive import EXPECTED_FILE
from sharpeye.artefact.parity import BOX_PARITY_LIMIT, PARITY_LIMIT
from sharpeye.artefact.session import OpenModel
from sharpeye.core.arrays import Floats
from sharpeye.core.safe_parse import parse_json
from sharpeye.core.types import Box, Sample
from sharpeye.errors import ImageReadError, ModelError
from sharpeye.images.boxes import from_input
from sharpeye.images.decode import decode
from sharpeye.images.resize import fit_image

MAX_SAMPLES = 5
_MAX_SIDE = 256  # pixels


def make_samples(
    model: OpenModel, images: Sequence[tuple[Sample, Image.Image]]
) -> dict[str, bytes]:
    """The members of a bundle that hold its samples, bytes by name; empty without images.

    The images are reduced and stored as PNG, which every decoder decodes to the same bits.

    Args:
        images: RGB; the first `MAX_SAMPLES` are used.
    """
    members: dict[str, bytes] = {}
    entries: list[dict[str, Any]] = []
    for number, (sample, image) in enumerate(images[:MAX_SAMPLES], start=1):
        small = image.copy()
        small.thumbnail((_MAX_SIDE, _MAX_SIDE))
        data = io.BytesIO()
        small.save(data, "PNG")
        name = f"samples/{number}.png"
        members[name] = data.getvalue()
        probs, box = _predict(model, small)
        entry = {"file": name, "label": sample.label, "probs": [round(float(p), 7) for p in probs]}
        entries.append(entry if box is None else entry | {"box": [round(edge, 6) for edge in box]})
    if entries:
        text = json.dumps({"pictures": entries}, indent=2, ensure_ascii=False)
        members[EXPECTED_FILE] = f"{text}\n".encode()
    return members


def check_samples(model: OpenModel, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Compare a bundle's outputs for its own images with the expected ones.

    Returns:
        number of images, the largest difference of a probability and, for a localizer, of an edge.

    Raises:
        ModelError: an output differs, or an image is missing or damaged.
    """
    max_difference, max_box_difference = 0.0, 0.0
    samples = _parse_expected(members)
    for name, expected_probs, expected_box in samples:
        try:
            probs, box = _predict(model, decode(members[name], name))
        except (KeyError, ImageReadError) as error:
            raise ModelError(f"the sample {name} cannot be read: {error}") from None
        same_box = box is None or expected_box is None or expected_box.shape == (len(box),)
        if probs.shape != expected_probs.shape or not same_box:
            raise ModelError(f"the expected answer for {name} is of another model")
        max_difference = max(max_difference, float(np.abs(probs - expected_probs).max()))
        if box is not None and expected_box is not None:
            difference = np.abs(np.array(box) - expected_box).max()
            max_box_difference = max(max_box_difference, float(difference))
    if not max_difference <= PARITY_LIMIT or not max_box_difference <= BOX_PARITY_LIMIT:
        raise ModelError(
            f"{model.path} answers otherwise than when it was made: a probability differs by "
            f"{max_difference:.2g}, allowed is {PARITY_LIMIT:g}"
        )
    proof: dict[str, Any] = {"pictures": len(samples), "max_difference": max_difference}
    if model.manifest.task == "localize":
        proof["max_box_difference"] = max_box_difference
    return proof


def _parse_expected(members: Mapping[str, bytes]) -> list[tuple[str, Floats, Floats | None]]:
    """Each sample's name, probabilities float[C] and, for a localizer, box float[4]."""
    if EXPECTED_FILE not in members:
        return []
    try:
        return [
            (
                str(entry["file"]),
                np.asarray(entry["probs"], np.float64),
                np.asarray(entry["box"], np.float64) if "box" in entry else None,
            )
            for entry in parse_json(members[EXPECTED_FILE])["pictures"]
        ]
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{EXPECTED_FILE} is damaged") from None


def _predict(model: OpenModel, image: Image.Image) -> tuple[Floats, Box | None]:
    """Probabilities float32[C], and the box as shares of the image."""
    spec = model.manifest.input
    pixels = fit_image(image, spec)[None]
    if model.manifest.task != "localize":
        return model.run(pixels, ("probs",))["probs"][0], None
    outputs = model.run(pixels, ("probs", "box"))
    return outputs["probs"][0], from_input(tuple(outputs["box"][0].tolist()), image.size, spec)
