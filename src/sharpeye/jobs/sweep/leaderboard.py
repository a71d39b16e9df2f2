"""Write the result files of a sweep, and keep the weights of the best trials."""

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.config_paths import locate
from sharpeye.core.formatting import plain_percent
from sharpeye.core.paths import command_line
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import write_text
from sharpeye.core.types import SPLITS, SampleSet
from sharpeye.data.summary import dataset_name
from sharpeye.errors import DivergedError, SharpEyeError, UsageError
from sharpeye.jobs.sweep.plan import Plan, short_key
from sharpeye.jobs.sweep.plan_text import plan_command
from sharpeye.jobs.sweep.study import Study
from sharpeye.jobs.sweep.worker import TRIALS
from sharpeye.report.sweep_charts import Knob, TrialRow
from sharpeye.report.sweep_page import SweepData, render_sweep
from sharpeye.runs import layout, provenance
from sharpeye.runs.run_directory import ResultWriter

log = logging.getLogger(__name__)

LEADERBOARD, WINNER, BEST = "leaderboard.csv", "winner.toml", "best"


class Leaderboard:
    """Writes `leaderboard.csv`, `report.html` and `winner.toml`, and deletes weights.

    Args:
        keep: number of best trials whose weights are kept.

    Attributes:
        rows: all trials, the best first, as of the last `update`.
    """

    def __init__(self, folder: Path, study: Study, samples: SampleSet, *, keep: int) -> None:
        self.folder, self._study, self._samples, self._keep = folder, study, samples, keep
        self.rows: list[TrialRow] = []
        self._finished: set[str] | None = None

    def update(self, progress: StageProgress | None) -> None:
        """Log the trials that have ended since the last call, and update the files."""
        self.rows = self._study.rows()
        finished = {r.name for r in self.rows if r.state in ("complete", "pruned", "failed")}
        if finished == self._finished:
            return
        if self._finished is not None:
            for row in self.rows:
                if row.name in finished - self._finished:
                    log.info("%s: %s", row.name, describe_trial(row))
        self._finished = finished
        if progress:
            progress("trials", len(finished), len(self.rows))
        self.write()

    def write(self, *, tested: bool = False) -> None:
        """Write the table and the report; `tested`: the winner was trained again, and tested."""
        plan = self._study.plan
        failed, notes = [row for row in self.rows if row.state == "failed"], []
        if failed:
            count, first = f"{len(failed)} of {len(self.rows)}", failed[0]
            notes = [f"{count} trials failed, such as {first.name}: {first.reason}"]
        best = [row.name for row in self.rows if row.state == "complete"][: self._keep]
        # A trial that was queued when the rows were read may already have weights.
        ended = {row.name for row in self.rows if row.state not in ("running", "waiting")}
        for name in ended.difference(best):
            shutil.rmtree(self.folder / TRIALS / name / layout.CHECKPOINTS, ignore_errors=True)
        self._write_table()
        data = SweepData(
            title=dataset_name(locate(plan.base, plan.base.data.folder)),
            summary=_sweep_details(plan, self._samples),
            rows=self.rows,
            knobs=_knobs(plan),
            share=plan.rank_by == "accuracy",
            notes=notes,
            commands=_commands(plan, self.folder, best, tested=tested),
            tested=tested,
        )
        write_text(self.folder / layout.REPORT, render_sweep(data))

    def _write_table(self) -> None:
        keys = self._study.plan.keys
        header = ["rank", "name", *keys, "validation_log_loss", "validation_accuracy"]
        header += ["best_epoch", "epochs", "state", "seconds", "reason"]
        table, rank = [], 0
        for row in self.rows:
            scores = [row.log_loss, row.accuracy, row.best_epoch] if row.best_epoch else [None] * 3
            rank += bool(row.best_epoch)
            values = [row.params.get(key) for key in keys]
            seconds = row.seconds if math.isfinite(row.seconds) else None
            end = [row.epochs, row.state, seconds, row.reason]
            table.append([rank if row.best_epoch else None, row.name, *values, *scores, *end])
        ResultWriter(self.folder).write_csv(LEADERBOARD, header, table)

    def finish(self, *, time_limit: float | None = None) -> Config:
        """Write all files again, and the winner's configuration.

        Args:
            time_limit: seconds of the sweep, for messages.

        Raises:
            UsageError: the time limit came before the first epoch of any trial.
            DivergedError: no trial gave a result.
        """
        self.write()
        best = next((row for row in self.rows if row.best_epoch), None)
        if best is None:
            raise self._without_result(time_limit)
        if best.state != "complete":
            log.warning("no trial was trained to its end: %s was the best so far", best.name)
        winner = self._study.plan.base.replace(best.params)
        write_text(self.folder / WINNER, winner.to_toml())
        return winner

    def _without_result(self, time_limit: float | None) -> SharpEyeError:
        failed = [row for row in self.rows if row.state == "failed"]
        if time_limit is not None and not failed:
            return UsageError(
                f"the time limit came before any trial of the sweep in {self.folder} had trained "
                "an epoch; give more time, and the same command goes on. Received: --time-limit "
                f"{time_limit:g}s"
            )
        why = f"; the first: {failed[0].reason}" if failed else ""
        return DivergedError(f"no trial of the sweep in {self.folder} gave a result{why}")


