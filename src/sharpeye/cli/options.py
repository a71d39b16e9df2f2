"""Options that several commands share."""

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from sharpeye.cli.absl_flags import FlagsCommand
from sharpeye.core.recipes import list_recipes
from sharpeye.errors import UsageError

ModelArgument = Annotated[
    Path, Argument(metavar="MODEL", help="A run directory, or the model.onnx of one.")
]
DataArgument = Annotated[
    Path, Argument(metavar="DIR", help="Folder with one sub-folder of images a class.")
]
Config = Annotated[
    list[Path] | None,
    Option(
        metavar="FILE",
        help=f"A TOML file, such as a run's config.toml, or a recipe: {', '.join(list_recipes())}. "
        "Of several, later ones change earlier ones.",
    ),
]
Settings = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Set any knob, such as split.test=0.2."),
]
Splits = Annotated[
    str | None,
    Option(
        metavar="SPLITS",
        help="Which folders are splits: train=Training,test=Testing, or none: all are classes "
        "[by their names].",
    ),
]
Host = Annotated[str, Option(help="A host beyond this machine, such as 0.0.0.0, needs a token.")]
Port = Annotated[int, Option(min=0, max=65535, help="0 takes any free port.")]
Token = Annotated[
    str | None,
    Option(
        envvar="SHARPEYE_TOKEN",
        show_envvar=False,
        help="Every client's token [$SHARPEYE_TOKEN; else generated if one is needed].",
    ),
]


def max_megapixels(default: str) -> Any:
    """The option of that name; `default` is the limit without it."""
    return Option(
        min=0.01,
        max=10_000,
        metavar="MP",
        help=f"Largest image, megapixels [{default}].",
        callback=lambda value: _limit("max_megapixels", value),
    )


def max_decode_memory(default: str) -> Any:
    """The option of that name; `default` is the limit without it."""
    return Option(
        min=10,
        max=1_000_000,
        metavar="MB",
        help=f"Most memory that decoding an image may take [{default}].",
        callback=lambda value: _limit("max_decode_memory", value),
    )


MaxMegapixels = Annotated[float | None, max_megapixels("178.9")]
MaxDecodeMemory = Annotated[int | None, max_decode_memory("400")]
Json = Annotated[bool, Option("--json", help="Print the result as JSON.")]
ProgressForm = Annotated[
    str,
    Option(
        "--progress",
        metavar="FORM",
        help="auto: a bar on a terminal, else lines; jsonl: JSON lines on stderr, such as "
        '{"stage": "features", "done": 3, "total": 60, "seconds": 1.2, "per_second": 2.5, '
        '"left": 22.8}.',
    ),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print only warnings and errors.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Print more.")]


def _limit(name: str, value: float | None) -> float | None:
    """Put a limit on images in force; a command needs no code of its own for it."""
    if value is not None:
        from sharpeye.images.decode_limits import set_limit_for_children

        set_limit_for_children(name, value)
    return value


def add_flags(app: Typer, command: Callable[..., None], flags: type[Any]) -> None:
    """Add a command to `app`, with the fields of a dataclass as the options that are its `**flags`.

    An option may be typed with underscores, as in TensorFlow-for-Poets, or with dashes, and in the
    forms of `FlagsCommand`. Its help and its limits are the field's metadata.
    """
    *general, _ = inspect.signature(command).parameters.values()
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter for parameter in general if parameter.kind != keyword_only]
    for field in fields(flags):
        settings = dict(field.metadata)
        dashed = f"--{field.name.replace('_', '-')}"
        names = dict.fromkeys((f"--{field.name}", dashed, *settings.pop("more_names", ())))
        option: Any = Annotated[field.type, Option(*names, **settings)]
        parameters.append(
            inspect.Parameter(field.name, keyword_only, default=field.default, annotation=option)
        )
    parameters += [parameter for parameter in general if parameter.kind == keyword_only]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app.command(cls=FlagsCommand)(command)


def parse_seconds(text: str) -> float:
    """Parse a duration such as 90s, 10m or 1.5h; a number alone means seconds.

    Raises:
        UsageError: not a duration, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"a time limit is a number with s, m or h, such as 10m. Received: {text}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def parse_list(text: str | None) -> list[str] | None:
    """Parse texts that are separated by commas; None if the option is not given."""
    return None if text is None else [item.strip() for item in text.split(",") if item.strip()]
