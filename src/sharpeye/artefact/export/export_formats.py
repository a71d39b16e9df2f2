"""The formats by name. A format's module says how it is written; this list says that it exists.

Each module has two functions:

    write(source: Source, file: Path) -> dict   writes `file` (or the folder of that name), and
                                                tells what is special about it, for the manifest
    open_written(file: Path) -> Answer          opens it with the format's own runtime
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sharpeye.errors import UsageError, near_match


@dataclass(frozen=True)
class Format:
    """A format that a model can be exported to.

    Attributes:
        name: as the command line takes it.
        about: in a few words, for people.
        main: the file's name in a folder of its own; "" where the folder itself is the model.
        needs: packages, and the extra that brings them.
        apart: whether it is written and opened in a process of its own, as TensorFlow is.
        any_size: whether it takes images of any size, unless a fixed one is asked for.
        int8: whether `--quantize` goes with it.
        snippets: templates that are filled and laid beside it, by the file's name.
    """

    name: str
    about: str
    main: str
    needs: tuple[tuple[str, str], ...] = ()
    apart: bool = False
    any_size: bool = False
    int8: bool = False
    snippets: tuple[str, ...] = ("predict.py",)

    @property
    def suffix(self) -> str:
        """Such as `.onnx`; empty where it is a folder."""
        return f".{self.main.rpartition('.')[2]}" if self.main else ""

    def module(self) -> Any:
        return import_module(f"sharpeye.artefact.export.format_{self.name}")


_TENSORFLOW = (("keras", "train"), ("tensorflow", "train"))
_ALL_SNIPPETS = ("predict.py", "predict.mjs", "predict.cpp")

FORMATS = {
    each.name: each
    for each in (
        Format(
            "onnx",
            "ONNX Runtime and many others; pictures of any size",
            "model.onnx",
            any_size=True,
            int8=True,
            snippets=_ALL_SNIPPETS,
        ),
        Format(
            "bundle",
            "one file with model, labels, card, sample pictures and digests",
            "model.sharpeye",
            any_size=True,
            int8=True,
            snippets=_ALL_SNIPPETS,
        ),
        Format("saved_model", "TensorFlow and TensorFlow Serving", "", _TENSORFLOW, apart=True),
        Format("keras", "Keras 3, to go on training", "model.keras", _TENSORFLOW, apart=True),
        Format(
            "litert",
            "LiteRT (TensorFlow Lite), on phones and boards",
            "model.tflite",
            (*_TENSORFLOW, ("ai_edge_litert", "export")),
            apart=True,
        ),
        Format("openvino", "OpenVINO, on Intel processors", "model.xml", (("openvino", "export"),)),
        Format(
            "frozen_graph",
            "TensorFlow 1, as TensorFlow-for-Poets made it",
            "graph.pb",
            (*_TENSORFLOW, ("tensorboard", "train")),
            apart=True,
        ),
    )
}


def get_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown format {name}. {near_match(name, FORMATS)}")
    return FORMATS[name]
