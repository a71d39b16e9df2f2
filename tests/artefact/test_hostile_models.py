"""Hostile models, made here: each is refused in one line with exit code 4, and touches nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_folders
import hostile_onnx
import numpy as np
import pytest
from good_model import Kit, make_kit
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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def kit(place: Path) -> Kit:
    return make_kit(place)


@pytest.fixture(scope="module")
def hostile(kit: Kit, place: Path) -> dict[str, Path]:
    """All hostile models, each in a folder of its own."""
    made = {}
    for name, make in {**hostile_onnx.CASES, **hostile_folders.CASES}.items():
        folder = place / "models" / name.partition(".")[0]
        folder.mkdir(parents=True)
        made[name] = make(kit, folder / name) or folder / name
    return made


@pytest.fixture(scope="module")
def answers(kit: Kit, hostile: dict[str, Path], place: Path) -> dict[str, dict[str, Any]]:
    """What one process said of all of them, and what it did."""
    program = [sys.executable, str(Path(__file__).with_name("hostile_child.py"))]
    good = [str(place / name) for name in GOOD]
    done = subprocess.run(
        [*program, *good, str(place / "nothing"), "--", str(place / "picture.png")]
        + [str(path) for path in hostile.values()],
        env=os.environ | {"SHARPEYE_CACHE": str(place / "cache")},
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


def test_there_are_more_than_fifty_and_no_two_are_the_same(hostile: dict[str, Path]) -> None:
    assert len(hostile) > 150
    assert len(set(NAMES)) == len(NAMES) == len(hostile)
    contents = [
        path.read_bytes()
        for path in hostile.values()
        if path.is_file() and path.stat().st_size < 2**24
    ]
    assert len(set(contents)) >= len(contents) - 4  # links to the canary, and what is empty


@pytest.mark.parametrize("name", GOOD)
def test_what_they_are_made_from_is_good(name: str, kit: Kit, place: Path) -> None:
    answer = sharpeye.load(place / name).predict(place / "picture.png")
    assert answer.label in ("ash", "birch", "cedar")
    assert run(["predict", str(place / name), str(place / "picture.png")]) == 0


def test_what_is_wrong_with_a_graph_is_the_only_thing_wrong(kit: Kit, tmp_path: Path) -> None:
    """The nodes around a bomb are let in, and so is a bomb with nothing in it."""
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
        model = onnx.load_from_string(kit.model)
        constants = {
            "tall": np.ones((9, 1), np.float32),
            "wide": np.ones((1, 9), np.float32),
            "start": np.array(0),
            "stop": np.array(9),
            "step": np.array(1),
        }
        hostile_onnx.spoil(model, nodes, constants)
        onnx.save(model, tmp_path / "harmless.onnx")
        opened = open_model(tmp_path / "harmless.onnx")
        pixels = np.zeros((3, 16, 16, 3), np.uint8)
        assert opened.run(pixels)["probs"].shape == (3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_model_is_refused_in_one_line(
    name: str, answers: dict[str, dict[str, Any]], hostile: dict[str, Path]
) -> None:
    said = answers[name]
    assert said["code"] == 4, said
    line = one_line(said["err"])
    assert line.startswith("error: ")
    assert str(hostile[name]) in line
    assert len(line) < 700 + len(str(hostile[name]))
    assert said["out"] == ""
    assert said["seconds"] < MAX_SECONDS
    assert said["grown_mib"] < MAX_MIB


@pytest.mark.parametrize("name", NAMES)
def test_it_touches_nothing_but_itself(
    name: str, answers: dict[str, dict[str, Any]], hostile: dict[str, Path], place: Path
) -> None:
    own = Path(os.path.realpath(hostile[name].parent))
    for event, what in answers[name]["events"]:
        assert event == "read", (event, what)
        assert Path(what).is_relative_to(own) or what == str(place / "picture.png"), what
    # The runtime itself, which no hook sees, is given only what was found harmless.
    assert answers[name]["sessions"] == (name in hostile_onnx.AT_RUN)


def test_the_canary_is_as_it_was(answers: dict[str, dict[str, Any]], kit: Kit, place: Path) -> None:
    assert kit.canary.read_text() == "a secret"
    left = {path.name for path in place.iterdir()}
    assert left == {*GOOD, "models", "canary.txt", "picture.png"}


def test_the_hook_sees_what_it_should_see(place: Path, kit: Kit) -> None:
    """Or all tests above would pass for nothing."""
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
seen = {event for event, _ in child.events}
assert ("read", sys.argv[2]) in child.events and ("write", sys.argv[2]) in child.events
wanted = {"import", "socket.__new__", "subprocess.Popen", "os.system", "pickle.find_class", "exec"}
assert wanted <= seen, seen
"""
    folder, touched = str(Path(__file__).parent), str(place / "models" / "touched")
    Path(touched).parent.mkdir(exist_ok=True)
    Path(touched).touch()
    subprocess.run([sys.executable, "-c", program, folder, touched], check=True)
    Path(touched).unlink()


