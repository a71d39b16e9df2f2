"""Write the model card, `README.md` of a run directory."""

from collections.abc import Mapping
from typing import Any

from sharpeye.artefact.manifest import Manifest
from sharpeye.core.formatting import plain_percent


def render_model_card(manifest: Manifest, metrics: Mapping[str, Any], title: str) -> str:
    """The card as Markdown: what the model is, how good it is, how to use it, and its limits."""
    test = metrics["test"]
    accuracy, *interval = (plain_percent(v) for v in (test["accuracy"], *test["accuracy_ci95"]))
    accuracy = f"**{accuracy}** (95 % interval {' to '.join(interval)})"
    rows = "\n".join(
        f"| {_escape_cell(label)} | {score['precision']:.2f} | {score['recall']:.2f} "
        f"| {score['f1']:.2f} | {score['support']} |"
        for label, score in test["per_class"].items()
    )
    spec, boxes = manifest.input, ""
    fit = spec.fit + (", as grey levels" if spec.channels == 1 else "")
    images = ", ".join(f"{count:,} {split}" for split, count in manifest.data["pictures"].items())
    if "mean_iou" in test:
        low, high = test["mean_iou_ci95"]
        boxes = (
            f"\n| mean overlap of boxes (IoU) | {test['mean_iou']:.2f} ({low:.2f} to {high:.2f}) |"
            f"\n| right class and IoU >= 0.5 | {plain_percent(test['accuracy_at_iou50'])} |"
        )
    something_else = (
        "An image of something else is often `unknown`; the report says how often."
        if manifest.unknown
        else "It always predicts one of its classes, also for an image of something else."
    )
    kind = "A classifier that also finds the object's box," if boxes else "An image classifier"
    return f"""# {title}

{kind} for {len(manifest.labels)} classes, made by SharpEye on {manifest.created[:10]}.

| | |
|---|---|
| accuracy on {test["count"]} test images | {accuracy} |
| log loss, calibration error | {test["log_loss"]:.3f}, {test["ece"]:.3f} |{boxes}
| network | {manifest.model}; licence of its weights: {manifest.weights_license} |
| input | uint8 RGB of any size, to {spec.width} x {spec.height} pixels inside, fit: {fit} |
| images | {images} |

## Use

```bash
sharpeye predict . image.jpg
```

```python
import sharpeye

model = sharpeye.load(".")
model.predict("image.jpg").label
```

Only `model.onnx` and `bundle.json` are needed, and only numpy, Pillow and ONNX Runtime.

## Classes

| class | precision | recall | F1 | test images |
|---|---|---|---|---|
{rows}

## Limits

The scores hold for images like those it was made from. {something_else} The mistakes are in
`report.html`.
"""


def _escape_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")
