"""Hostile models, made here: each is refused in one line with exit code 4, and touches nothing."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_folders
import hostile_onnx
import numpy as np
import pytest
from good_model import GoodModel, make_good_model, with_digest
from onnx import helper

import sharpeye
from runner import one_line
from sharpeye.artefact.archive import read_archive, write_archive
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.errors import ModelError

if sys.platform == "win32":
    pytest.skip("pipes and resource limits are those of POSIX", allow_module_level=True)

NAMES = [*hostile_onnx.CASES, *hostile_folders.CASES]
MAX_SECONDS, MAX_MIB = 10, 300
GOOD = ("good", "good.onnx", "good.sharpeye")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def good(folder: Path) -> GoodModel:
    return make_good_model(folder)


@pytest.fixture(scope="module")
def hostile(good: GoodModel, folder: Path) -> dict[str, Path]:
    """All hostile models, each in a folder of its own."""
    paths = {}
    for name, make in {**hostile_onnx.CASES, **hostile_folders.CASES}.items():
        model_folder = folder / "models" / name.partition(".")[0]
        model_folder.mkdir(parents=True)
        paths[name] = make(good, model_folder / name) or model_folder / name
    return paths


@pytest.fixture(scope="module")
def results(good: GoodModel, hostile: dict[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """For each model, what `sharpeye predict` printed in one process, and what it did."""
    program = [sys.executable, str(Path(__file__).with_name("hostile_child.py"))]
    valid = [str(folder / name) for name in GOOD]
    done = subprocess.run(
        [*program, *valid, str(folder / "nothing"), "--", str(folder / "picture.png")]
        + [str(path) for path in hostile.values()],
        env=os.environ | {"SHARPEYE_CACHE": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["model"] for line in lines] == [str(path) for path in hostile.values()]
    return dict(zip(hostile, lines, strict=True))


def test_there_are_more_than_150_and_no_two_are_the_same(hostile: dict[str, Path]) -> None:
    assert len(hostile) > 150
    assert len(set(NAMES)) == len(NAMES) == len(hostile)
    contents = [
        path.read_bytes()
        for path in hostile.values()
        if path.is_file() and path.stat().st_size < 2**24
    ]
    assert len(set(contents)) >= len(contents) - 4  # links to the canary, and empty files


@pytest.mark.parametrize("name", GOOD)
def test_the_model_that_they_are_made_from_is_valid(
    name: str, good: GoodModel, folder: Path
) -> None:
    prediction = sharpeye.load(folder / name).predict(folder / "picture.png")
    assert prediction.label in ("ash", "birch", "cedar")
    assert run(["predict", str(folder / name), str(folder / "picture.png")]) == 0


def test_a_spoiled_graph_has_nothing_else_wrong(good: GoodModel, tmp_path: Path) -> None:
    """The nodes around a bomb are accepted, and so is a bomb without its charge."""
    import onnx

    harmless = (
        [helper.make_node("Identity", ["one"], ["odd"])],
        [helper.make_node("MatMul", ["tall", "wide"], ["odd"])],
        [helper.make_node("Concat", ["one", "one"], ["odd"], axis=0)],
        [
            helper.make_node("Range", ["start", "stop", "step"], ["long"]),
            helper.make_node("Cast", ["long"], ["odd"], to=1),
        ],
    )
    for nodes in harmless:
        model = onnx.load_from_string(good.model)
        constants = {
            "tall": np.ones((9, 1), np.float32),
            "wide": np.ones((1, 9), np.float32),
            "start": np.array(0),
            "stop": np.array(9),
            "step": np.array(1),
        }
        hostile_onnx.spoil(model, nodes, constants)
        (tmp_path / "harmless.onnx").write_bytes(with_digest(model))
        opened = open_model(tmp_path / "harmless.onnx")
        pixels = np.zeros((3, 16, 16, 3), np.uint8)
        assert opened.run(pixels)["probs"].shape == (3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_model_is_refused_in_one_line_and_touches_nothing_but_itself(
    name: str, results: dict[str, dict[str, Any]], hostile: dict[str, Path], folder: Path
) -> None:
    result = results[name]
    assert result["code"] == 4, result
    line = one_line(result["err"])
    assert line.startswith("error: ")
    assert str(hostile[name]) in line
    assert len(line) < 700 + len(str(hostile[name]))
    assert result["out"] == ""
    assert result["seconds"] < MAX_SECONDS
    assert result["grown_mib"] < MAX_MIB

    model_folder = Path(os.path.realpath(hostile[name].parent))
    for event, argument in result["events"]:
        if argument == os.devnull:  # in place of a standard stream that is closed
            continue
        assert event == "read", (event, argument)
        is_model = Path(argument).is_relative_to(model_folder)
        assert is_model or argument == str(folder / "picture.png"), argument
    # No hook sees the runtime itself: it gets only models that passed the checks.
    assert result["sessions"] == (name in hostile_onnx.AT_RUN)


def test_the_canary_is_unchanged(
    results: dict[str, dict[str, Any]], good: GoodModel, folder: Path
) -> None:
    assert good.canary.read_text() == "a secret"
    names = {path.name for path in folder.iterdir()}
    assert names == {*GOOD, "models", "canary.txt", "picture.png"}


def test_the_hook_records_what_it_should(folder: Path, good: GoodModel) -> None:
    """Otherwise the tests above would prove nothing."""
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import hostile_child as child
sys.addaudithook(child.watch)
child.watching = True
import os, pickle, socket, subprocess
open(sys.argv[2]).close()
open(sys.argv[2], "a").close()
socket.socket().close()
subprocess.run(["true"])
os.system("true")
pickle.loads(b"cos\\ngetcwd\\n.")
exec("1")
child.watching = False
recorded = {event for event, _ in child.events}
assert ("read", sys.argv[2]) in child.events and ("write", sys.argv[2]) in child.events
expected = {"import", "socket.__new__", "subprocess.Popen", "os.system", "pickle.find_class"}
assert expected | {"exec"} <= recorded, recorded
"""
    touched = folder / "models" / "touched"
    touched.parent.mkdir(exist_ok=True)
    touched.touch()
    tests = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", program, tests, str(touched)], check=True)
    touched.unlink()


