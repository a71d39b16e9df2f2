"""Fill in the short programs that are written beside an exported model.

The templates lie in `snippets_templates/`, named FORMAT.PROGRAM.txt, with places `{{name}}`.
"""

import json
import re
from importlib import resources

from sharpeye.artefact.export.export_formats import ExportFormat, ExportSource
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
# Python from a file to `image`, as `images.decode` does; docs/model-file.md shows these lines.
_READ_IMAGE = """\
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode.startswith("I"):  # 16 bits: the upper 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # over white
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
"""
# Python that computes the size to resize to, and crops, as `images.resize` does.
_TARGET_SIZE = {
    "pad": """\
    (w, h), full = image.size, ({width}, {height})
    low, narrow = max(1, round(h / w * {width})), max(1, round(w / h * {height}))
    size = ({width}, low) if w / h > {width} / {height} else (narrow, {height})
""",
    "crop": """\
    w = min(image.width, max(1, round(image.height * {width} / {height})))
    h = min(image.height, max(1, round(image.width * {height} / {width})))
    left, top = (image.width - w) // 2, (image.height - h) // 2
    image, size = image.crop((left, top, left + w, top + h)), ({width}, {height})
""",
    "stretch": """\
    (w, h), size = image.size, ({width}, {height})
""",
}
_RESIZE = """\
    image = image.resize((size[0], h), {method})  # across, then down
    image = image.resize(size, {method})
"""
_RESIZE_ASYMMETRIC = """\
    values = np.asarray(image, np.float32)
    for axis, own, wanted in ((1, w, size[0]), (0, h, size[1])):  # as TensorFlow 1 does it
        at = np.arange(wanted, dtype=np.float32) * (np.float32(own) / np.float32(wanted))
        here, there = (values.take(np.minimum(at.astype(int) + n, own - 1), axis) for n in (0, 1))
        share = (at - np.floor(at)).reshape((-1, 1) if axis else (-1, 1, 1))
        values = here + (there - here) * share
    image = Image.fromarray(np.rint(values).astype(np.uint8))
"""
_PAD = """\
    left, top = (round((whole - part) / 2) for whole, part in zip(full, size))
    fitted, image = image, Image.new("RGB", full, ({pad}, {pad}, {pad}))
    image.paste(fitted, (left, top))
"""
_PRINT_RESULT = """\
    ranked = sorted(zip(found[0][0].tolist(), labels), reverse=True)
    print(json.dumps({"path": file, "probs": {label: p for p, label in ranked}}))"""
_PRINT_BOX = """\
    ranked = sorted(zip(found[0][0].tolist(), labels), reverse=True)
    box = found[1][0].tolist()  # xmin, ymin, xmax, ymax, shares 0..1
    print(json.dumps({"path": file, "probs": {label: p for p, label in ranked}, "box": box}))"""
_PRINT_BOX_CPP = """\
  const float* box = found[1].GetTensorData<float>();  // shares 0..1 of the picture
  std::printf("box: %.3f %.3f %.3f %.3f\\n", box[0], box[1], box[2], box[3]);
"""


def fill_snippets(
    export_format: ExportFormat, source: ExportSource, names: dict[str, str], *, fixed: bool
) -> dict[str, str]:
    """The programs of a format.

    Args:
        names: file names: of `model` and `labels`, and of each program by its plain name.
        fixed: whether the model takes its own size only.

    Returns:
        text by plain name, such as `predict.py`.
    """
    values = _values(export_format, source, names, fixed=fixed)
    # A bundle holds an ONNX model.
    kind = "onnx" if export_format.name == "bundle" else export_format.name
    folder = resources.files("sharpeye.artefact.export") / "snippets_templates"
    texts = {}
    for program in export_format.snippets:
        template = (folder / f"{kind}.{program}.txt").read_text(encoding="utf-8")
        text = _fill(template, values | {"program": names[program]})
        texts[program] = text.rstrip("\n") + "\n"
    return texts


def _fill(template: str, values: dict[str, str]) -> str:
    def value(placeholder: "re.Match[str]") -> str:
        if placeholder[1] not in values:
            raise ModelError(f"a snippet has the unknown place {placeholder[1]}")
        return values[placeholder[1]]

    return _PLACEHOLDER.sub(value, template)


def _values(
    export_format: ExportFormat, source: ExportSource, names: dict[str, str], *, fixed: bool
) -> dict[str, str]:
    spec, labels = source.manifest.input, source.manifest.labels
    outputs = source.outputs[:1] if export_format.name == "frozen_graph" else source.outputs
    boxes = "box" in outputs
    size = f"width == {spec.width} && height == {spec.height}" if fixed else "true"
    error = f'throw new Error("the picture must be {spec.width} x {spec.height} pixels");'
    return {
        "file": names["model"],
        "file_text": json.dumps(names["model"]),
        "labels_text": json.dumps(names["labels"]),
        "title": _plain_title(source.title),
        "outputs": json.dumps(outputs),
        "outputs_cpp": ", ".join(json.dumps(name) for name in outputs),
        "output_count": str(len(outputs)),
        "classes": str(len(labels)),
        "labels": json.dumps(labels),  # ASCII, with escapes that JavaScript knows
        "labels_cpp": ", ".join(_cpp_literal(label) for label in labels),
        "read_image": (_READ_IMAGE + _fit_code(spec) * fixed).rstrip("\n"),
        "pixels": _pixels_code(spec, fixed=fixed),
        "print_result": _PRINT_BOX if boxes else _PRINT_RESULT,
        "box_note": ", and the box, in shares of the picture" * boxes,
        "box_js": ", box: Array.from(answer.box.data)" * boxes,
        "print_box_js": '  console.log("box:", ...answer.box);\n' * boxes,
        "print_box_cpp": _PRINT_BOX_CPP * boxes,
        "size_check_js": f"  if (!({size})) {error}\n" * fixed,
        "size_check_cpp": f"({size})",
    }


def _fit_code(spec: InputSpec) -> str:
    """Python that fits `image` to the model's own size."""
    method = f"Image.Resampling.{'BICUBIC' if spec.filter == 'bicubic' else 'BILINEAR'}"
    resize = _RESIZE_ASYMMETRIC if spec.filter == "bilinear_asymmetric" else _RESIZE
    lines = '    image = image.convert("RGB")\n' + _TARGET_SIZE[spec.fit] + resize
    if spec.fit == "pad":
        lines += _PAD
    return lines.format(width=spec.width, height=spec.height, method=method, pad=spec.pad_value)


def _pixels_code(spec: InputSpec, *, fixed: bool) -> str:
    """Python that turns `image` into the model's input, uint8[1,H,W,3] or [1,H,W,1]."""
    if not fixed:
        return 'np.asarray(image.convert("RGB"))[None]'
    if spec.channels == 1:
        return 'np.asarray(image.convert("L"))[None, ..., None]'
    return "np.asarray(image)[None]"


def _plain_title(title: str) -> str:
    """The title without characters that would end a comment or a docstring."""
    return "".join(c if c.isprintable() and c not in '"\\*{}' else " " for c in title)[:80]


def _cpp_literal(text: str) -> str:
    """A C++ string literal of the text's UTF-8 bytes."""
    characters = (
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()
    )
    return f'"{"".join(characters)}"'
