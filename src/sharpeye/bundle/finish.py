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
PARITY_PICTURES = 14
_BATCH = 7

Floats = npt.NDArray[np.floating[Any]]


def prove_parity(model: OpenModel, samples: Sequence[Sample], expected: Floats) -> dict[str, Any]:
    """Run pictures through the model file, at batch 1 and 7, and compare.

    Args:
        samples: pictures; the first `PARITY_PICTURES` are taken.
        expected: float[N,C], what training's path says of them.

    Returns:
        number of pictures, largest difference of a probability, share of equal top-1 answers.

    Raises:
        ModelError: the difference is beyond `PARITY_LIMIT`.
    """
    samples = samples[:PARITY_PICTURES]
    pixels = np.stack([load_sample(sample, model.manifest.input) for sample in samples])
    single = np.concatenate([model.graph.run(one[None])["probs"] for one in pixels])
    batches = [pixels[i : i + _BATCH] for i in range(0, len(pixels), _BATCH)]
    batched = np.concatenate([model.graph.run(batch)["probs"] for batch in batches])
    truth = expected[: len(samples)]
    gap = float(max(np.abs(single - truth).max(), np.abs(batched - truth).max()))
    agree = float((single.argmax(1) == truth.argmax(1)).mean())
    if not gap <= PARITY_LIMIT:
        raise ModelError(
            f"{MODEL_FILE} answers otherwise than training did: probabilities differ by {gap:.2g}, "
            f"more than {PARITY_LIMIT:g}"
        )
    return {"pictures": len(samples), "max_difference": gap, "top1_agreement": agree}


def bundle_record(manifest: Manifest, parity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `bundle.json` holds: the manifest, the proof, and the digests of the files."""
    files = {MODEL_FILE: sha256_file(folder / MODEL_FILE)}
    return manifest.to_dict() | {"parity": parity, "files": files}