def test_no_flipped_bit_or_cut_leads_to_another_error(good: GoodModel, tmp_path: Path) -> None:
    """Damaged files are refused, except where only a weight changed."""
    random, opened = np.random.default_rng(0), 0
    for suffix, data in ((".onnx", good.model), (".sharpeye", good.archive)):
        file = tmp_path / f"flipped{suffix}"
        for position in random.integers(0, len(data), 300):
            changed = bytearray(data)
            changed[position] ^= 1 << int(random.integers(8))
            if position % 10 == 0:
                del changed[position:]
            file.write_bytes(changed)
            try:
                open_model(file)
                opened += 1
            except ModelError as error:
                assert str(file) in one_line(str(error))
    assert opened < 150  # weights and names of an `.onnx` file that has no digest


# --- other ways of opening a model ---------------------------------------------------------------

SOME = ("op_custom.onnx", "bomb_range.onnx", "run_model_link_outside", "zip_quoted.sharpeye")
SOME += ("pipe.onnx", "run_json_pipe", "external_parent.onnx", "manifest_newer.onnx")


@pytest.mark.parametrize("name", SOME)
def test_the_python_api_raises_a_model_error(name: str, hostile: dict[str, Path]) -> None:
    with pytest.raises(ModelError) as caught:
        sharpeye.load(hostile[name])
    assert str(hostile[name]) in one_line(str(caught.value))


@pytest.mark.parametrize("name", SOME)
def test_a_server_does_not_start(
    name: str, hostile: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(hostile[name]), "--port", "0"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert str(hostile[name]) in one_line(err)


@pytest.mark.parametrize("name", SOME[:4])
def test_a_hostile_model_is_not_exported_or_evaluated(
    name: str, hostile: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(["export", str(hostile[name]), "--format", "onnx", "--output", str(out)]) == 4
    assert run(["evaluate", str(hostile[name]), str(tmp_path)]) == 4
    assert not out.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["pictures"][0].update(probs=[0.0, 0.0, 1.0]),
        lambda raw: raw["pictures"][0].update(probs=[1.0]),
        lambda raw: raw["pictures"][0].update(probs="all"),
        lambda raw: raw["pictures"][0].update(probs=[10**400, 0, 0]),
        lambda raw: raw["pictures"][0].update(probs=[math.nan] * 3),
        lambda raw: raw["pictures"][0].update(box=[10**400, 0, 0, 0]),
        lambda raw: raw["pictures"][0].update(file="../canary.txt"),
        lambda raw: raw["pictures"][0].update(file=7),
        lambda raw: raw.update(pictures=7),
        lambda raw: raw.clear(),
    ],
)
def test_a_bundle_with_wrong_expected_outputs_is_refused(
    change: Any,
    folder: Path,
    good: GoodModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    members = dict(read_archive(folder / "good.sharpeye").members)
    raw = json.loads(members["samples/expected.json"])
    change(raw)
    members["samples/expected.json"] = json.dumps(raw).encode()
    file = tmp_path / "wrong.sharpeye"
    write_archive(file, members, good.record)
    assert run(["export", str(file), "--verify"]) == 4
    one_line(capsys.readouterr().err)


def test_a_link_to_a_whole_run_is_followed(folder: Path, good: GoodModel, tmp_path: Path) -> None:
    """The user chose the path that was given; the content of a run was chosen by others."""
    (tmp_path / "latest").symlink_to(folder / "good")
    (tmp_path / "latest.onnx").symlink_to(folder / "good.onnx")
    for name in ("latest", "latest.onnx"):
        assert open_model(tmp_path / name).manifest.labels == ("ash", "birch", "cedar")
