"""What an exporter is given: a finished model, cut down to what it needs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.manifest import Manifest, parse_manifest
from sharpeye.core.storage import write_text
from sharpeye.errors import MissingExtra, ModelError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# uint8[N,...] images to float32[N,...] by output name.
Answer = Callable[[Pixels], dict[str, Floats]]

_NETWORK, _ABOUT = "network.onnx", "about.json"


@dataclass(frozen=True)
class Source:
    """A model that is to be written in another format.

    Attributes:
        network: ONNX, uint8[N,height,width,channels] as `fit_image` makes it to `probs`
            float32[N,C] and, of a localizer, `box` float32[N,4] in shares of that input; for
            formats that take any size, the model as it is.
        manifest: what the model means.
        title: of what it was made from, for people.
        members: files that a bundle carries besides, bytes by name.
        record: for the `bundle.json` of a bundle.
    """

    network: Path
    manifest: Manifest
    title: str
    members: Mapping[str, bytes] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("probs", "box") if self.manifest.task == "localize" else ("probs",)

    @property
    def name(self) -> str:
        """The title as a name that all formats allow: letters, digits and `_`."""
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.title).strip("_")
        return plain if plain[:1].isalpha() else f"model_{plain}".rstrip("_")

    def labels_text(self) -> str:
        """`labels.txt`: a class a line, in the order of `probs`."""
        return "".join(f"{label}\n" for label in self.manifest.labels)

    def save(self, folder: Path) -> None:
        """Leave what is not a file yet beside the network, for another process."""
        about = {"manifest": self.manifest.to_dict(), "title": self.title}
        write_text(folder / _ABOUT, json.dumps(about))


def read_source(folder: Path) -> Source:
    """What `Source.save` left in a folder."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    return Source(folder / _NETWORK, parse_manifest(about["manifest"], _ABOUT), about["title"])


def write_network(fixed_file: Path, outputs: tuple[str, ...], folder: Path) -> Path:
    """Write a fixed-size model again, with nothing but what some outputs need.

    Args:
        fixed_file: from `artefact.graph.fixed_model`.
        outputs: names.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: it is quantized: its operations have no form in other formats.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx", "train", "exporting a model") from None
    model = onnx.load(fixed_file)
    graph = model.graph
    if any(node.op_type == "DequantizeLinear" for node in graph.node):
        raise ModelError(
            "the model is int8 already (model.int8 = true): it can be exported as onnx or "
            "bundle; for other formats train it without"
        )
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    found = [each for each in graph.output if each.name in outputs]
    weights = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.output[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.output.extend(found)
    graph.initializer.extend(weights)
    onnx.save(model, folder / _NETWORK)
    return folder / _NETWORK


def require(package: str, extra: str, purpose: str) -> None:
    """Check that an optional package is there.

    Raises:
        MissingExtra: it is not.
    """
    import importlib.util

    try:
        found: Any = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingExtra(package, extra, purpose)
