"""Convert the choices on the page Train into a configuration and a command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config
from sharpeye.core.knobs import iter_knobs, literal
from sharpeye.errors import UsageError
from sharpeye.studio.run_list import free_name
from sharpeye.studio.workspace import Workspace

TASKS = ("classify", "localize")
# Each preset lists its changes of the defaults, which train a head on a frozen network.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {},
    # Four views and five epochs of fine-tuning, whose result is kept only if it is better.
    "careful": {"head.views": 4, "finetune.epochs": 5},
    # ResNet-9 at a quarter of its cost per pixel: photographs need more than CIFAR's 32 pixels.
    "scratch": {
        "model.name": "resnet_cifar",
        "model.weights": "none",
        "model.image_size": 64,
        "net.width": 32,
    },
}
_MAX_TIMED_EPOCHS = 300  # A time limit may reduce the number.
_HIDDEN_KNOBS = ("data.folder", "data.relative_to", "task")  # The page sets them itself.
_MAX_NAME_CHARACTERS = 80
_MAX_MINUTES = 10_000
_FIELD_TYPES: dict[str, Any] = {
    "task": str,
    "way": str,
    "minutes": (int, float),
    "knobs": dict,
    "name": str,
}


@dataclass(frozen=True)
class TrainRequest:
    """The choices on the page; the fields are the keys of the page's JSON.

    Attributes:
        way: one of PRESETS.
        minutes: limit for the epochs; 0 for none. Ignored by `quick`.
        knobs: further settings by dotted key.
        name: the run's name; empty for the folder's and the model's.
    """

    task: str = "classify"
    way: str = "quick"
    minutes: float = 0
    knobs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


def parse_train_request(raw: Any) -> TrainRequest:
    """Parse a request from the page's JSON; UsageError for an invalid field."""
    fields = raw if isinstance(raw, dict) else {"?": ""}
    for key, value in fields.items():
        if key not in _FIELD_TYPES or not isinstance(value, _FIELD_TYPES[key]):
            raise UsageError(f"a training has {', '.join(_FIELD_TYPES)}. Received: {str(key)[:40]}")
    request = TrainRequest(**fields)
    for name, allowed in (("task", TASKS), ("way", tuple(PRESETS))):
        value = getattr(request, name)
        if value not in allowed:
            raise UsageError(f"{name} must be {' or '.join(allowed)}. Received: {value[:40]}")
    if not 0 <= request.minutes <= _MAX_MINUTES:
        raise UsageError(f"minutes must be from 0 to {_MAX_MINUTES:,}. Received: {request.minutes}")
    return request


def build_config(request: TrainRequest, workspace: Workspace) -> Config:
    """The configuration for a request.

    Raises:
        ConfigError: a knob is unknown or out of range.
        UsageError: a knob is set elsewhere on the page.
    """
    changes: dict[str, Any] = {"data.folder": str(workspace.root), "task": request.task}
    if request.task == "classify" and not workspace.classes():
        changes["data.label_from"] = "xml"
    changes |= PRESETS[request.way]
    if request.minutes and request.way != "quick":
        changes["train.time_limit"] = 60.0 * request.minutes
    if request.minutes and request.way == "scratch":
        changes["train.epochs"] = _MAX_TIMED_EPOCHS
    hidden = [key for key in request.knobs if key in _HIDDEN_KNOBS]
    if hidden:
        raise UsageError(f"{hidden[0]} is chosen above, not among the other settings")
    return Config().replace(changes | dict(request.knobs))


def choose_run_name(request: TrainRequest, config: Config, workspace: Workspace) -> str:
    """A free name for the run; UsageError if the requested one is not valid."""
    name = request.name.strip()
    bad = set(name) & set('/\\:*?"<>|') or not name.isprintable() or name.startswith(".")
    if bad or len(name) > _MAX_NAME_CHARACTERS:
        raise UsageError(
            f"a run is called by up to {_MAX_NAME_CHARACTERS} plain characters, without "
            f'/ \\ : * ? " < > | and no dot at its beginning. Received: {name[:40]!r}'
        )
    return free_name(workspace.runs, name or f"{workspace.root.name}-{config.model.name}")


def command_arguments(config: Config, output: Path) -> list[str]:
    """The command, as after `sharpeye`: each setting that differs from its default."""
    arguments = ["train", config.data.folder, "--output", str(output)]
    for (key, _, value), (_, _, default) in zip(
        iter_knobs(config), iter_knobs(Config()), strict=True
    ):
        if key != "data.folder" and value != default:
            arguments += ["--set", f"{key}={literal(value)}"]
    return arguments


def list_knobs() -> list[dict[str, Any]]:
    """Every knob with its help, range and default, in the order of the configuration."""
    knobs = []
    for key, item, default in iter_knobs(Config()):
        if key in _HIDDEN_KNOBS:
            continue
        low, high = item.metadata["limits"] or (None, None)
        knobs.append(
            {
                "key": key,
                "help": item.metadata["help"],
                "kind": type(default).__name__,
                "default": default,
                "low": low,
                "high": high,
                "choices": list(item.metadata["choices"]),
            }
        )
    return knobs
