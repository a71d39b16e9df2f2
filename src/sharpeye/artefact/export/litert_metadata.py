"""Write labels and a description into a `.tflite` file for the tools of Android and MediaPipe.

TensorFlow Lite Metadata is a FlatBuffer in the model's buffer `TFLITE_METADATA`, and files in a zip
archive after the model; zip readers start at a file's end, LiteRT at its beginning. The package
that wrote it (tflite-support) is no longer maintained.

The numbers of fields below are their positions in metadata_schema.fbs (1.x) of
google-ai-edge/mediapipe; see also schema.fbs of tensorflow/lite.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any

from sharpeye.artefact.archive import LABELS_FILE
from sharpeye.artefact.export.export_formats import ExportSource
from sharpeye.artefact.manifest import labels_text
from sharpeye.errors import ModelError

BUFFER_NAME = "TFLITE_METADATA"

_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # ContentProperties
_RGB, _GRAYSCALE = 1, 2  # ColorSpaceType
_NORMALIZATION = 1  # ProcessUnitOptions


def with_metadata(model: bytes, source: ExportSource) -> bytes:
    """A `.tflite` model with metadata and `labels.txt`.

    Args:
        model: with the input `image` and the outputs of `source`.

    Raises:
        ModelError: the inputs or outputs differ from these.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.ModelT.InitFromPackedBuf(model)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = make_metadata(source, _output_names(parsed, source))
    entry.name, entry.buffer = BUFFER_NAME, len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 2**16)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    labels = io.BytesIO()
    with zipfile.ZipFile(labels, "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(LABELS_FILE)  # in 1980: the same model gives the same bytes
        archive.writestr(info, labels_text(source.manifest.labels))
    return bytes(builder.Output()) + labels.getvalue()


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


def make_metadata(source: ExportSource, outputs: Sequence[str]) -> bytes:
    """The FlatBuffer `ModelMetadata`, for outputs in the order in which the graph gives them."""
    import flatbuffers

    spec = source.manifest.input
    size = {0: ("Uint32", spec.width), 1: ("Uint32", spec.height)}
    color_space = _RGB if spec.channels == 3 else _GRAYSCALE
    image = {
        0: "image",
        1: f"the image, brought to size by: {spec.fit}",
        3: {0: ("Uint8", _IMAGE_PROPERTIES), 1: {0: ("Int8", color_space), 1: size}},
        # The model scales pixels itself: mean 0 and deviation 1 leave them unchanged.
        4: [{0: ("Uint8", _NORMALIZATION), 1: {0: [0.0], 1: [1.0]}}],
        5: {0: [255.0], 1: [0.0]},  # the range of values
    }
    labels = {
        0: LABELS_FILE,
        1: "a class a line, in the order of the scores",
        2: ("Int8", _TENSOR_AXIS_LABELS),
    }
    content = {0: ("Uint8", _FEATURE_PROPERTIES), 1: {}}
    tensors = {
        "probs": {
            0: "probs",
            1: "probability of each class, calibrated",
            3: content,
            5: {0: [1.0], 1: [0.0]},
            6: [labels],
        },
        "box": {
            0: "box",
            1: "xmin, ymin, xmax, ymax of the object, as shares of the input",
            3: content,
        },
    }
    metadata = {
        0: source.title,
        1: f"SharpEye, {source.manifest.model}",
        3: [{2: [image], 3: [tensors[name] for name in outputs]}],
        5: source.manifest.weights_license,
        7: "1.0.0",
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, metadata), b"M001")
    return bytes(builder.Output())


def _write(builder: Any, value: str | list[Any] | dict[int, Any]) -> int:
    """Write a text, a list of floats or tables, or a table by field numbers; return its offset.

    A number in a table is a tuple of its type and value.
    """
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, list):
        are_tables = isinstance(value[0], dict)
        prepend = builder.PrependUOffsetTRelative if are_tables else builder.PrependFloat32
        items = [_write(builder, item) for item in value] if are_tables else value
        builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            prepend(item)
        return int(builder.EndVector())
    fields = {
        number: item if isinstance(item, tuple) else ("UOffsetTRelative", _write(builder, item))
        for number, item in value.items()
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for number, (kind, item) in fields.items():
        getattr(builder, f"Prepend{kind}Slot")(number, item, 0)
    return int(builder.EndObject())
