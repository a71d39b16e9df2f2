"""Labels and a description inside a `.tflite` file, where Android's and MediaPipe's tools look.

TensorFlow Lite Metadata is a FlatBuffer in the model's buffer `TFLITE_METADATA`, and files in a zip
archive behind the model; zip readers look at a file's end, LiteRT at its beginning. The package
that wrote it (tflite-support) is not kept any more, so its few tables are written here.

Sources: metadata_schema.fbs (1.x) of google-ai-edge/mediapipe, schema.fbs of tensorflow/lite. The
numbers below are the order of the fields there.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any

from sharpeye.artefact.export.export_source import Source
from sharpeye.errors import ModelError

LABELS_FILE = "labels.txt"
BUFFER_NAME = "TFLITE_METADATA"

_IDENTIFIER = b"M001"
_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # ContentProperties
_RGB, _GRAYSCALE = 1, 2  # ColorSpaceType
_NORMALIZATION = 1  # ProcessUnitOptions


def with_metadata(model: bytes, source: Source) -> bytes:
    """A `.tflite` model with metadata and `labels.txt`.

    Args:
        model: with the input `image` and the outputs of `source`.

    Raises:
        ModelError: its inputs and outputs are not those.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.ModelT.InitFromPackedBuf(model)
    graph = parsed.subgraphs[0]
    outputs = _output_names(parsed, graph, source)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = describe(source, outputs)
    entry.name, entry.buffer = BUFFER_NAME, len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 2**16)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output()) + _zip_tail(source)


def read_labels(model: bytes) -> tuple[str, ...]:
    """The labels inside a `.tflite` file, in the order of its scores.

    Raises:
        ModelError: it holds none.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            return tuple(archive.read(LABELS_FILE).decode().split("\n")[:-1])
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError):
        raise ModelError(f"the file has no {LABELS_FILE} inside") from None


def _output_names(parsed: Any, graph: Any, source: Source) -> list[str]:
    """Names of the outputs in the order in which the graph gives them."""
    named = {each.tensorIndex: each.name.decode() for each in parsed.signatureDefs[0].outputs}
    names = [named.get(int(index), "") for index in graph.outputs]
    if sorted(names) != sorted(source.outputs) or len(graph.inputs) != 1:
        raise ModelError(f"the converter gave the outputs {names}, not {list(source.outputs)}")
    return names


def _zip_tail(source: Source) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(LABELS_FILE)  # of 1980: the same model gives the same bytes
        archive.writestr(info, source.labels_text())
    return data.getvalue()


def describe(source: Source, outputs: Sequence[str]) -> bytes:
    """The FlatBuffer `ModelMetadata`.

    Args:
        outputs: names, in the order in which the graph gives them.
    """
    import flatbuffers

    tables = _Tables(flatbuffers.Builder(1024))
    image = _image_tensor(tables, source)
    found = [_output_tensor(tables, source, name) for name in outputs]
    graph = tables.table(
        9, {2: ("offset", tables.vector([image])), 3: ("offset", tables.vector(found))}
    )
    root = tables.table(
        8,
        {
            0: ("offset", tables.text(source.title)),
            1: ("offset", tables.text(f"SharpEye, {source.manifest.model}")),
            3: ("offset", tables.vector([graph])),
            5: ("offset", tables.text(source.manifest.weights_license)),
            7: ("offset", tables.text("1.0.0")),
        },
    )
    tables.builder.Finish(root, _IDENTIFIER)
    return bytes(tables.builder.Output())


def _image_tensor(tables: "_Tables", source: Source) -> int:
    spec = source.manifest.input
    size = tables.table(2, {0: ("uint", spec.width), 1: ("uint", spec.height)})
    space = _RGB if spec.channels == 3 else _GRAYSCALE
    image = tables.table(2, {0: ("byte", space), 1: ("offset", size)})
    content = tables.table(3, {0: ("ubyte", _IMAGE_PROPERTIES), 1: ("offset", image)})
    # Scaling is inside the model: mean 0 and deviation 1 leave the pixels as they are.
    scaling = tables.table(
        2, {0: ("offset", tables.floats([0.0])), 1: ("offset", tables.floats([1.0]))}
    )
    unit = tables.table(2, {0: ("ubyte", _NORMALIZATION), 1: ("offset", scaling)})
    extremes = {0: ("offset", tables.floats([255.0])), 1: ("offset", tables.floats([0.0]))}
    return tables.table(
        7,
        {
            0: ("offset", tables.text("image")),
            1: ("offset", tables.text(f"the picture, brought to size by: {spec.fit}")),
            3: ("offset", content),
            4: ("offset", tables.vector([unit])),
            5: ("offset", tables.table(2, extremes)),
        },
    )


def _output_tensor(tables: "_Tables", source: Source, name: str) -> int:
    about = {
        "probs": "probability of each class, calibrated",
        "box": "xmin, ymin, xmax, ymax of the object, as shares of the input",
    }
    fields = {
        0: ("offset", tables.text(name)),
        1: ("offset", tables.text(about[name])),
        3: (
            "offset",
            tables.table(
                3, {0: ("ubyte", _FEATURE_PROPERTIES), 1: ("offset", tables.table(0, {}))}
            ),
        ),
    }
    if name == "probs":
        labels = tables.table(
            5,
            {
                0: ("offset", tables.text(LABELS_FILE)),
                1: ("offset", tables.text("a class a line, in the order of the scores")),
                2: ("byte", _TENSOR_AXIS_LABELS),
            },
        )
        extremes = {0: ("offset", tables.floats([1.0])), 1: ("offset", tables.floats([0.0]))}
        fields[5] = ("offset", tables.table(2, extremes))
        fields[6] = ("offset", tables.vector([labels]))
    return tables.table(7, fields)


class _Tables:
    """Writes tables by the numbers of their fields."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def table(self, count: int, fields: dict[int, tuple[str, int]]) -> int:
        """A table with `count` fields; those that are left out have their default."""
        builder = self.builder
        builder.StartObject(count)
        put = {
            "offset": builder.PrependUOffsetTRelativeSlot,
            "byte": builder.PrependInt8Slot,
            "ubyte": builder.PrependUint8Slot,
            "uint": builder.PrependUint32Slot,
        }
        for number, (kind, value) in fields.items():
            put[kind](number, value, 0)
        end: int = builder.EndObject()
        return end

    def text(self, value: str) -> int:
        end: int = self.builder.CreateString(value)
        return end

    def vector(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        end: int = self.builder.EndVector()
        return end

    def floats(self, values: Sequence[float]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        end: int = self.builder.EndVector()
        return end
