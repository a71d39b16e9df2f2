"""Short programs that ask an exported model, filled in with its names and sizes.

The templates lie in `snippets/`, a file each, named FORMAT.PROGRAM.txt; `{{name}}` is filled in.
"""

import json
import re
from importlib import resources

from sharpeye.bundle.export.formats import Format
from sharpeye.bundle.export.source import Source
from sharpeye.errors import ModelError
from sharpeye.types import InputSpec

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_FITS = {
    "pad": "picture = ImageOps.pad(picture, {size}, {method}, color=({pad}, {pad}, {pad}))\n",
    "crop": "picture = ImageOps.fit(picture, {size}, {method})\n",
    "stretch": "picture = picture.resize({size}, {method})\n",
}
_TELL = """\
for index in probs.argsort()[::-1][:5]:
    print(f"{labels[index]}: {probs[index]:.3f}")"""
_TELL_BOX = """
print("box:", *(f"{edge:.3f}" for edge in found[1][0]))  # xmin ymin xmax ymax, shares 0..1"""


def fill_snippets(
    form: Format, source: Source, names: dict[str, str], *, fixed: bool
) -> dict[str, str]:
    """The programs of a format.

    Args:
        names: what the files are called: `model`, `labels`, and each program by its plain name.
        fixed: whether the model takes its own size only.

    Returns:
        text by plain name, such as `predict.py`.
    """
    values = _values(form, source, names, fixed=fixed)
    found = {}
    for program in form.snippets:
        # A bundle holds an ONNX model.
        kind = "onnx" if form.name == "bundle" else form.name
        folder = resources.files("sharpeye.bundle") / "snippets"
        template = (folder / f"{kind}.{program}.txt").read_text(encoding="utf-8")
        filled = _fill(template, values | {"own": names[program]})
        found[program] = filled.rstrip("\n") + "\n"
    return found


def _fill(template: str, values: dict[str, str]) -> str:
    def value(place: "re.Match[str]") -> str:
        if place[1] not in values:
            raise ModelError(f"a snippet has the unknown place {place[1]}")
        return values[place[1]]

    return _PLACE.sub(value, template)


def _values(form: Format, source: Source, names: dict[str, str], *, fixed: bool) -> dict[str, str]:
    spec, labels = source.manifest.input, source.manifest.labels
    outputs = source.outputs[:1] if form.name == "frozen_graph" else source.outputs
    boxes = "box" in outputs
    size = f"width == {spec.width} && height == {spec.height}" if fixed else "true"
    too_large = f'throw new Error("the picture must be {spec.width} x {spec.height} pixels");'
    return {
        "file": names["model"],
        "file_text": json.dumps(names["model"]),
        "labels_text": json.dumps(names["labels"]),
        "title": _plain(source.title),
        "outputs": json.dumps(outputs),
        "outputs_cpp": ", ".join(json.dumps(name) for name in outputs),
        "output_count": str(len(outputs)),
        "classes": str(len(labels)),
        "labels": json.dumps(labels),  # ASCII, with escapes that JavaScript knows
        "labels_cpp": ", ".join(_c_text(label) for label in labels),
        "picture": _picture(spec, fixed=fixed),
        "tell": _TELL + _TELL_BOX * boxes,
        "box_said": ", and the box, in shares of the picture" * boxes,
        "box_js": ", box: Array.from(answer.box.data)" * boxes,
        "box_tell_js": '  console.log("box:", ...answer.box);\n' * boxes,
        "box_tell_cpp": _BOX_CPP * boxes,
        "size_check_js": f"  if (!({size})) {too_large}\n" * fixed,
        "size_check_cpp": f"({size})",
    }


_BOX_CPP = """\
  const float* box = found[1].GetTensorData<float>();  // shares 0..1 of the picture
  std::printf("box: %.3f %.3f %.3f %.3f\\n", box[0], box[1], box[2], box[3]);
"""


def _picture(spec: InputSpec, *, fixed: bool) -> str:
    """Python that makes `pixels` of a file."""
    lines = 'picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")\n'
    if not fixed:
        return f"{lines}pixels = np.asarray(picture)[None]  # uint8[1,height,width,3], any size"
    method = f"Image.Resampling.{'BICUBIC' if spec.filter == 'bicubic' else 'BILINEAR'}"
    size = (spec.width, spec.height)
    lines += _FITS[spec.fit].format(size=size, method=method, pad=spec.pad_value)
    shape = f"uint8[1,{spec.height},{spec.width},{spec.channels}]"
    if spec.channels == 1:
        return f'{lines}pixels = np.asarray(picture.convert("L"))[None, ..., None]  # {shape}'
    return f"{lines}pixels = np.asarray(picture)[None]  # {shape}"


def _plain(title: str) -> str:
    """A title that ends no comment and no docstring."""
    return "".join(c if c.isprintable() and c not in '"\\*{}' else " " for c in title)[:80]


def _c_text(text: str) -> str:
    """A C++ string literal of the text's UTF-8 bytes."""
    out = "".join(
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()
    )
    return f'"{out}"'