def describe_trial(row: TrialRow) -> str:
    if not row.best_epoch:
        return f"{row.state}, {row.reason}" if row.reason else row.state
    ending = "" if row.state == "complete" else f", {row.state} after epoch {row.epochs}"
    return (
        f"validation log loss {row.log_loss:.4f}, accuracy {plain_percent(row.accuracy)} "
        f"at epoch {row.best_epoch}{ending}"
    )


def _sweep_details(plan: Plan, samples: SampleSet) -> list[tuple[str, str]]:
    counts = [sum(1 for sample in samples if sample.split == split) for split in SPLITS]
    search = f"TPE search of {plan.trials} trials" if plan.trials else f"grid of {plan.count}"
    pruning = "ended early where they fall behind" if plan.prune else "each trained to its end"
    return [
        ("Data", f"{len(samples):,} images in {len(samples.class_names)} classes"),
        ("Parts", "{:,} train, {:,} validation, {:,} test".format(*counts)),
        ("Model", plan.base.model.name),
        ("Sweep", f"{search}, {plan.base.train.epochs} epochs, {pruning}"),
        ("Written", provenance.now().replace("T", " ").replace("Z", " UTC")),
        ("Machine", provenance.machine()),
        ("Seed", str(plan.base.seed)),
    ]


def _knobs(plan: Plan) -> list[Knob]:
    choices = [Knob(key, short_key(key), values) for key, values in plan.grid.items()]
    return choices + [
        Knob(key, short_key(key), low=limits.low, high=limits.high, log=limits.log)
        for key, limits in plan.ranges.items()
    ]


def _commands(
    plan: Plan, folder: Path, best: Sequence[str], *, tested: bool
) -> list[tuple[str, str]]:
    train = command_line("sharpeye", "train", "--config", folder / WINNER)
    predict = command_line("sharpeye", "predict", folder / BEST, "PICTURE")
    curves = command_line("tensorboard", "--logdir", folder / layout.TENSORBOARD)
    return [
        ("Ask the best one about an image", predict)
        if tested
        else ("Train the best one, and test it", train),
        *(("Make a run of a kept trial", _resume(folder, name)) for name in best[:1]),
        ("Compare all curves", curves),
        ("Run the same sweep again", plan_command(plan, folder.with_name(f"{folder.name}-2"))),
    ]


def _resume(folder: Path, trial: str) -> str:
    return command_line("sharpeye", "train", "--resume", "--output", folder / TRIALS / trial)
