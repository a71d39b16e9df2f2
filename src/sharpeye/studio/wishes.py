"""What a person wishes of a training, in plain words, as a configuration and as a command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config
from sharpeye.core.knobs import iter_knobs, literal
from sharpeye.errors import UsageError
from sharpeye.studio.runs import free_name
from sharpeye.studio.workspace import Workspace

TASKS = ("classify", "localize")
# The ways are what differs from the defaults: a head on a frozen network.
WAYS: dict[str, dict[str, Any]] = {
    "quick": {},
    # Four views and some epochs over the network itself, which are kept only if they help.
    "careful": {"head.views": 4, "finetune.epochs": 5},
    # ResNet-9 at a quarter of its cost a pixel: photographs need more than CIFAR's 32 pixels.
    "scratch": {
        "model.name": "resnet_cifar",
        "model.weights": "none",
        "model.image_size": 64,
        "net.width": 32,
    },
}
# What the page chooses by itself.
_NOT_KNOBS = ("data.folder", "task")
_MAX_NAME = 80


@dataclass(frozen=True)
class TrainRequest:
    """A training that is wished for.

    Attributes:
        task: one of TASKS.
        way: one of WAYS.
        minutes: that the epochs may take; 0 for as long as it takes. Not for `quick`.
        knobs: further ones by dotted key.
        name: of the run; empty for the folder's and the model's.
    """

    task: str = "classify"
    way: str = "quick"
    minutes: float = 0
    knobs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


def read_wish(raw: Any) -> TrainRequest:
    """A wish from what the page sent.

    Raises:
        UsageError: it is none.
    """
    wish = raw if isinstance(raw, dict) else {"?": ""}
    kinds = {"task": str, "way": str, "minutes": (int, float), "knobs": dict, "name": str}
    for key, value in wish.items():
        if key not in kinds or not isinstance(value, kinds[key]):  # type: ignore[arg-type]
            raise UsageError(f"a training has {', '.join(kinds)}. Received: {str(key)[:40]}")
    made = TrainRequest(**wish)
    for name, value, allowed in (("task", made.task, TASKS), ("way", made.way, tuple(WAYS))):
        if value not in allowed:
            raise UsageError(f"{name} must be {' or '.join(allowed)}. Received: {value[:40]}")
    if not 0 <= made.minutes <= 10_000:
        raise UsageError(f"minutes must be from 0 to 10,000. Received: {made.minutes}")
    return made


def config_of(wish: TrainRequest, workspace: Workspace) -> Config:
    """All knobs of a wish.

    Raises:
        ConfigError: a knob is unknown or out of range, or does not go with another.
    """
    changes: dict[str, Any] = {"data.folder": str(workspace.root), "task": wish.task}
    if wish.task == "classify" and not workspace.classes():
        changes["data.label_from"] = "xml"
    changes |= WAYS[wish.way]
    if wish.minutes and wish.way != "quick":
        changes["train.time_limit"] = 60.0 * wish.minutes
    if wish.minutes and wish.way == "scratch":
        changes["train.epochs"] = 300  # as many of them as fit
    wrong = [key for key in wish.knobs if key in _NOT_KNOBS]
    if wrong:
        raise UsageError(f"{wrong[0]} is chosen above, not among the other settings")
    return Config().replace(changes | dict(wish.knobs))


def run_name(wish: TrainRequest, config: Config, workspace: Workspace) -> str:
    """A free name for the run.

    Raises:
        UsageError: the name that was wished for is none.
    """
    wanted = wish.name.strip() or f"{workspace.root.name}-{config.model.name}"
    if wish.name.strip():
        bad = set(wanted) & set('/\\:*?"<>|') or not wanted.isprintable()
        if bad or wanted.startswith(".") or len(wanted) > _MAX_NAME:
            raise UsageError(
                f"a run is called by up to {_MAX_NAME} plain characters, without "
                f'/ \\ : * ? " < > | and no dot at its beginning. Received: {wanted[:40]!r}'
            )
    return free_name(workspace.runs, wanted)


def arguments(config: Config, output: Path) -> list[str]:
    """The command, as after `sharpeye`: what differs from the defaults is said."""
    words = ["train", config.data.folder, "--output", str(output)]
    for (key, _, value), (_, _, default) in zip(
        iter_knobs(config), iter_knobs(Config()), strict=True
    ):
        if key != "data.folder" and value != default:
            words += ["--set", f"{key}={literal(value)}"]
    return words


def knobs() -> list[dict[str, Any]]:
    """Every knob with its help, range and default, in the order of the configuration."""
    found = []
    for key, item, value in iter_knobs(Config()):
        if key in _NOT_KNOBS:
            continue
        about = item.metadata
        found.append(
            {
                "key": key,
                "help": about["help"],
                "kind": type(value).__name__,
                "default": value,
                "low": about["low"],
                "high": about["high"],
                "choices": list(about["choices"]),
            }
        )
    return found
