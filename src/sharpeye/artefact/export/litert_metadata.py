"""Write labels and a description into a `.tflite` file, where Android's and MediaPipe's tools look.

TensorFlow Lite Metadata is a FlatBuffer in the model's buffer `TFLITE_METADATA`, and files in a zip
archive behind the model; zip readers begin at a file's end, LiteRT at its beginning. The package
that wrote it (tflite-support) is no longer maintained, so its few tables are written here.

Sources: metadata_schema.fbs (1.x) of google-ai-edge/mediapipe, schema.fbs of tensorflow/lite. The
numbers of fields below are their positions there.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from sharpeye.artefact.archive import LABELS_FILE
from sharpeye.artefact.export.export_source import ExportSource
from sharpeye.artefact.manifest import labels_text
from sharpeye.errors import ModelError

BUFFER_NAME = "TFLITE_METADATA"

_IDENTIFIER = b"M001"
_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # ContentProperties
_RGB, _GRAYSCALE = 1, 2  # ColorSpaceType
_NORMALIZATION = 1  # ProcessUnitOptions

_OUTPUT_DESCRIPTIONS = {
    "probs": "probability of each class, calibrated",
    "box": "xmin, ymin, xmax, ymax of the object, as shares of the input",
}


def with_metadata(model: bytes, source: ExportSource) -> bytes:
    """A `.tflite` model with metadata and `labels.txt`.

    Args:
        model: with the input `image` and the outputs of `source`.

    Raises:
        ModelError: it has other inputs and outputs.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.ModelT.InitFromPackedBuf(model)
    outputs = _output_names(parsed, source)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = make_metadata(source, outputs)
    entry.name, entry.buffer = BUFFER_NAME, len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 2**16)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output()) + _labels_archive(source)


def _output_names(model: Any, source: ExportSource) -> list[str]:
    """Names of the outputs in the order in which the graph gives them."""
    graph = model.subgraphs[0]
    by_index = {
        output.tensorIndex: output.name.decode() for output in model.signatureDefs[0].outputs
    }
    names = [by_index.get(int(index), "") for index in graph.outputs]
    if sorted(names) != sorted(source.outputs) or len(graph.inputs) != 1:
        raise ModelError(f"the converter gave the outputs {names}, not {list(source.outputs)}")
    return names


def _labels_archive(source: ExportSource) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(LABELS_FILE)  # of 1980: the same model gives the same bytes
        archive.writestr(info, labels_text(source.manifest.labels))
    return data.getvalue()


def make_metadata(source: ExportSource, outputs: Sequence[str]) -> bytes:
    """The FlatBuffer `ModelMetadata`.

    Args:
        outputs: names, in the order in which the graph gives them.
    """
    import flatbuffers

    tables = _TableWriter(flatbuffers.Builder(1024))
    image = _image_tensor(tables, source)
    output_tensors = [_output_tensor(tables, name) for name in outputs]
    subgraph = tables.table(9, {2: tables.vector([image]), 3: tables.vector(output_tensors)})
    root = tables.table(
        8,
        {
            0: tables.text(source.title),
            1: tables.text(f"SharpEye, {source.manifest.model}"),
            3: tables.vector([subgraph]),
            5: tables.text(source.manifest.weights_license),
            7: tables.text("1.0.0"),
        },
    )
    tables.builder.Finish(root, _IDENTIFIER)
    return bytes(tables.builder.Output())


def _image_tensor(tables: "_TableWriter", source: ExportSource) -> int:
    spec = source.manifest.input
    size = tables.table(2, {0: ("uint", spec.width), 1: ("uint", spec.height)})
    color_space = _RGB if spec.channels == 3 else _GRAYSCALE
    image = tables.table(2, {0: ("byte", color_space), 1: size})
    content = tables.table(3, {0: ("ubyte", _IMAGE_PROPERTIES), 1: image})
    # The model scales pixels itself: mean 0 and deviation 1 leave them as they are.
    normalization = tables.table(2, {0: tables.floats([0.0]), 1: tables.floats([1.0])})
    unit = tables.table(2, {0: ("ubyte", _NORMALIZATION), 1: normalization})
    range_of_values = {0: tables.floats([255.0]), 1: tables.floats([0.0])}
    return tables.table(
        7,
        {
            0: tables.text("image"),
            1: tables.text(f"the picture, brought to size by: {spec.fit}"),
            3: content,
            4: tables.vector([unit]),
            5: tables.table(2, range_of_values),
        },
    )


def _output_tensor(tables: "_TableWriter", name: str) -> int:
    fields: dict[int, int | tuple[str, int]] = {
        0: tables.text(name),
        1: tables.text(_OUTPUT_DESCRIPTIONS[name]),
        3: tables.table(3, {0: ("ubyte", _FEATURE_PROPERTIES), 1: tables.table(0, {})}),
    }
    if name == "probs":
        labels = tables.table(
            5,
            {
                0: tables.text(LABELS_FILE),
                1: tables.text("a class a line, in the order of the scores"),
                2: ("byte", _TENSOR_AXIS_LABELS),
            },
        )
        range_of_values = {0: tables.floats([1.0]), 1: tables.floats([0.0])}
        fields[5] = tables.table(2, range_of_values)
        fields[6] = tables.vector([labels])
    return tables.table(7, fields)


class _TableWriter:
    """Writes tables, vectors and texts; each method returns the offset of what it wrote."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def table(self, count: int, fields: Mapping[int, int | tuple[str, int]]) -> int:
        """A table with `count` fields; those that are absent have their default.

        Args:
            fields: by number, the offset of a value, or the type and value of a number.
        """
        builder = self.builder
        builder.StartObject(count)
        prepend = {
            "byte": builder.PrependInt8Slot,
            "ubyte": builder.PrependUint8Slot,
            "uint": builder.PrependUint32Slot,
        }
        for number, value in fields.items():
            if isinstance(value, tuple):
                prepend[value[0]](number, value[1], 0)
            else:
                builder.PrependUOffsetTRelativeSlot(number, value, 0)
        return int(builder.EndObject())

    def text(self, value: str) -> int:
        return int(self.builder.CreateString(value))

    def vector(self, offsets: Sequence[int]) -> int:
        return self._vector(offsets, self.builder.PrependUOffsetTRelative)

    def floats(self, values: Sequence[float]) -> int:
        return self._vector(values, self.builder.PrependFloat32)

    def _vector(self, values: Sequence[Any], prepend: Any) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            prepend(value)
        return int(self.builder.EndVector())
