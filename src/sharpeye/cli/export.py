"""`sharpeye export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.errors import UsageError

if TYPE_CHECKING:
    from sharpeye.jobs.export.export import ExportResult

app = Typer(add_completion=False, rich_markup_mode=None)

_FORMATS = "onnx, bundle, saved_model, keras, litert, openvino, frozen_graph"


@app.command()
def export(
    run: Annotated[Path, Argument(metavar="RUN", help="A run directory.")],
    format_name: Annotated[str, Option("--format", "-f", help=f"{_FORMATS}.")] = "",
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="P", help="A file with the format's suffix, or a folder."),
    ] = None,
    fixed: Annotated[bool, Option("--fixed", help="Let onnx take the model's size only.")] = False,
    quantize: Annotated[
        str | None, Option(metavar="int8", help="8-bit weights, if faster here and as accurate.")
    ] = None,
    max_drop: Annotated[float, Option(min=0, max=1, help="Accuracy that int8 may cost.")] = 0.01,
    force: Annotated[bool, Option("--force", help="int8 though it is no faster.")] = False,
    data: Annotated[
        Path | None, Option(metavar="DIR", help="The run's images [where they were].")
    ] = None,
    no_parity: Annotated[bool, Option("--no-parity", help="Compare no predictions.")] = False,
    samples: Annotated[int, Option(min=0, max=5, help="Images that a bundle carries.")] = 5,
    verify: Annotated[bool, Option("--verify", help="Only check a .sharpeye file.")] = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a finished model in another format, and verify its outputs."""
    console.start_logging(quiet=quiet)

    from sharpeye.jobs.export import export as job

    if verify:
        if format_name or output:
            raise UsageError("--verify takes a .sharpeye file alone, without --format and --output")
        proof = job.verify_bundle(run)
        console.print_result(
            f"sound: {run} answers for its {proof['pictures']} images, {_differences(proof)}"
        )
        return
    if not format_name:
        raise UsageError(f"--format is needed: {_FORMATS}")
    if output is None:
        raise UsageError(
            f"--output is needed: where the {format_name} model is written, "
            "a file with the format's suffix, or a folder"
        )
    result = job.export(
        run,
        format_name,
        output,
        fixed=fixed,
        quantize=quantize,
        max_drop=max_drop,
        force=force,
        data=data,
        parity=not no_parity,
        samples=samples,
    )
    _print_result(result)


def _print_result(result: "ExportResult") -> None:
    if result.manifest["quantization"]:
        _print_int8(result.manifest["quantization"])
    proof = result.manifest["parity"]
    if proof:
        sizes = " and ".join(map(str, proof["batches"]))
        console.print_result(
            f"parity: {proof['pictures']} images at batch {sizes}: {_differences(proof)}, "
            f"the same class for {proof['top1_agreement']:.1%}"
        )
    names = [file.name for file in result.files]
    size = sum(file.stat().st_size for file in result.files)
    listed = f": {', '.join(names)}" if 1 < len(names) <= 10 else ""
    console.print_result(f"wrote:  {result.path} ({size / 1e6:.1f} MB){listed}")


def _differences(proof: dict[str, Any]) -> str:
    text = f"probabilities differ by at most {proof['max_difference']:.1g}"
    if "max_box_difference" in proof:
        text += f", boxes by {proof['max_box_difference']:.1g}"
    return text


def _print_int8(choice: dict[str, Any]) -> None:
    console.print_result(f"{'':8}{'accuracy':>10}{'images/s':>10}{'MB':>8}")
    for kind, label in (("float", "float32"), ("int8", "int8")):
        console.print_result(
            f"{label:8}{choice[f'{kind}_accuracy']:>10.1%}"
            f"{choice[f'{kind}_images_per_second']:>10.1f}{choice[f'{kind}_bytes'] / 1e6:>8.1f}"
        )
    console.print_result(
        f"took:   {choice['took']}, on {choice['pictures']} validation images: {choice['reason']}"
    )
