"""Proves that the written model answers as training did, and writes `bundle.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.bundle.manifest import Manifest
from sharpeye.bundle.session import MODEL_FILE, OpenModel
from sharpeye.errors import ModelError
from sharpeye.pipeline.extract import load_sample
from sharpeye.storage import sha256_file
from sharpeye.types import Sample

PARITY_LIMIT = 1e-3
# Of edges, as shares of the input: half a pixel of 256. Training sees its maps with 11 bits.
BOX_PARITY_LIMIT = 2e-3
PARITY_PICTURES = 14
_BATCH = 7

Floats = npt.NDArray[np.floating[Any]]


def prove_parity(
    model: OpenModel, samples: Sequence[Sample], expected: Floats, boxes: Floats | None = None
) -> dict[str, Any]:
    """Run pictures through the model file, at batch 1 and 7, and compare.

    Args:
        samples: pictures; the first `PARITY_PICTURES` are taken.
        expected: float[N,C], what training's path says of them.
        boxes: float[N,4], the same of boxes, shares 0..1 of the model's input.

    Returns:
        number of pictures, largest difference of a probability, share of equal top-1 answers; of
        a localizer also the largest difference of an edge.

    Raises:
        ModelError: a difference is beyond `PARITY_LIMIT`, or `BOX_PARITY_LIMIT`.
    """
    samples = samples[:PARITY_PICTURES]
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in samples])
    single = [model.graph.run(one[None]) for one in pixels]
    batched = [model.graph.run(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]

    def gap(output: str, truth: Floats, limit: float) -> float:
        found = [np.concatenate([each[output] for each in way]) for way in (single, batched)]
        largest = max(float(np.abs(one - truth[: len(samples)]).max()) for one in found)
        if not largest <= limit:
            raise ModelError(
                f"{MODEL_FILE} answers otherwise than training did: {output} differs by "
                f"{largest:.2g}, more than {limit:g}"
            )
        return largest

    proof = {
        "pictures": len(samples),
        "max_difference": gap("probs", expected, PARITY_LIMIT),
        "top1_agreement": float(
            np.mean(
                [
                    e["probs"].argmax() == t.argmax()
                    for e, t in zip(single, expected[: len(samples)], strict=True)
                ]
            )
        ),
    }
    if boxes is not None:
        proof["max_box_difference"] = gap("box", boxes, BOX_PARITY_LIMIT)
    return proof


def bundle_record(manifest: Manifest, parity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `bundle.json` holds: the manifest, the proof, and the digests of the files."""
    files = {MODEL_FILE: sha256_file(folder / MODEL_FILE)}
    return manifest.to_dict() | {"parity": parity, "files": files}
