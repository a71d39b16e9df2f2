"""Say which of the changed knobs have no effect on a training, and what would use them."""

from collections.abc import Iterable, Iterator

from sharpeye.core.config import Config, changed_knobs
from sharpeye.models.registry import get_spec

# How the options of `sharpeye train` are typed.
_OPTIONS = {
    "train.epochs": "--epochs",
    "train.batch_size": "--batch-size",
    "train.learning_rate": "--learning-rate",
    "train.time_limit": "--time-limit",
    "train.keep_checkpoints": "--keep-checkpoints",
    "finetune.epochs": "--fine-tune",
    "head.views": "--views",
    "data.box_choice": "--box-choice",
    "distill.teacher": "--teacher",
}
_BOX_HEAD = {"box_views", "epochs", "batch_size", "learning_rate"}
# The knobs of [train] that the box head on a frozen network takes; see `fit_box_head`.
_TRAINS_BOX_HEAD = {"accumulate", "clip_norm", "ema", "epsilon", "warmup"}
_RAND_AUGMENT = {"augment.policy_magnitude", "augment.policy_operations"}
_FROZEN = (
    "{model} keeps its pretrained weights; --fine-tune N trains it further, "
    "--weights none from scratch"
)
_SCRATCH = "{model} is trained from scratch; --weights imagenet fits a head on a pretrained network"


def unused_knobs(config: Config) -> list[str]:
    """A sentence for each reason for which changed knobs of a resolved configuration are unused."""
    return explain_unused(config, changed_knobs(config))


def explain_unused(config: Config, keys: Iterable[str]) -> list[str]:
    """A sentence for each reason for which some of the knobs are unused."""
    by_reason: dict[str, list[str]] = {}
    for key in keys:
        reason = next(_reasons(config, key), "")
        if reason:
            option = f" ({_OPTIONS[key]})" if key in _OPTIONS else ""
            by_reason.setdefault(reason, []).append(key + option)
    return [
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not used: "
        f"{reason.format(model=config.model.name)}"
        for reason, names in by_reason.items()
    ]


def _reasons(config: Config, key: str) -> Iterator[str]:
    section, _, name = key.rpartition(".")
    if config.from_scratch:
        yield from _reasons_from_scratch(config, key)
    else:
        yield from _reasons_pretrained(config, key)
    if config.task != "localize" and section == "localize":
        yield "--task localize uses it"
    reads_boxes = config.task == "localize" or config.data.label_from == "xml"
    if key == "data.box_choice" and not reads_boxes:
        yield "no Pascal VOC files are read; --task localize and --label-from xml do so"
    if section == "train":
        yield from _reasons_of_optimizer(config, name)
    if key in _RAND_AUGMENT and config.augment.policy != "rand":
        yield "--set augment.policy=rand uses it"


def _reasons_from_scratch(config: Config, key: str) -> Iterator[str]:
    section, _, name = key.rpartition(".")
    if section in ("head", "sgd", "distort", "finetune"):
        yield _SCRATCH
    if key in ("data.features_folder", "model.weights_folder"):
        yield _SCRATCH
    if section == "localize" and config.task == "localize":
        if name in _BOX_HEAD:
            yield _SCRATCH
        if name == "channels" and get_spec(config.model.name).body:
            yield "{model} predicts boxes from its features, without such channels"
    if section == "distill" and not config.distill.teacher:
        yield "--teacher RUN uses it"


def _reasons_pretrained(config: Config, key: str) -> Iterator[str]:
    section, _, name = key.rpartition(".")
    tuned, uses_sgd = config.finetune.epochs > 0, config.head.solver == "sgd"
    if section == "train":
        yield from _reasons_of_training(config, name)
    if section == "net" and not (tuned and name == "dropout"):
        yield _FROZEN
    if section == "augment" and not tuned:
        yield _FROZEN
    if section == "distill":
        yield "{model} begins with pretrained weights; --weights none trains it with a teacher"
    if section == "finetune" and not tuned:
        yield "--fine-tune N uses it"
    if key == "localize.class_weight" and config.task == "localize" and not tuned:
        yield "only boxes are learned by gradient descent; --fine-tune N learns both, and uses it"
    if section == "head" and name != "solver" and uses_sgd:
        yield "head.solver = sgd takes sgd.* and distort.* instead"
    if section == "sgd" and not uses_sgd:
        yield "--set head.solver=sgd uses it"
    if key == "distort.views" and not config.distort.active:
        yield "distort.flip, crop, scale and brightness make the views, and all are off"


def _reasons_of_training(config: Config, name: str) -> Iterator[str]:
    """Of a knob of `[train]`, which fine-tuning and the box head read, too."""
    if config.task == "localize" and name in _TRAINS_BOX_HEAD:
        return
    if not config.finetune.epochs:
        yield _FROZEN
    elif name == "initial_weights":
        yield "{model} begins with pretrained weights; --weights RUN begins with those of a run"
    elif name in {*vars(config.finetune), "optimizer", "schedule", "label_smoothing"}:
        yield "fine-tuning has settings of its own: finetune.*"


def _reasons_of_optimizer(config: Config, name: str) -> Iterator[str]:
    tuned = not config.from_scratch
    optimizer = "adamw" if tuned else config.train.optimizer
    schedule = "onecycle" if tuned else config.train.schedule
    has_epsilon = optimizer in ("adam", "adamw")
    if (name == "momentum" and optimizer != "sgd") or (name == "epsilon" and not has_epsilon):
        yield f"the optimizer {optimizer} has no {name}"
    if name == "weight_decay" and optimizer == "adam":
        yield "the optimizer adam has no weight decay; --set train.optimizer=adamw has"
    if name in ("decay", "decay_steps") and schedule != "exponential":
        yield f"the schedule {schedule} takes warmup, not decay"
    if name == "warmup" and schedule in ("exponential", "constant"):
        yield f"the schedule {schedule} has no warmup"
