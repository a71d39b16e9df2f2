"""Small real images that a bundle carries, with the answers that it must give for them."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.artefact.archive import EXPECTED, sample_name
from sharpeye.artefact.parity import BOX_PARITY_LIMIT, PARITY_LIMIT
from sharpeye.artefact.session import OpenModel
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
    """The members of a bundle that hold its samples.

    The images are made smaller and stored as PNG, which every decoder reads to the same bits.

    Args:
        images: RGB; the first `MAX_SAMPLES` are taken.

    Returns:
        bytes by name; nothing without images.
    """
    members: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for number, (sample, image) in enumerate(images[:MAX_SAMPLES], start=1):
        small = image.copy()
        small.thumbnail((_MAX_SIDE, _MAX_SIDE))
        data = io.BytesIO()
        small.save(data, "PNG")
        name = sample_name(number)
        members[name] = data.getvalue()
        probs, box = _answer(model, small)
        row = {"file": name, "label": sample.label, "probs": [round(float(p), 7) for p in probs]}
        rows.append(row if box is None else row | {"box": [round(edge, 6) for edge in box]})
    if rows:
        text = json.dumps({"pictures": rows}, indent=2, ensure_ascii=False)
        members[EXPECTED] = f"{text}\n".encode()
    return members


def check_samples(model: OpenModel, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Let a bundle answer for its own images.

    Returns:
        how many there are, the largest difference of a probability and, of a localizer, of an edge.

    Raises:
        ModelError: an answer is not the expected one, or an image is missing or damaged.
    """
    largest, largest_box, rows = 0.0, 0.0, _read_expected(members)
    for name, expected, box in rows:
        try:
            found, found_box = _answer(model, decode(members[name], name))
        except (KeyError, ImageReadError) as error:
            raise ModelError(f"the sample {name} cannot be read: {error}") from None
        if found.shape != expected.shape:
            raise ModelError(f"the expected answer for {name} is of another model")
        largest = max(largest, float(np.abs(found - expected).max()))
        if box is not None and found_box is not None:
            gap = np.abs(np.array(found_box) - np.array(box)).max()
            largest_box = max(largest_box, float(gap))
    if not largest <= PARITY_LIMIT or not largest_box <= BOX_PARITY_LIMIT:
        raise ModelError(
            f"{model.path} answers otherwise than when it was made: a probability differs by "
            f"{largest:.2g}, allowed is {PARITY_LIMIT:g}"
        )
    proof = {"pictures": len(rows), "max_difference": largest}
    return proof | (
        {"max_box_difference": largest_box} if model.manifest.task == "localize" else {}
    )


def _read_expected(
    members: Mapping[str, bytes],
) -> list[tuple[str, npt.NDArray[np.float64], Box | None]]:
    if EXPECTED not in members:
        return []
    try:
        rows = json.loads(members[EXPECTED])["pictures"]
        return [
            (
                str(row["file"]),
                np.asarray(row["probs"], np.float64),
                tuple(map(float, row["box"])) if "box" in row else None,  # type: ignore[misc]
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{EXPECTED} is damaged") from None


def _answer(model: OpenModel, image: Image.Image) -> tuple[npt.NDArray[np.float32], Box | None]:
    """Probabilities float32[C], and the box in shares of the image."""
    spec = model.manifest.input
    found = model.run(fit_image(image, spec)[None], ("probs", "box")[: 1 + _boxes(model)])
    if not _boxes(model):
        return found["probs"][0], None
    xmin, ymin, xmax, ymax = (float(edge) for edge in found["box"][0])
    return found["probs"][0], from_input((xmin, ymin, xmax, ymax), image.size, spec)


def _boxes(model: OpenModel) -> bool:
    return model.manifest.task == "localize"
