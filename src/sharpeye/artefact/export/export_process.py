"""Write and open a format in its own process: its libraries load slowly and print a lot.

    python -m sharpeye.artefact.export.export_process FORMAT FOLDER FILE

The process ends with its parent. FOLDER holds the source as `source.json`, and `pixels.npy`,
uint8[n,height,width,channels]. The model is written to FILE and opened again; `details.json` gets
the result of its `write`, `outputs-SIZE.npz` its outputs at each batch size.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.export_formats import ExportSource, get_format
from sharpeye.artefact.manifest import parse_manifest
from sharpeye.artefact.parity import BATCH_SIZES, OutputsByBatchSize, predict_in_batches
from sharpeye.core.arrays import Pixels
from sharpeye.core.keras_import import CHILD_ENVIRONMENT
from sharpeye.core.processes import run_child, run_module
from sharpeye.core.storage import atomic_path, write_text
from sharpeye.errors import MissingExtra

_SOURCE, _PIXELS, _DETAILS = "source.json", "pixels.npy", "details.json"


def export_in_process(
    format_name: str, source: ExportSource, pixels: Pixels, *, scratch: Path, file: Path
) -> tuple[dict[str, Any], OutputsByBatchSize]:
    """Write a model and run it on images, in a process of its own.

    Args:
        scratch: a folder for the files that the processes exchange.

    Returns:
        the result of the format's `write`, and the outputs.

    Raises:
        the errors of the format's `write`.
    """
    network, manifest = str(source.network), source.manifest.to_dict()
    description = {"network": network, "manifest": manifest, "title": source.title}
    write_text(scratch / _SOURCE, json.dumps(description))
    with atomic_path(scratch / _PIXELS) as temporary:
        np.save(temporary, pixels)
    run_module(__name__, format_name, str(scratch), str(file), environment=CHILD_ENVIRONMENT)
    outputs: OutputsByBatchSize = {}
    for size in BATCH_SIZES if len(pixels) else ():
        with np.load(scratch / f"outputs-{size}.npz", allow_pickle=False) as arrays:
            outputs[size] = dict(arrays)
    return json.loads((scratch / _DETAILS).read_text(encoding="utf-8")), outputs


def main() -> int:
    format_name, folder, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    return run_child(lambda: _export(format_name, folder, file), str(file))


def _export(format_name: str, folder: Path, file: Path) -> None:
    try:
        write, open_exported = get_format(format_name).functions()
        # TensorFlow writes modules into the folder of temporary files, and deletes them, but not
        # what Python would compile of them.
        sys.dont_write_bytecode = True
        raw = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
        source = ExportSource(
            Path(raw["network"]), parse_manifest(raw["manifest"], _SOURCE), raw["title"]
        )
        write_text(folder / _DETAILS, json.dumps(write(source, file)))
        pixels = np.load(folder / _PIXELS, allow_pickle=False)
        if len(pixels):
            for size, outputs in predict_in_batches(open_exported(file), pixels).items():
                with atomic_path(folder / f"outputs-{size}.npz") as temporary:
                    np.savez(temporary, **outputs)  # type: ignore[arg-type]
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", f"exporting to {format_name}") from None


if __name__ == "__main__":
    sys.exit(main())
