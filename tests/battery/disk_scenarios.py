"""Commands that write, and what must hold when the disk fails: for full disks and permissions.

Each command gets a folder for its output, beside folders of inputs that it must not change.
"""

import csv
import io
import re
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from battery.tally import LossError
from runner import SMALL, hard_photos, temporaries, tree

# Files with a time, a duration or a random name in them: equal by name only.
_VARYING = {"README.md", "bundle.json", "history.csv", "metrics.json", "model.onnx", "report.html"}
_VARYING |= {
    "config.toml",
    "check.html",
    "sources.csv",
    "m.sharpeye",
    "m.onnx",
    "m.onnx.manifest.json",
}
_VARYING |= {"manifest.json", "study.db", "issues.json"}
# Files that a second attempt writes beside those of the first, and those to resume a run from.
_FURTHER = re.compile(r".*(events\.out.*|moved(-\d+)?\.csv|/checkpoints(/epoch-.*)?)")


@dataclass(frozen=True)
class Scenario:
    """A command that writes into the folder `{out}`.

    Attributes:
        command: its arguments, separated by spaces; see `Inputs` for the names in braces.
        needs: inputs that are copied into the output folder first, since the command moves them.
        undo: a command that takes back what the failed one has done, where it advises that.
        exact: whether it writes the same bytes again, except for files that hold a time.
    """

    command: str
    needs: tuple[str, ...] = ()
    undo: str = ""
    exact: bool = True

    def arguments(self, inputs: "Inputs", out: Path) -> list[str]:
        return _fill(self.command, inputs, out)

    def undo_arguments(self, inputs: "Inputs", out: Path) -> list[str]:
        return _fill(self.undo, inputs, out)

    def prepare(self, inputs: "Inputs", out: Path) -> None:
        for name in self.needs:
            source = inputs.folder / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, out / name)


@dataclass(frozen=True)
class Inputs:
    """`{photos}`, the same with two broken files as `{broken}`, `{archive}`, `{run}`, `{fixes}`."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, run: Path) -> "Inputs":
        """Write all inputs. `run` was trained on `hard_photos`."""
        folder.mkdir(parents=True)
        photos = hard_photos(folder / "photos")
        broken = Path(shutil.copytree(photos, folder / "broken"))
        whole = (photos / "ash" / "ash1.png").read_bytes()
        for name in ("ash/cut.png", "birch/cut2.png"):
            (broken / name).write_bytes(whole[: len(whole) // 2])
        with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
            for file in sorted((photos / "cedar").iterdir()):
                archive.write(file, f"cedar/{file.name}")
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("path", "label", "new_label"))
        writer.writerows((f"ash/ash{n}.png", "ash", "birch") for n in range(4))
        (folder / "fixes.csv").write_text(table.getvalue())
        shutil.copytree(run, folder / "run")
        return cls(folder)


def _fill(command: str, inputs: Inputs, out: Path) -> list[str]:
    names = {"photos": "photos", "broken": "broken", "archive": "archive.zip", "run": "run"}
    paths = {name: str(inputs.folder / file) for name, file in names.items()}
    paths |= {"fixes": str(inputs.folder / "fixes.csv"), "out": str(out), "small": " ".join(SMALL)}
    return command.format(**paths).split()


SCENARIOS = {
    "train": Scenario("train {photos} -o {out}/run {small} -q"),
    "train --overwrite": Scenario("train {photos} -o {out}/run {small} -q --overwrite", ("run",)),
    "evaluate": Scenario("evaluate {run} {photos} -o {out}/scores"),
    "export bundle": Scenario("export {run} -f bundle -o {out}/m.sharpeye"),
    "export onnx": Scenario("export {run} -f onnx -o {out}/m.onnx"),
    "export frozen_graph": Scenario("export {run} -f frozen_graph -o {out}/m.pb --no-parity"),
    "check": Scenario("check {broken} -o {out}/report"),
    "check --quarantine": Scenario(
        "check {out}/broken --quick --quarantine {out}/aside", ("broken",)
    ),
    "relabel --apply": Scenario(
        "relabel {out}/photos --apply {fixes} --undo-file {out}/undo.csv",
        ("photos",),
        undo="relabel {out}/photos --undo {out}/undo.csv",
    ),
    "relabel --copy": Scenario("relabel {photos} --apply {fixes} --copy {out}/fixed"),
    "augment": Scenario("augment {photos} {out}/more --random 1"),
    "collect import": Scenario("collect import {archive} {out}/classes/cedar"),
    "predict --draw": Scenario("predict {run} {photos}/ash --draw {out}/drawn"),
}


def check_contents(
    before: dict[str, str], out: Path, expected: dict[str, str], scenario: Scenario
) -> None:
    """What a failed command left: all that was there, and of its results only complete ones."""
    assert temporaries(out) == []
    after = tree(out)
    old, new = set(map(_content, before.values())), set(map(_content, after.values()))
    for name, text in before.items():
        if after.get(name) != text and _content(text) not in new:
            raise LossError(f"{name} was lost or changed")
    for name, text in after.items():
        is_result = name in expected and (_varies(name, scenario) or expected[name] == text)
        if not is_result and _content(text) not in old and not _FURTHER.fullmatch(name):
            raise LossError(f"{name} is left, and is not what it should be")


def check_result(out: Path, expected: dict[str, str], scenario: Scenario) -> None:
    """Fail unless the results are those of an undisturbed command."""
    after = tree(out)
    assert _names(after) == _names(expected), set(after) ^ set(expected)
    for name in _names(expected):
        assert _varies(name, scenario) or after[name] == expected[name], f"{name} differs"


def _varies(name: str, scenario: Scenario) -> bool:
    return not scenario.exact or Path(name).name in _VARYING


def _names(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not _FURTHER.fullmatch(name))


def _content(text: str) -> str:
    """The digest in an entry of `runner.tree`."""
    return text.split()[-1]
