"""Choices on the page Train become a configuration and a command."""

from pathlib import Path

import pytest

from localizer import scenes
from sharpeye.core.config import Config, parse_settings
from sharpeye.errors import ConfigError, UsageError
from sharpeye.jobs.train.resolve import resolve
from sharpeye.studio.train_request import (
    PRESETS,
    TASKS,
    TrainRequest,
    build_config,
    choose_run_name,
    command_arguments,
    list_knobs,
    parse_train_request,
)
from sharpeye.studio.workspace import Workspace


@pytest.fixture
def workspace(photo_folder: Path, tmp_path: Path) -> Workspace:
    return Workspace(photo_folder, tmp_path / "runs")


def test_quick_is_the_default_of_the_command_line(workspace: Workspace) -> None:
    config = build_config(TrainRequest(), workspace)
    assert config == Config().replace({"data.folder": str(workspace.root)})
    output = workspace.runs / "photos-efficientnet_lite0"
    arguments = command_arguments(config, output)
    assert arguments == ["train", str(workspace.root), "--output", str(output)]


@pytest.mark.parametrize("way", PRESETS)
@pytest.mark.parametrize("minutes", [0, 5])
@pytest.mark.parametrize("task", TASKS)
def test_the_command_means_the_same_as_the_request(
    workspace: Workspace, way: str, minutes: int, task: str
) -> None:
    request = TrainRequest(task, way, minutes, {"seed": 3, "head.views": 2, "data.balance": "none"})
    config = build_config(request, workspace)
    resolve(config)
    arguments = command_arguments(config, workspace.runs / "x")
    settings = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--set"]
    parsed = Config().replace(parse_settings(settings) | {"data.folder": arguments[1]})
    assert parsed == config
    assert config.head.views == 2
    assert config.train.time_limit == (0 if way == "quick" else 60 * minutes)


def test_a_flat_folder_learns_its_classes_from_xml(tmp_path: Path) -> None:
    flat = Workspace(scenes(tmp_path / "scenes", 2), tmp_path / "runs")
    assert build_config(TrainRequest("classify"), flat).data.label_from == "xml"
    assert build_config(TrainRequest("localize"), flat).data.label_from == "auto"


def test_names_of_runs(workspace: Workspace) -> None:
    config = build_config(TrainRequest(), workspace)
    assert choose_run_name(TrainRequest(), config, workspace) == "photos-efficientnet_lite0"
    (workspace.runs / "photos-efficientnet_lite0").mkdir(parents=True)
    assert choose_run_name(TrainRequest(), config, workspace) == "photos-efficientnet_lite0-2"
    assert choose_run_name(TrainRequest(name=" mine "), config, workspace) == "mine"
    for name in ("../out", ".hidden", "a\nb", "x" * 81, "a/b", "c:d"):
        with pytest.raises(UsageError, match="plain characters"):
            choose_run_name(TrainRequest(name=name), config, workspace)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "train",
        {"way": "fast"},
        {"task": "segment"},
        {"minutes": "5"},
        {"minutes": -1},
        {"minutes": 1e9},
        {"knobs": []},
        {"name": 3},
        {"folder": "/"},
    ],
)
def test_invalid_requests(raw: object) -> None:
    with pytest.raises(UsageError):
        parse_train_request(raw)


def test_the_folder_and_the_task_are_no_knobs(workspace: Workspace) -> None:
    for key in ("data.folder", "task"):
        with pytest.raises(UsageError, match=key):
            build_config(TrainRequest(knobs={key: "x"}), workspace)
    with pytest.raises(ConfigError, match="unknown key"):
        build_config(TrainRequest(knobs={"train.learnig_rate": 1}), workspace)


def test_every_knob_is_described(workspace: Workspace) -> None:
    known = {knob["key"]: knob for knob in list_knobs()}
    assert {"seed", "model.name", "train.epochs", "unknown.coverage"} <= set(known)
    assert known["data.balance"]["choices"][0] == "weights"
    assert (known["seed"]["kind"], known["augment.flip"]["kind"]) == ("int", "bool")
    assert all(knob["help"] for knob in known.values())
