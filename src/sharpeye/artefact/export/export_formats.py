"""The table of export formats. Each format has a module `format_NAME` with two functions:

write(source: ExportSource, file: Path) -> dict   writes `file` (or the folder of that name),
                                                  and returns details for the manifest
open_exported(file: Path) -> PredictFunction      opens it with the format's own runtime
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sharpeye.errors import UsageError, near_match


@dataclass(frozen=True)
class ExportFormat:
    """A format that a model can be exported to.

    Attributes:
        name: as the command line takes it.
        main: the model's file name in a folder; "" where the folder itself is the model.
        packages: that it needs, each with the extra that installs it.
        own_process: whether it is written and opened in a process of its own, as TensorFlow is.
        any_size: whether it takes images of any size, unless a fixed size is requested.
        int8: whether `--quantize` goes with it.
        snippets: programs that are written beside it, by file name.
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
        """Such as `.onnx`; empty where it is a folder."""
        return f".{self.main.rpartition('.')[2]}" if self.main else ""

    def module(self) -> Any:
        """The module that writes and opens it."""
        return import_module(f"sharpeye.artefact.export.format_{self.name}")


_TENSORFLOW = (("keras", "train"), ("tensorflow", "train"))
_ALL_SNIPPETS = ("predict.py", "predict.mjs", "predict.cpp")

FORMATS = {
    entry.name: entry
    for entry in (
        ExportFormat("onnx", "model.onnx", any_size=True, int8=True, snippets=_ALL_SNIPPETS),
        ExportFormat("bundle", "model.sharpeye", any_size=True, int8=True, snippets=_ALL_SNIPPETS),
        ExportFormat("saved_model", "", _TENSORFLOW, own_process=True),
        ExportFormat("keras", "model.keras", _TENSORFLOW, own_process=True),
        ExportFormat(
            "litert",
            "model.tflite",
            (*_TENSORFLOW, ("ai_edge_litert", "export")),
            own_process=True,
        ),
        ExportFormat("openvino", "model.xml", (("openvino", "export"),)),
        ExportFormat(
            "frozen_graph",
            "graph.pb",
            (*_TENSORFLOW, ("tensorboard", "train")),
            own_process=True,
        ),
    )
}


def get_format(name: str) -> ExportFormat:
    """The format of that name.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown format {name}. {near_match(name, FORMATS)}")
    return FORMATS[name]
