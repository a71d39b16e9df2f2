"""The table of export formats, and the source that each of them writes.

A format NAME has two functions in `onnx_formats` or, if it needs TensorFlow, `tensorflow_formats`:
`write_NAME` writes a file, or a folder of that name, and returns details for the manifest;
`open_NAME` opens it with the format's own runtime.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.parity import PredictFunction
from sharpeye.errors import MissingExtra, UsageError, near_match


@dataclass(frozen=True)
class ExportSource:
    """A model to write in another format.

    Attributes:
        network: ONNX, uint8[N,height,width,channels] from `fit_image` to `probs` float32[N,C] and,
            for a localizer, `box` float32[N,4] in shares of that input; for formats that take any
            size, the unchanged model.
        title: the subject of the model, for people.
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

    def describe_input(self, dtype: str = "uint8") -> str:
        """The input of a model of fixed size, for people: `image uint8[N,224,224,3]`."""
        size = self.manifest.input
        return f"image {dtype}[N,{size.height},{size.width},{size.channels}]"


@dataclass(frozen=True)
class ExportFormat:
    """A format that a model can be exported to.

    Attributes:
        main: the model's file name in a folder; "" where the folder itself is the model.
        packages: the packages that it needs, each with the extra that installs it.
        own_process: whether it needs TensorFlow, and therefore a process of its own.
        any_size: whether it takes images of any size, unless a fixed size is requested.
        int8: whether it allows `--quantize`.
        snippets: programs that are written next to it, by file name.
    """

    name: str
    main: str
    packages: tuple[tuple[str, str], ...] = ()
    own_process: bool = False
    any_size: bool = False
    int8: bool = False
    snippets: tuple[str, ...] = ("predict.py",)

    @property
    def suffix(self) -> str:
        """The file suffix, such as `.onnx`; empty for a folder."""
        return f".{self.main.rpartition('.')[2]}" if self.main else ""

    def functions(
        self,
    ) -> tuple[Callable[[ExportSource, Path], dict[str, Any]], Callable[[Path], PredictFunction]]:
        """The functions that write and open it."""
        kind = "tensorflow" if self.own_process else "onnx"
        module = import_module(f"sharpeye.artefact.export.{kind}_formats")
        return getattr(module, f"write_{self.name}"), getattr(module, f"open_{self.name}")

    def require_packages(self) -> None:
        """Raise `MissingExtra` if a package is not installed."""
        for package, extra in self.packages:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, extra, f"exporting to {self.name}")


_TENSORFLOW = (("keras", "train"), ("tensorflow", "train"))
_LITERT = (*_TENSORFLOW, ("ai_edge_litert", "export"))
_FROZEN_GRAPH = (*_TENSORFLOW, ("tensorboard", "train"))
_ALL_SNIPPETS = ("predict.py", "predict.mjs", "predict.cpp")

FORMATS = {
    entry.name: entry
    for entry in (
        ExportFormat("onnx", "model.onnx", any_size=True, int8=True, snippets=_ALL_SNIPPETS),
        ExportFormat("bundle", "model.sharpeye", any_size=True, int8=True, snippets=_ALL_SNIPPETS),
        ExportFormat("saved_model", "", _TENSORFLOW, own_process=True),
        ExportFormat("keras", "model.keras", _TENSORFLOW, own_process=True),
        ExportFormat("litert", "model.tflite", _LITERT, own_process=True),
        ExportFormat("openvino", "model.xml", (("openvino", "export"),)),
        ExportFormat("frozen_graph", "graph.pb", _FROZEN_GRAPH, own_process=True),
    )
}


def get_format(name: str) -> ExportFormat:
    """The format of that name.

    Raises:
        UsageError: there is none; the message suggests the nearest name.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown format {name}. {near_match(name, FORMATS)}")
    return FORMATS[name]
