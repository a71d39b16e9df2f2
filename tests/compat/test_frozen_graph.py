"""`sharpeye label-image` on frozen TensorFlow graphs, compared with TensorFlow's own scores."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from label_image_process import LabelImage
from tensorboard.compat.proto.graph_pb2 import GraphDef

from runner import one_line
from sharpeye.cli.app import run
from sharpeye.compat.graph_reader import RECORD_KEY, read_record
from sharpeye.errors import ModelError

LABELS = ("daisy", "rose", "sunflower", "tulip")
PRINTED = 1e-5  # scores have five decimals


def expected(graphs: Path, name: str) -> dict[str, float]:
    scores = json.loads((graphs / "expected.json").read_text())[name]
    return dict(zip(LABELS, scores, strict=True))


# --- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "scale", "flags"),
    [
        ("tiny.pb", "128 128", ()),
        ("tiny.pb", "128 128", ("--input_height", "32", "--input-width", "32")),
        ("tiny.pb", "0 255", ("--input_mean=0", "--input_std=255")),
        ("inception.pb", "128 128", ()),
        ("nameless.pb", "128 128", ()),
        ("nameless.pb", "127.5 127.5", ("--input_mean", "127.5", "--input_std", "127.5")),
        ("sharpeye.pb", "100 50", ()),
        ("two_inputs.pb", "128 128", ("--input_layer", "right", "--output_layer", "two:0")),
    ],
)
def test_scores_are_those_of_tensorflow(
    graph: str, scale: str, flags: tuple[str, ...], graphs: Path, label_image: LabelImage
) -> None:
    if scale == "127.5 127.5":
        flags = (*flags, "--input_height", "37", "--input_width", "111")
    labels = () if graph == "sharpeye.pb" else ("--labels", "labels.txt")
    for image, decoder, tolerance in (
        ("flower.png", "", PRINTED),
        ("flower.jpg", " INTEGER_FAST", PRINTED),  # as the original decodes it
    ):
        output = label_image("--graph", graph, *labels, *flags, "--image", image)
        assert output.code == 0, output.err
        assert output.err == ""
        right = expected(graphs, f"{graph} {image} {scale}{decoder}")
        assert output.scores == pytest.approx(right, abs=tolerance)
        assert list(output.scores) == sorted(right, key=lambda label: -right[label])


def test_flags_take_precedence_over_the_graphs_record(label_image: LabelImage) -> None:
    plain = label_image("--graph", "sharpeye.pb", "flower.png").scores
    for flags in (("--input_mean", "128"), ("--input_std", "128"), ("--input_height", "50")):
        output = label_image("--graph", "sharpeye.pb", *flags, "flower.png")
        assert output.code == 0
        assert output.scores != pytest.approx(plain, abs=1e-3)


def test_the_process_prints_only_the_scores(
    graphs: Path, tmp_path: Path, label_image: LabelImage
) -> None:
    (tmp_path / "tf_files").mkdir()
    shutil.copy(graphs / "flower.png", tmp_path)
    shutil.copy(graphs / "inception.pb", tmp_path / "tf_files" / "retrained_graph.pb")
    shutil.copy(graphs / "labels.txt", tmp_path / "tf_files" / "retrained_labels.txt")
    files = ("--graph", "tf_files/retrained_graph.pb", "--image", "flower.png")
    output = label_image(*files, cwd=tmp_path)
    assert (output.code, output.err) == (0, "")
    assert label_image.log.read_text() == ""  # nor does TensorFlow print anything
    first, time, second, *ranked = output.out.split("\n")
    assert (first, second) == ("", "")
    assert time.startswith("Evaluation time (1-image): 0.")
    assert ranked[0].startswith("rose (score=0.99")
    assert len(ranked) == 5


# --- nodes and sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "flags", "words"),
    [
        ("tiny.pb", ("--input_layer", "Mul"), "no node Mul; give --input_layer. Placeholders: in"),
        ("tiny.pb", ("--output_layer", "end"), "no node end; give --output_layer. Placeholders: "),
        ("two_inputs.pb", (), "Placeholders: left, right. Softmax nodes: one, two"),
        ("two_inputs.pb", ("--input_layer", "left"), "does not run: "),  # the last Softmax is two
        ("grid.pb", (), "final_result gives [1, 32, 32, 3], not one score a class"),
        ("tiny.pb", ("--input_layer", "Const"), "Const takes float32[3, 3, 3, 8], not images"),
        ("damaged_record.pb", (), "_sharpeye is damaged"),
        ("no_scale.pb", (), "_sharpeye is damaged (ValueError: mean 0, std 0)"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_with_the_reason(
    graph: str, flags: tuple[str, ...], words: str, label_image: LabelImage
) -> None:
    output = label_image("--graph", graph, "--labels", "labels.txt", *flags, "flower.png")
    assert output.code == 4
    assert words in one_line(output.err)
    assert output.out == ""


def test_a_size_that_contradicts_the_graph_ends_with_2(label_image: LabelImage) -> None:
    output = label_image("--graph", "tiny.pb", "--input_height", "224", "flower.png")
    assert output.code == 2
    assert "--input_height 224 contradicts tiny.pb" in one_line(output.err)
    assert "32 x 32" in output.err


@pytest.mark.parametrize("scale", [("--input_std", "0"), ("--input_mean", "nan")])
def test_a_scale_that_is_not_finite_ends_with_2(
    scale: tuple[str, str], label_image: LabelImage
) -> None:
    output = label_image("--graph", "tiny.pb", *scale, "flower.png")
    assert output.code == 2
    assert "must be finite" in one_line(output.err)


# --- labels --------------------------------------------------------------------------------------


def with_labels(tmp_path: Path, graphs: Path, name: str, text: bytes) -> Path:
    for file in ("tiny.pb", "flower.png"):
        shutil.copy(graphs / file, tmp_path / file)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(text)
    return tmp_path


@pytest.mark.parametrize("name", ["retrained_labels.txt", "tf_files/retrained_labels.txt"])
@pytest.mark.parametrize(
    "text",
    [
        b"a\nb\nc\nd",
        b"a\rb\rc\rd\r",
        b"\xef\xbb\xbfa \r\nb\r\nc\r\nd\r\n\r\n\r\n",
        "\ufeffa\r\nb\r\nc\r\nd\r\n".encode("utf-16-le"),
        "\ufeffa\nb\nc\nd".encode("utf-16-be"),
    ],
)
def test_labels_are_searched_beside_the_graph_and_in_tf_files(
    name: str, text: bytes, tmp_path: Path, graphs: Path, label_image: LabelImage
) -> None:
    folder = with_labels(tmp_path, graphs, name, text)
    output = label_image("--graph", "tiny.pb", "flower.png", cwd=folder)
    assert output.code == 0, output.err
    assert sorted(output.scores) == ["a", "b", "c", "d"]


def test_a_nameless_class_keeps_its_line(
    tmp_path: Path, graphs: Path, label_image: LabelImage
) -> None:
    folder = with_labels(tmp_path, graphs, "names.txt", b"a\n \nc\n \n")
    output = label_image("--graph", "tiny.pb", "--labels", "names.txt", "flower.png", cwd=folder)
    assert output.code == 0, output.err
    assert [line.split(" (")[0] for line in output.out.splitlines()[3:]] == ["c", "", "a", ""]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"a\nb\nc\n", 4, "tiny.pb gives 4 scores, but there are 3 labels"),
        (b"a\nb\nc\nd\ne\n", 4, "gives 4 scores, but there are 5 labels"),
        (b"a\xff\nb\nc\nd\n", 4, "names.txt is not UTF-8 or UTF-16 text"),
    ],
)
def test_wrong_labels_are_refused(
    text: bytes, code: int, words: str, tmp_path: Path, graphs: Path, label_image: LabelImage
) -> None:
    folder = with_labels(tmp_path, graphs, "names.txt", text)
    output = label_image("--graph", "tiny.pb", "--labels", "names.txt", "flower.png", cwd=folder)
    assert output.code == code
    assert words in one_line(output.err)


def test_labels_are_counted_at_the_run_if_the_graph_has_no_count(
    tmp_path: Path, graphs: Path, label_image: LabelImage
) -> None:
    folder = with_labels(tmp_path, graphs, "names.txt", b"a\nb\n")
    shutil.copy(graphs / "uncounted.pb", folder)
    output = label_image(
        "--graph", "uncounted.pb", "--labels", "names.txt", "flower.png", cwd=folder
    )
    assert output.code == 4
    assert "4 scores, but there are 2 labels" in one_line(output.err)


def test_without_labels_the_error_says_what_to_give(
    tmp_path: Path, graphs: Path, label_image: LabelImage
) -> None:
    folder = with_labels(tmp_path, graphs, "elsewhere.txt", b"a\nb\nc\nd\n")
    output = label_image("--graph", "tiny.pb", "flower.png", cwd=folder)
    assert output.code == 4
    assert "give --labels" in one_line(output.err)
    output = label_image("--graph", "tiny.pb", "--labels", "nowhere.txt", "flower.png", cwd=folder)
    assert output.code == 2
    assert "no such file: nowhere.txt" in one_line(output.err)


# --- refused graphs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "operation"),
    [
        ("reading.pb", "ReadFile"),
        ("writing.pb", "WriteFile"),
        ("calling_python.pb", "PyFunc"),
        ("mapping_a_file.pb", "ImmutableConst"),
        ("hiding_in_a_function.pb", "WriteFile"),
    ],
)
def test_a_graph_that_is_a_program_is_refused(
    graph: str, operation: str, graphs: Path, label_image: LabelImage
) -> None:
    output = label_image("--graph", graph, "--labels", "labels.txt", "flower.png")
    assert output.code == 4
    assert f"({operation}) may use files or run other code" in one_line(output.err)
    assert not (graphs / "sharpeye-was-here").exists()


def test_an_unknown_operation_is_named(label_image: LabelImage) -> None:
    output = label_image("--graph", "unknown_operation.pb", "--labels", "labels.txt", "flower.png")
    assert output.code == 4
    assert "no operation OpOfTomorrow (node extra)" in one_line(output.err)


@pytest.mark.parametrize("kind", ["empty", "cut", "web page", "flipped"])
def test_a_damaged_graph_is_refused(
    kind: str, tmp_path: Path, graphs: Path, label_image: LabelImage
) -> None:
    whole = (graphs / "tiny.pb").read_bytes()
    flipped = bytes(255 - byte for byte in whole[:40]) + whole[40:]
    data = {"empty": b"", "cut": whole[:-9], "web page": b"<html>", "flipped": flipped}[kind]
    (tmp_path / "bad.pb").write_bytes(data)
    output = label_image("--graph", tmp_path / "bad.pb", "--labels", "labels.txt", "flower.png")
    assert output.code == 4
    assert "bad.pb" in one_line(output.err)


def test_a_graph_is_of_bounded_size(
    tmp_path: Path, graphs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.pb"
    large.touch()
    os.truncate(large, 2**30 + 1)  # a hole: it takes no room
    assert run(["label-image", "--graph", str(large), str(graphs / "flower.png")]) == 4
    assert "is larger than 1 GiB" in one_line(capsys.readouterr().err)


def test_without_tensorflow_the_error_says_what_to_install(
    graphs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    graph, image = str(graphs / "tiny.pb"), str(graphs / "flower.png")
    assert run(["label-image", "--graph", graph, image]) == 5
    assert "pip install 'sharpeye[train]'" in one_line(capsys.readouterr().err)


@pytest.mark.slow  # TensorFlow writes the graphs
def test_a_graph_whose_values_fill_gigabytes_is_refused(label_image: LabelImage) -> None:
    output = label_image("--graph", "filling.pb", "--labels", "labels.txt", "flower.png")
    assert output.code == 4
    line = one_line(output.err)
    assert line.startswith("error: filling.pb is refused: its values for one image take more than")


@pytest.mark.parametrize("number", [10**400, "9" * 400, None, [1]])
def test_a_record_with_a_scale_that_is_no_number_is_damaged(number: object) -> None:
    graph = GraphDef()
    layers = {"input_layer": "a", "output_layer": "b", "mean": number, "std": 1}
    raw = {"labels": ["a"], "input": {"height": 9, "width": 9}, "graph": layers}
    graph.node.add(name="b").attr[RECORD_KEY].s = json.dumps(raw).encode()
    with pytest.raises(ModelError, match=r"g\.pb: its record _sharpeye is damaged"):
        read_record(graph, Path("g.pb"))
