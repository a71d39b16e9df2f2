"""`sharpeye models`."""

from typer import Typer

from sharpeye.models.registry import list_models
from sharpeye.models.spec import PretrainedWeights

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def models() -> None:
    """List the networks that `sharpeye train --model` accepts."""
    print(f"{'name':24}{'input':>9}{'parameters':>12}{'MMACs':>7}{'top-1':>7}  ImageNet weights")
    for spec in list_models():
        size = f"{spec.input.width}x{spec.input.height}"
        top1 = f"{spec.imagenet_top1:.1f}" if spec.imagenet_top1 else "-"
        row = f"{spec.name:24}{size:>9}{spec.parameters:>12,}{spec.macs:>7g}{top1:>7}"
        print(f"{row}  {_weights(spec.imagenet)}")


def _weights(imagenet: PretrainedWeights | None) -> str:
    if imagenet is None:
        return "none, trained from scratch"
    return "here" if imagenet.find(None) else imagenet.source