def test_no_flipped_bit_or_cut_leads_to_another_error(kit: Kit, tmp_path: Path) -> None:
    """What is no model any more is refused; with other weights it is one still."""
    random, opened = np.random.default_rng(0), 0
    for suffix, data in ((".onnx", kit.model), (".sharpeye", kit.archive)):
        file = tmp_path / f"flipped{suffix}"
        for place in random.integers(0, len(data), 300):
            changed = bytearray(data)
            changed[place] ^= 1 << int(random.integers(8))
            if place % 10 == 0:
                del changed[place:]
            file.write_bytes(changed)
            try:
                open_model(file)
                opened += 1
            except ModelError as error:
                assert str(file) in one_line(str(error))
    assert opened < 150  # weights and names of an `.onnx` file that has no digest


# --- through the other doors ---------------------------------------------------------------------

SOME = ("op_custom.onnx", "bomb_range.onnx", "run_model_link_outside", "zip_quoted.sharpeye")
SOME += ("pipe.onnx", "run_json_pipe", "external_parent.onnx", "manifest_newer.onnx")


@pytest.mark.parametrize("name", SOME)
def test_a_program_gets_an_error_of_its_own_kind(name: str, hostile: dict[str, Path]) -> None:
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
def test_nothing_is_exported_or_evaluated(
    name: str, hostile: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(["export", str(hostile[name]), "--format", "onnx", "--output", str(out)]) == 4
    assert run(["evaluate", str(hostile[name]), str(tmp_path)]) == 4
    assert not out.exists()


@pytest.mark.parametrize(
    "lie",
    [
        lambda raw: raw["pictures"][0].update(probs=[0.0, 0.0, 1.0]),
        lambda raw: raw["pictures"][0].update(probs=[1.0]),
        lambda raw: raw["pictures"][0].update(probs="all"),
        lambda raw: raw["pictures"][0].update(file="../canary.txt"),
        lambda raw: raw["pictures"][0].update(file=7),
        lambda raw: raw.update(pictures=7),
        lambda raw: raw.clear(),
    ],
)
def test_a_bundle_that_lies_of_its_own_answers_is_found_out(
    lie: Any, place: Path, kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = dict(read_archive(place / "good.sharpeye").members)
    raw = json.loads(members["samples/expected.json"])
    lie(raw)
    members["samples/expected.json"] = json.dumps(raw).encode()
    file = tmp_path / "lie.sharpeye"
    write_archive(file, members, kit.record)
    assert run(["export", str(file), "--verify"]) == 4
    one_line(capsys.readouterr().err)


def test_a_link_to_a_whole_run_is_followed(place: Path, kit: Kit, tmp_path: Path) -> None:
    """Whoever gives a path chose where it leads; what lies inside a run was chosen by others."""
    (tmp_path / "latest").symlink_to(place / "good")
    (tmp_path / "latest.onnx").symlink_to(place / "good.onnx")
    for name in ("latest", "latest.onnx"):
        assert open_model(tmp_path / name).manifest.labels == ("ash", "birch", "cedar")
