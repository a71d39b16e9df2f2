"""The two ways to a model: a head on a frozen network, or a network from scratch."""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import TEMPORARY_PREFIX, atomic_path
from sharpeye.core.types import Filter, InputSpec, ResizeMode, SampleSet
from sharpeye.errors import DataError, DivergedError
from sharpeye.jobs.train.finetune import fine_tune
from sharpeye.jobs.train.localize import learn_boxes
from sharpeye.jobs.train.prepare import FitResult, OnSamples, Progress
from sharpeye.jobs.train.progress_log import ProgressLog
from sharpeye.jobs.train.scratch import learn_from_scratch, write_box_head, write_features
from sharpeye.jobs.train.transfer import learn
from sharpeye.learn.heads.sgd import StepCallback
from sharpeye.learn.nets.loop import FittedNetwork, OnEpoch, Row
from sharpeye.models.backbone import BackboneConfig, load_backbone, weight_loader
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.rundir import RunDir, read_csv

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """What was learned, and the frozen graph that its head stands on.

    Attributes:
        box_head: ONNX from the backbone's `maps` to `box`; None where the backbone says `box`
            itself, or no boxes are learned.
        trained: whether the graph itself learned from these images, not the head alone.
        leftovers: files and folders that are of no use when the run is finished.
    """

    learned: FitResult
    backbone: Backbone
    leftovers: tuple[Path, ...] = ()
    box_head: Path | None = None
    trained: bool = False

    def clear(self) -> None:
        """Delete the leftovers."""
        for path in self.leftovers:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)


def transferred(
    run_dir: RunDir,
    samples: SampleSet,
    config: Config,
    progress: Progress | None,
    watchers: Sequence[StepCallback],
) -> TrainedModel:
    """Learn a head on a frozen network."""
    started = time.perf_counter()
    source = BackboneConfig.from_config(config, maps=config.task == "localize")
    backbone = load_backbone(source, log.info)
    prepared = time.perf_counter() - started
    learned = learn(samples, backbone, config, _recorder(run_dir, config), progress, watchers)
    if not backbone.graph_file.exists():  # the cache was cleared meanwhile: it is made again
        backbone = load_backbone(source)
    learned = replace(learned, seconds={"backbone": prepared, **learned.seconds})
    frozen, net = TrainedModel(learned, backbone), None
    if config.task == "localize":
        frozen, net = _localized(run_dir, frozen, config, progress)
    if not config.finetune.epochs:
        return frozen
    return _fine_tuned(run_dir, frozen, net, source, config, progress)


def _localized(
    run_dir: RunDir, frozen: TrainedModel, config: Config, progress: Progress | None
) -> tuple[TrainedModel, FittedNetwork]:
    """Learn a head that finds boxes on the frozen network's maps."""
    maps = run_dir.file(f"{TEMPORARY_PREFIX}maps.npy")
    head = run_dir.file(f"{TEMPORARY_PREFIX}box_head.onnx")
    checkpoints = run_dir.file(layout.CHECKPOINTS) / "box"
    earlier = _earlier(run_dir, frozen.learned, "box")
    with ProgressLog(run_dir, config.localize.epochs, progress, earlier) as live:
        learned, net = learn_boxes(
            frozen.learned,
            frozen.backbone,
            config,
            maps_file=maps,
            progress=progress,
            on_epoch=_keeping(run_dir, live),
            checkpoints=checkpoints,
            resume=run_dir.resumed,
        )
    maps.unlink()
    write_box_head(net, head)
    return TrainedModel(learned, frozen.backbone, (checkpoints.parent, head), head), net


def _fine_tuned(
    run_dir: RunDir,
    frozen: TrainedModel,
    box_head: FittedNetwork | None,
    source: BackboneConfig,
    config: Config,
    progress: Progress | None,
) -> TrainedModel:
    """Train the network itself on, and take it if that helps."""
    learned, backbone = frozen.learned, frozen.backbone
    checkpoints = run_dir.file(layout.CHECKPOINTS)
    earlier = _earlier(run_dir, learned, "fine-tune")
    with ProgressLog(run_dir, config.finetune.epochs, progress, earlier) as live:
        learned, net = fine_tune(
            learned,
            backbone,
            get_spec(source.name),
            weight_loader(source),
            config,
            box_head=box_head,
            progress=progress,
            on_material=live.images,
            on_epoch=_keeping(run_dir, live),
            checkpoints=checkpoints,
            resume=run_dir.resumed,
        )
    if net is None:
        return replace(frozen, learned=learned, leftovers=(*frozen.leftovers, checkpoints))
    tuned = _written(run_dir, learned, net, backbone.name, backbone.input)
    return replace(tuned, leftovers=(*frozen.leftovers, *tuned.leftovers))


