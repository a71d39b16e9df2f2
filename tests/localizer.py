"""A localizer built by hand: it locates the bright rectangle of an image and names its colour."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from sharpeye.artefact.manifest import METADATA_KEY, Manifest
from sharpeye.core.types import Box, InputSpec, ResizeMode
from sharpeye.images.boxes import clip_box
from sharpeye.images.views import View
from sharpeye.images.voc_xml import voc_object, write_voc

LABELS = ("blue", "green", "red")
COLOURS = {"blue": (20, 20, 255), "green": (20, 255, 20), "red": (255, 20, 20)}
SIDE = 32

Edges = tuple[int, int, int, int]  # pixels: xmin, ymin, xmax, ymax


def write_localizer(
    file: Path,
    *,
    fit: ResizeMode = "pad",
    boxes: bool = True,
    task: str = "localize",
    edges: int = 4,
) -> Path:
    """Write it as an ONNX file with our manifest; the box is where a channel is over 200.

    Args:
        boxes: whether it has the output `box`.
        task, edges: the manifest's task, and the edges of a box; tests make them inconsistent.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    nodes = [
        node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceMean", ["floats", "inner"], ["means"], keepdims=0),
        node("Gemm", ["means", "weights"], ["logits"]),
        node("Softmax", ["logits"], ["probs"], axis=1),
    ]
    if boxes:
        nodes += [
            node("ReduceMax", ["floats", "last"], ["light"], keepdims=0),
            node("Greater", ["light", "bright"], ["inside"]),
            node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
        ]
        for edge, axis, last in (("xmin", 1, 0), ("ymin", 2, 0), ("xmax", 1, 1), ("ymax", 2, 1)):
            nodes += [
                node("ReduceMax", ["mask", f"axis{axis}"], [f"{edge}_any"], keepdims=0),
                node("ArgMax", [f"{edge}_any"], [f"{edge}_at"], axis=1, select_last_index=last),
                node("Cast", [f"{edge}_at"], [f"{edge}_float"], to=TensorProto.FLOAT),
                node("Add", [f"{edge}_float", f"behind{last}"], [f"{edge}_edge"]),
                node("Div", [f"{edge}_edge", "side"], [edge]),
            ]
        names = ["xmin", "ymin", "xmax", "ymax"][:edges]
        nodes.append(node("Concat", names, ["box"], axis=1))
    mixing = np.zeros((3, 3), np.float32)
    for row, label in enumerate(LABELS):  # from R, G, B to the classes in their order
        mixing[{"red": 0, "green": 1, "blue": 2}[label], row] = 0.05
    constants = {
        "weights": mixing,
        "bright": np.float32(200),
        "side": np.float32(SIDE),
        "behind0": np.float32(0),
        "behind1": np.float32(1),
        "inner": np.array([1, 2]),
        "last": np.array([3]),
        "axis1": np.array([1]),
        "axis2": np.array([2]),
    }
    used = {name for each in nodes for name in each.input}
    info = helper.make_tensor_value_info
    outputs = [info("probs", TensorProto.FLOAT, ["N", len(LABELS)])]
    outputs += [info("box", TensorProto.FLOAT, ["N", edges])] if boxes else []
    graph = helper.make_graph(
        nodes,
        "localizer",
        [info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        outputs,
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    manifest = Manifest(LABELS, InputSpec(SIDE, SIDE, fit), task=task, model="by hand")
    helper.set_model_props(model, {METADATA_KEY: json.dumps(manifest.to_dict())})
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file)
    return file


def scene(file: Path, label: str, size: tuple[int, int], edges: Edges, xml: bool = False) -> Path:
    """A black image with one bright rectangle; with `xml` its annotation lies beside it."""
    image = Image.new("RGB", size)
    image.paste(COLOURS[label], edges)
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=95)
    if xml:
        width, height = size
        box = (edges[0] / width, edges[1] / height, edges[2] / width, edges[3] / height)
        objects = [voc_object(label, box, size)]
        file.with_suffix(".xml").write_bytes(write_voc("scenes", file.name, size, objects=objects))
    return file


def scenes(folder: Path, per_class: int = 12, seed: int = 0) -> Path:
    """Images with one rectangle each, portrait or landscape, with annotations; no two are equal."""
    random = np.random.default_rng(seed)
    for label in LABELS:
        for number in range(per_class):
            size = (72, 48) if number % 2 else (48, 64)
            low = random.integers(2, np.array(size) // 2)
            high = low + random.integers(10, np.array(size) - low)
            edges = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
            scene(folder / f"{label}_{number}.png", label, size, edges, xml=True)
    return folder


def through_view(box: Box, view: View) -> Box:
    """The box in a view of the image, as fractions of that view."""
    left, top, right, bottom = view.crop
    width, height = right - left, bottom - top
    moved = clip_box(
        (
            (box[0] - left) / width,
            (box[1] - top) / height,
            (box[2] - left) / width,
            (box[3] - top) / height,
        )
    )
    return (1 - moved[2], moved[1], 1 - moved[0], moved[3]) if view.flip else moved
