"""What an exporter gets: a finished model, reduced to what the format needs."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.artefact.manifest import Manifest, parse_manifest
from sharpeye.core.storage import write_text
from sharpeye.errors import MissingExtra

NETWORK_FILE, _DESCRIPTION_FILE = "network.onnx", "about.json"


@dataclass(frozen=True)
class ExportSource:
    """A model that is to be written in another format.

    Attributes:
        network: ONNX, uint8[N,height,width,channels] as `fit_image` fits it to `probs`
            float32[N,C] and, of a localizer, `box` float32[N,4] in shares of that input; for
            formats that take any size, the model as it is.
        manifest: the meaning of the model.
        title: what the model is about, for people.
        members: further files of a bundle, bytes by name.
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

    def save(self, folder: Path) -> None:
        """Leave manifest and title beside the network, for another process."""
        description = {"manifest": self.manifest.to_dict(), "title": self.title}
        write_text(folder / _DESCRIPTION_FILE, json.dumps(description))


def read_source(folder: Path) -> ExportSource:
    """What `ExportSource.save` left in the folder of `NETWORK_FILE`."""
    description = json.loads((folder / _DESCRIPTION_FILE).read_text(encoding="utf-8"))
    manifest = parse_manifest(description["manifest"], _DESCRIPTION_FILE)
    return ExportSource(folder / NETWORK_FILE, manifest, description["title"])


def describe_input(manifest: Manifest, dtype: str = "uint8") -> str:
    """The input of a model of fixed size, for people: `image uint8[N,224,224,3]`."""
    size = manifest.input
    return f"image {dtype}[N,{size.height},{size.width},{size.channels}]"


def require_package(package: str, extra: str, purpose: str) -> None:
    """Check that an optional package is installed.

    Raises:
        MissingExtra: it is not.
    """
    try:
        installed = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        installed = False
    if not installed:
        raise MissingExtra(package, extra, purpose)