def from_scratch(
    run_dir: RunDir,
    samples: SampleSet,
    config: Config,
    progress: Progress | None,
    watchers: Sequence[StepCallback],
) -> TrainedModel:
    """Learn a whole network. What a stopped run has learned stays, to be gone on with."""
    spec, size = get_spec(config.model.name), input_of(config)
    checkpoints = run_dir.file(layout.CHECKPOINTS)
    history = run_dir.file(layout.HISTORY)
    earlier = read_csv(history) if history.exists() else []
    planned = 0 if config.train.time_limit else config.train.epochs
    with ProgressLog(run_dir, planned, progress, earlier) as live:
        try:
            learned, net = learn_from_scratch(
                samples,
                spec,
                size,
                config,
                _recorder(run_dir, config),
                folder=checkpoints,
                resume=run_dir.resumed,
                progress=progress,
                on_material=live.images,
                on_epoch=_keeping(run_dir, live),
            )
        except DivergedError:
            run_dir.keep = False
            raise
        graph = net.engine.graph()
        if graph is not None:
            live.graph(graph)
    return _written(run_dir, learned, net, spec.name, size)


def _earlier(run_dir: RunDir, learned: FitResult, stage: str) -> list[Row]:
    """What `history.csv` holds already: what was learned so far, and a stopped run's epochs."""
    file = run_dir.file(layout.HISTORY)
    stopped = read_csv(file) if run_dir.resumed and file.exists() else []
    return [*learned.head.history, *(row for row in stopped if row.get("stage") == stage)]


def _keeping(run_dir: RunDir, live: ProgressLog) -> OnEpoch:
    """Tell of each epoch; once there is a checkpoint, a run that is stopped keeps its files."""

    def on_epoch(row: Row) -> None:
        live.epoch(row)
        run_dir.keep = run_dir.keep or run_dir.file(layout.CHECKPOINTS).exists()

    return on_epoch


def _written(
    run_dir: RunDir, learned: FitResult, net: FittedNetwork, name: str, size: InputSpec
) -> TrainedModel:
    features = run_dir.file(f"{TEMPORARY_PREFIX}features.onnx")
    backbone = write_features(net, name, size, features)
    with atomic_path(run_dir.file(layout.KERAS_MODEL)) as temporary:
        net.model.save(temporary)
    leftovers = (features, run_dir.file(layout.CHECKPOINTS))
    return TrainedModel(learned, backbone, leftovers, trained=True)


def input_of(config: Config) -> InputSpec:
    """How images are brought to a network that is learned from scratch."""
    spec, wanted = get_spec(config.model.name), config.model
    side = wanted.image_size
    sized = replace(spec.input, height=side, width=side) if side else spec.input
    return replace(
        sized,
        fit=cast(ResizeMode, wanted.fit),
        filter=cast(Filter, wanted.filter),
        channels=1 if config.net.color == "grey" else 3,
    )


def _recorder(run_dir: RunDir, config: Config) -> OnSamples:
    def record(samples: SampleSet) -> None:
        if run_dir.resumed and run_dir.file(layout.CHECKPOINTS).exists():
            _require_same_images(run_dir, samples)
        run_dir.write_samples(samples)
        run_dir.keep = run_dir.keep or (config.data.strict and bool(samples.rejected))

    return record


def _require_same_images(run_dir: RunDir, samples: SampleSet) -> None:
    """Refuse to go on with other images than those that a network has learned from.

    Raises:
        DataError: some were added, changed, renamed or taken away.
    """
    file = run_dir.file(layout.SPLIT)
    columns = ("path", "label", "part", "sha256")
    before = {tuple(row[c] for c in columns) for row in read_csv(file)} if file.exists() else set()
    now = {(s.path, s.label, str(s.split), s.sha256) for s in samples}
    changed = sorted({found[0] for found in before ^ now})
    if before and changed:
        raise DataError(
            f"the pictures are not those that the run in {run_dir.path} was begun with: "
            f"{len(changed)} differ, such as {changed[0]}; bring them back, or leave --resume out"
        )
