"""Fill in the short programs that are written next to an exported model.

The templates `snippets_templates/FORMAT.PROGRAM.txt` have placeholders `{{name}}`; `parts/` holds
lines that several share. Their Python does the same as `images.decode` and `images.resize`;
docs/model-file.md shows it.
"""

import json
import re
from collections.abc import Mapping
from importlib import resources

from sharpeye.artefact.export.export_formats import ExportFormat, ExportSource
from sharpeye.core.types import MAX_BIT_DEPTH, InputSpec
from sharpeye.errors import ModelError

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def fill_snippets(
    export_format: ExportFormat, source: ExportSource, names: dict[str, str], *, fixed: bool
) -> dict[str, str]:
    """The programs of a format.

    Args:
        names: file names of `model` and `labels`, and of each program by its plain name.
        fixed: whether the model accepts only its own size.

    Returns:
        text by plain name, such as `predict.py`.
    """
    values = _values(export_format, source, names, fixed=fixed)
    # A bundle holds an ONNX model.
    kind = "onnx" if export_format.name == "bundle" else export_format.name
    texts = {}
    for program in export_format.snippets:
        text = _fill(f"{kind}.{program}", values | {"program": names[program]})
        texts[program] = text.rstrip("\n") + "\n"
    return texts


def _fill(template: str, values: Mapping[str, object]) -> str:
    def value(placeholder: "re.Match[str]") -> str:
        if placeholder[1] not in values:
            raise ModelError(f"a snippet has the unknown place {placeholder[1]}")
        return str(values[placeholder[1]])

    file = resources.files("sharpeye.artefact.export") / "snippets_templates" / f"{template}.txt"
    return _PLACEHOLDER.sub(value, file.read_text(encoding="utf-8"))


def _values(
    export_format: ExportFormat, source: ExportSource, names: dict[str, str], *, fixed: bool
) -> dict[str, str]:
    spec, labels = source.manifest.input, source.manifest.labels
    outputs = source.outputs[:1] if export_format.name == "frozen_graph" else source.outputs
    boxes = "box" in outputs
    size = f"width == {spec.width} && height == {spec.height}" if fixed else "true"
    error = f'throw new Error("the image must be {spec.width} x {spec.height} pixels");'
    read_image = _read_image_code(spec) + (_fit_code(spec) if fixed else "")
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
        "read_image": read_image.rstrip("\n"),
        "pixels": _pixels_code(spec, fixed=fixed),
        "print_result": _fill("parts/print_box" if boxes else "parts/print_result", {}).rstrip(
            "\n"
        ),
        "box_note": ", and the box, in shares of the image" * boxes,
        "box_js": ", box: Array.from(answer.box.data)" * boxes,
        "print_box_js": '  console.log("box:", ...answer.box);\n' * boxes,
        "print_box_cpp": _fill("parts/print_box_cpp", {}) * boxes,
        "size_check_js": f"  if (!({size})) {error}\n" * fixed,
        "size_check_cpp": f"({size})",
    }


def _read_image_code(spec: InputSpec) -> str:
    """Python that reads `file` as the upright `image`, of 8 bits a sample."""
    upper_bits = f"np.asarray(image) >> {spec.bit_depth - 8}"
    if spec.bit_depth < MAX_BIT_DEPTH:
        upper_bits = f"np.minimum({upper_bits}, 255)"
    return _fill("parts/read_image", {"bit_depth": spec.bit_depth, "upper_bits": upper_bits})


def _fit_code(spec: InputSpec) -> str:
    """Python that fits `image` to the model's own size."""
    values = {
        "width": spec.width,
        "height": spec.height,
        "method": f"Image.Resampling.{'BICUBIC' if spec.filter == 'bicubic' else 'BILINEAR'}",
        "pad": spec.pad_value,
    }
    asymmetric = spec.filter == "bilinear_asymmetric"
    parts = [f"size_{spec.fit}", "resize_asymmetric" if asymmetric else "resize"]
    parts += ["pad"] if spec.fit == "pad" else []
    lines = [_fill(f"parts/{part}", values) for part in parts]
    return '    image = image.convert("RGB")\n' + "".join(lines)


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
