"""`sharpeye train`: what it leaves in a run directory, and what it says when it cannot."""

import csv
import io
import json
import os
import shutil
import struct
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runner import (
    FILES,
    SMALL,
    call,
    hard_photos,
    one_line,
    same_model,
    scores_of,
    temporaries,
    train_args,
    train_here,
    tree,
)
from sharpeye.cli import options
from sharpeye.cli.app import run
from sharpeye.core.config import load_toml
from sharpeye.core.types import InputSpec
from sharpeye.data.split_rules import position
from sharpeye.errors import UsageError
from sharpeye.images.resize import load_image


def read_table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def read_metrics(run_dir: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def parts_by_digest(run_dir: Path) -> dict[str, str]:
    return {row["sha256"]: row["part"] for row in read_table(run_dir / "split.csv")}


# --- the run directory ---------------------------------------------------------------------------


@pytest.mark.usefixtures("warm")
def test_a_run_leaves_every_file_and_nothing_else(photo_folder: Path, tmp_path: Path) -> None:
    assert train_here(photo_folder, tmp_path / "run") == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == list(FILES)
    assert all(path.stat().st_size for path in (tmp_path / "run").iterdir())


def test_tables_have_their_columns(trained: Path) -> None:
    split = read_table(trained / "split.csv")
    assert list(split[0]) == ["path", "label", "part", "sha256", "group"]
    assert len(split) == 36
    assert {row["part"] for row in split} == {"train", "validation", "test"}
    assert all(row["path"].startswith(row["label"] + "/") for row in split)
    assert all(len(row["sha256"]) == 64 and row["group"] for row in split)
    predictions = read_table(trained / "predictions.csv")
    assert list(predictions[0]) == ["path", "label", "predicted", "score", "margin"]
    wrong = read_table(trained / "misclassified.csv")
    assert sorted(row["path"] for row in wrong) == sorted(
        row["path"] for row in predictions if row["label"] != row["predicted"]
    )
    scores = [float(row["score"]) for row in wrong]
    assert scores == sorted(scores, reverse=True)
    assert (trained / "quarantine.csv").read_text(encoding="utf-8") == "path,reason\n"
    history = read_table(trained / "history.csv")
    assert {"stage", "l2", "log_loss", "accuracy", "steps", "seconds"} <= set(history[0])
    assert {row["stage"] for row in history} == {"ridge", "logistic", "refit"}


def test_predictions_are_of_the_test_part(trained: Path) -> None:
    tested = [r["path"] for r in read_table(trained / "split.csv") if r["part"] == "test"]
    assert [row["path"] for row in read_table(trained / "predictions.csv")] == tested


def test_metrics_have_their_keys_and_add_up(trained: Path) -> None:
    metrics = read_metrics(trained)
    assert set(metrics) == {"validation", "test", "seconds"}
    split, labels = read_table(trained / "split.csv"), ["ash", "birch", "cedar"]
    for part in ("validation", "test"):
        scores = metrics[part]
        assert {"count", "accuracy", "accuracy_ci95", "log_loss", "ece", "per_class"} <= set(scores)
        assert scores["count"] == sum(row["part"] == part for row in split)
        low, high = scores["accuracy_ci95"]
        assert 0 <= low <= scores["accuracy"] <= high <= 1
        assert scores["log_loss"] > 0
        assert 0 <= scores["ece"] <= 1
        assert list(scores["per_class"]) == labels
        for own in scores["per_class"].values():
            assert {"precision", "recall", "f1", "support"} <= set(own)
        assert sum(own["support"] for own in scores["per_class"].values()) == scores["count"]
    predictions = read_table(trained / "predictions.csv")
    hits = sum(row["label"] == row["predicted"] for row in predictions)
    assert metrics["test"]["accuracy"] == pytest.approx(hits / len(predictions))
    seconds = metrics["seconds"]
    assert {"scan", "backbone", "digests", "features", "head", "report", "total"} <= set(seconds)
    assert seconds["total"] >= seconds["head"] >= 0


def test_labels_bundle_config_and_card_agree(trained: Path) -> None:
    assert (trained / "labels.txt").read_text(encoding="utf-8") == "ash\nbirch\ncedar\n"
    bundle = json.loads((trained / "bundle.json").read_text(encoding="utf-8"))
    assert bundle["labels"] == ["ash", "birch", "cedar"]
    assert (bundle["input"]["height"], bundle["input"]["width"]) == (64, 64)
    assert bundle["parity"]["max_difference"] <= 1e-3
    assert bundle["data"]["pictures"] == {
        part: sum(row["part"] == part for row in read_table(trained / "split.csv"))
        for part in ("train", "validation", "test")
    }
    config = tomllib.loads((trained / "config.toml").read_text(encoding="utf-8"))
    assert config["model"]["image_size"] == 64
    assert config["data"]["folder"] == str(trained.parent / "hard")
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert all(f"| {label} |" in card for label in bundle["labels"])
    assert "Apache-2.0" in card


def test_images_report_and_events_can_be_opened(trained: Path) -> None:
    with Image.open(trained / "confusion_matrix.png") as image:
        assert min(image.size) > 100
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "cedar" in page
    assert 'src="http' not in page
    events = list((trained / "tensorboard").iterdir())
    assert len(events) == 1
    assert events[0].name.startswith("events.out.tfevents.")


@pytest.mark.slow
def test_a_written_config_runs_it_again_with_the_same_result(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = hard_photos(tmp_path / "hard")
    assert train_here(data, tmp_path / "run", "--seed", "5", "--set", "split.test=0.25") == 0
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--config", "run/config.toml"]) == 0
    again = tmp_path / "runs" / "hard-efficientnet_lite0"
    config = (again / "config.toml").read_text(encoding="utf-8")
    assert config == (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert scores_of(read_metrics(again)) == scores_of(read_metrics(tmp_path / "run"))
    for name in ("split.csv", "predictions.csv"):
        assert (again / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    same_model(again, tmp_path / "run")


def test_another_seed_is_another_split(trained: Path, warm: Path, tmp_path: Path) -> None:
    assert train_here(trained.parent / "hard", tmp_path / "run", "--seed", "1") == 0
    assert parts_by_digest(tmp_path / "run") != parts_by_digest(trained)


# --- where it is written -------------------------------------------------------------------------


@pytest.mark.usefixtures("warm")
def test_a_finished_run_is_replaced_only_by_overwrite(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_here(photo_folder, tmp_path / "run") == 0
    before = tree(tmp_path)
    capsys.readouterr()
    assert train_here(photo_folder, tmp_path / "run") == 2
    message = one_line(capsys.readouterr().err)
    assert "holds a finished run; --overwrite replaces it, or choose another --output" in message
    assert tree(tmp_path) == before
    assert train_here(photo_folder, tmp_path / "run", "--overwrite", "--seed", "1") == 0
    assert load_toml(tmp_path / "run" / "config.toml").seed == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == list(FILES)
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"sharpeye predict {tmp_path / 'run'} PICTURE" in text
    assert not temporaries(tmp_path)


@pytest.mark.usefixtures("warm")
def test_the_default_name_is_numbered_and_says_so(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos-efficientnet_lite0", "photos-efficientnet_lite0-2"):
        assert run(["train", "photos", *SMALL]) == 0
        assert (tmp_path / "runs" / name / "bundle.json").is_file()
    assert f"this one is written to runs/{name}" in capsys.readouterr().err


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("folder", [".", pytest.param("../photos", marks=pytest.mark.slow)])
def test_runs_never_lie_among_the_images(
    folder: str,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = tree(photo_folder)
    monkeypatch.chdir(photo_folder)
    assert run(["train", folder, *SMALL]) == 0
    run_dir = Path("..") / "photos-runs" / "photos-efficientnet_lite0"
    assert (run_dir / "bundle.json").is_file()
    assert "runs are written to ../photos-runs" in capsys.readouterr().err
    for output in (".", "runs/one", "../photos/sky"):
        assert run(["train", folder, "-o", output, *SMALL]) == 2
        assert "give --output a folder outside of it" in one_line(capsys.readouterr().err)
    assert tree(photo_folder) == before


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_an_empty_folder_is_used_and_an_unfinished_run_is_replaced(
    photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    assert train_here(photo_folder, tmp_path / "run") == 0
    (tmp_path / "run" / "bundle.json").unlink()  # as if it had been killed before its last write
    (tmp_path / "run" / ".sharpeye-tmp-1-00.json").write_text("torn")
    (tmp_path / "run" / "report.html").write_text("old")
    assert train_here(photo_folder, tmp_path / "run") == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == list(FILES)
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") != "old"
    assert not (tmp_path / "run-2").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_run_killed_before_its_first_file_is_replaced(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".sharpeye-tmp-1-00.toml").write_text("torn")
    assert train_here(photo_folder, tmp_path / "run") == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == list(FILES)


@pytest.mark.usefixtures("warm")
def test_a_failed_run_takes_away_the_folders_that_it_made_and_no_others(
    photo_folder: Path, tmp_path: Path
) -> None:
    (photo_folder / "rare").mkdir()
    Image.new("RGB", (9, 9)).save(photo_folder / "rare" / "1.png")
    (tmp_path / "mine").mkdir()
    assert train_here(photo_folder, tmp_path / "mine") == 3
    assert (tmp_path / "mine").is_dir()
    assert train_here(photo_folder, tmp_path / "mine" / "runs" / "deep") == 3
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_folder_of_the_users_is_left_alone(
    options: tuple[str, ...],
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.toml").write_text("title = 'my site'\n")
    (project / "README.md").write_text("mine")
    before = tree(tmp_path)
    assert train_here(photo_folder, project, *options) == 2
    assert "choose another --output" in one_line(capsys.readouterr().err)
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("warm")
def test_the_images_folder_is_never_written_to(photo_folder: Path, tmp_path: Path) -> None:
    before = tree(photo_folder)
    assert train_here(photo_folder, tmp_path / "run", "--views", "2") == 0
    assert tree(photo_folder) == before


# --- files that are no images ------------------------------------------------------------------


def png_bomb(side: int) -> bytes:
    """A PNG of side x side black pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    packer, rows = zlib.compressobj(9), bytes(1 + side // 8) * 100
    body = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def two_tone() -> Image.Image:
    """Red above blue: upright or not is seen at a glance."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :, 0], pixels[20:, :, 2] = 220, 220
    return Image.fromarray(pixels)


def add_hostile_files(folder: Path) -> None:
    (folder / "page.jpg").write_text("<!DOCTYPE html><html><body>404</body></html>")
    whole = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    (folder / "torn.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "bomb.png").write_bytes(png_bomb(30_000))
    (folder / "empty.jpg").touch()
    os.mkfifo(folder / "pipe.jpg")
    lying = Image.Exif()
    lying[0x0112] = 6  # to be turned a quarter clockwise
    two_tone().transpose(Image.Transpose.ROTATE_90).save(
        folder / "rotated.jpg", exif=lying, quality=95
    )


@pytest.mark.usefixtures("warm")
def test_a_hostile_folder_is_trained_on_and_five_files_are_named(
    photo_folder: Path, tmp_path: Path
) -> None:
    add_hostile_files(photo_folder / "sky")
    assert train_here(photo_folder, tmp_path / "run") == 0
    rejected = {r["path"]: r["reason"] for r in read_table(tmp_path / "run" / "quarantine.csv")}
    assert sorted(rejected) == [
        "sky/bomb.png",
        "sky/empty.jpg",
        "sky/page.jpg",
        "sky/pipe.jpg",
        "sky/torn.jpg",
    ]
    for name, why in {
        "bomb.png": "limit",
        "empty.jpg": "0 bytes",
        "page.jpg": "web page",
        "pipe.jpg": "pipe",
        "torn.jpg": "JPEG",
    }.items():
        assert why in rejected[f"sky/{name}"]
    used = [row["path"] for row in read_table(tmp_path / "run" / "split.csv")]
    assert len(used) == 25
    assert "sky/rotated.jpg" in used
    upright = load_image(photo_folder / "sky" / "rotated.jpg", "it", InputSpec(40, 60))
    gap = np.abs(upright.astype(int) - np.asarray(two_tone()).astype(int))
    assert gap.mean() < 6


@pytest.mark.usefixtures("warm")
def test_features_are_those_of_the_upright_image(photo_folder: Path, tmp_path: Path) -> None:
    add_hostile_files(photo_folder / "sky")
    assert train_here(photo_folder, tmp_path / "run") == 0
    two_tone().save(tmp_path / "upright.jpg", quality=95)
    import sharpeye

    model = sharpeye.load(tmp_path / "run")
    lying, upright = model.predict([photo_folder / "sky" / "rotated.jpg", tmp_path / "upright.jpg"])
    assert dict(lying.top) == pytest.approx(dict(upright.top), abs=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_good_images_answers_do_not_depend_on_the_bad_ones(
    photo_folder: Path, tmp_path: Path
) -> None:
    assert train_here(photo_folder, tmp_path / "clean") == 0
    (photo_folder / "sky" / "page.jpg").write_text("<html>")
    (photo_folder / "sky" / "empty.jpg").touch()
    assert train_here(photo_folder, tmp_path / "dirty") == 0
    clean, dirty = read_metrics(tmp_path / "clean"), read_metrics(tmp_path / "dirty")
    assert scores_of(clean) == scores_of(dirty)
    same_model(tmp_path / "clean", tmp_path / "dirty")


@pytest.mark.usefixtures("warm")
def test_strict_ends_with_3_and_leaves_the_quarantine(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "sky" / "empty.jpg").touch()
    assert train_here(photo_folder, tmp_path / "run", "--strict", "--quiet") == 3
    assert "sky/empty.jpg" in one_line(capsys.readouterr().err)
    assert read_table(tmp_path / "run" / "quarantine.csv")[0]["path"] == "sky/empty.jpg"
    assert not (tmp_path / "run" / "bundle.json").exists()
    (photo_folder / "sky" / "empty.jpg").unlink()
    assert train_here(photo_folder, tmp_path / "run", "--strict") == 0
    assert not (tmp_path / "run-2").exists()


# --- what is refused -----------------------------------------------------------------------------


def missing(_: Path) -> None:
    return


def empty(folder: Path) -> None:
    folder.mkdir()


def one_class(folder: Path) -> None:
    (folder / "only").mkdir(parents=True)
    two_tone().save(folder / "only" / "a.png")


def nothing_readable(folder: Path) -> None:
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.jpg").touch()


def a_file(folder: Path) -> None:
    folder.write_text("no folder")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, "no such folder"),
        (empty, "no images"),
        (one_class, "only one class"),
        (nothing_readable, "0 bytes"),
        (a_file, "is a file"),
    ],
)
@pytest.mark.usefixtures("warm")
def test_unusable_data_end_with_3_in_one_line(
    make: Callable[[Path], None], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data")
    assert train_here(tmp_path / "data", tmp_path / "run", "--quiet") == 3
    line = one_line(capsys.readouterr().err)
    assert words in line
    assert "data" in line or "a/1.jpg" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("warm")
def test_an_output_below_a_file_ends_with_5(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("here already")
    assert train_here(photo_folder, tmp_path / "file" / "run", "--quiet") == 5
    assert str(tmp_path / "file") in one_line(capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "here already"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.usefixtures("warm")
def test_an_output_that_may_not_be_written_ends_with_5(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert train_here(photo_folder, tmp_path / "closed" / "run", "--quiet") == 5
    assert "--output" in one_line(capsys.readouterr().err)
    assert list((tmp_path / "closed").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tarin"], "Did you mean train?"),
        (["train", "{photos}", "--sed", "1"], "--seed"),
        (["train", "{photos}", "--set", "split.tset=0.2"], "Did you mean split.test?"),
        (["train", "{photos}", "--set", "split.test=lots"], "a number"),
        (["train", "{photos}", "--set", "split.test=0.95"], "from 0.01 to 0.9"),
        (["train", "{photos}", "--set", "split.test"], "section.key=value"),
        (["train", "{photos}", "--set", "model.fit=padd"], "Did you mean pad?"),
        (["train", "{photos}", "--set", "model.image_size=8"], "at least 32"),
        (["train", "{photos}", "--task", "localise"], "Did you mean localize?"),
        (["train", "{photos}", "--label-from", "name"], "auto, xml, folder, prefix"),
        (["train", "{photos}", "--box-choice", "all"], "largest, single-only"),
        (["train", "{photos}", "--model", "efficientnet_lite"], "Did you mean efficientnet_lite0?"),
        (["train", "{photos}", "--seed", "one"], "--seed"),
        (["train", "{photos}", "--min-accuracy", "90"], "from 0 to 1"),
        (["train", "{photos}", "--config", "nowhere.toml"], "nowhere.toml"),
        (["train"], "sharpeye train DIR"),
        (["cache"], "command"),
        (["predict"], "MODEL"),
    ],
)
def test_usage_errors_end_with_2_and_say_what_is_allowed(
    arguments: list[str],
    words: str,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([text.format(photos=photo_folder) for text in arguments]) == 2
    line = one_line(capsys.readouterr().err)
    assert line.startswith("error: ")
    assert words in line
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith("run")] == []


@pytest.mark.usefixtures("warm")
def test_a_config_with_an_unknown_key_names_key_and_file(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[head]\nview = 2\n")
    assert train_here(photo_folder, tmp_path / "run", "--config", str(recipe)) == 2
    line = one_line(capsys.readouterr().err)
    assert "head.view" in line
    assert "recipe.toml" in line
    assert "head.views" in line


@pytest.mark.usefixtures("warm")
def test_a_missed_gate_ends_with_9_and_the_run_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = hard_photos(tmp_path / "hard")
    assert train_here(data, tmp_path / "run", "--min-accuracy", "1", "--quiet") == 9
    assert "below the 1 that was asked" in one_line(capsys.readouterr().err)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == list(FILES)


@pytest.mark.usefixtures("warm")
def test_a_class_too_small_is_named_and_can_be_dropped(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "rare").mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(photo_folder / "rare" / f"{number}.png")
    assert train_here(photo_folder, tmp_path / "run", "--quiet") == 3
    line = one_line(capsys.readouterr().err)
    assert "rare (2)" in line
    assert "--drop-small" in line
    assert not (tmp_path / "run").exists()
    assert train_here(photo_folder, tmp_path / "run", "--drop-small") == 0
    labels = (tmp_path / "run" / "labels.txt").read_text(encoding="utf-8")
    assert labels == "apple\nleaf\nsky\n"


# --- what it says of the data --------------------------------------------------------------------


@pytest.mark.usefixtures("warm")
def test_imbalance_and_conflicts_are_said_and_stand_in_the_report(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in sorted((photo_folder / "sky").iterdir())[:4]:
        image.unlink()
    shutil.copy(photo_folder / "apple" / "apple1.png", photo_folder / "leaf" / "twin.png")
    assert train_here(photo_folder, tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for message in (capsys.readouterr().err, page):
        assert "The classes have 4 to 9 images (sky fewest): each class counts the same" in message
        assert (
            "The same image is in more than one class: apple/apple1.png, leaf/twin.png" in message
        )
    rows = {r["path"]: r for r in read_table(tmp_path / "run" / "split.csv")}
    assert rows["apple/apple1.png"]["part"] == rows["leaf/twin.png"]["part"]


# --- splits that stay ----------------------------------------------------------------------------


@pytest.mark.usefixtures("warm")
def test_no_image_moves_when_others_are_added_renamed_and_the_folder_moves(
    photo_folder: Path,
    tmp_path: Path,
    make_photos: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train_here(photo_folder, tmp_path / "one") == 0
    before = parts_by_digest(tmp_path / "one")
    more = make_photos(tmp_path / "more", per_class=4, seed=9)
    for number, file in enumerate(sorted(more.rglob("*.*"))[:10]):
        file.rename(photo_folder / file.parent.name / f"added{number}{file.suffix}")
    (photo_folder / "apple" / "apple0.jpg").rename(photo_folder / "apple" / "zzz.jpg")
    moved = photo_folder.rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert train_here(moved, tmp_path / "two") == 0
    after = parts_by_digest(tmp_path / "two")
    assert len(after) == len(before) + 10
    assert [digest for digest in before if after[digest] != before[digest]] == []
    assert "10 computed, 24 from the cache" in capsys.readouterr().err


@pytest.mark.usefixtures("warm")
def test_the_split_is_the_same_without_the_cache_but_for_forced_places(
    photo_folder: Path, tmp_path: Path
) -> None:
    assert train_here(photo_folder, tmp_path / "run") == 0
    for digest, part in parts_by_digest(tmp_path / "run").items():
        u = position(digest, seed=0)
        natural = "test" if u < 0.15 else "validation" if u < 0.3 else "train"
        assert part in (natural, "validation", "test")


# --- views ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_views_are_cached_like_images(photo_folder: Path, tmp_path: Path, cache: Path) -> None:
    assert train_here(photo_folder, tmp_path / "one", "--views", "3") == 0
    folders = list((cache / "features").iterdir())
    assert len(folders) == 3  # the images, their mirror images, and one crop
    segments = {file for folder in folders for file in folder.glob("*.seg")}
    assert train_here(photo_folder, tmp_path / "two", "--views", "3") == 0
    assert {file for folder in folders for file in folder.glob("*.seg")} == segments
    same_model(tmp_path / "one", tmp_path / "two")
    assert "views" in read_metrics(tmp_path / "one")["seconds"]


# --- as a process of its own ---------------------------------------------------------------------


@pytest.mark.slow
def test_data_go_to_stdout_and_the_rest_to_stderr(
    photo_folder: Path, tmp_path: Path, warm: Path
) -> None:
    done = call(*train_args(photo_folder, Path("run")), cache=warm, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "accuracy",
        "report",
        "next",
    ]
    assert "24 images in 3 classes; features: 24 computed, 0 from the cache" in done.stderr
    assert temporaries(tmp_path) == []
    assert temporaries(warm) == []


@pytest.mark.slow
def test_quiet_says_nothing_of_what_goes_well(
    photo_folder: Path, tmp_path: Path, warm: Path
) -> None:
    done = call(
        "train", photo_folder, "-o", tmp_path / "run", *SMALL, "--quiet", cache=warm, cwd=Path("/")
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_is_one_line_and_no_traceback(tmp_path: Path, cache: Path) -> None:
    done = call("train", "nowhere", cache=cache, cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert one_line(done.stderr).startswith("error: no such folder: nowhere; ")
    assert list(tmp_path.iterdir()) == []


# --- spans of time -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2m ", 120), ("0.5", 0.5)],
)
def test_a_span_of_time_is_told_in_seconds(text: str, expected: float) -> None:
    assert options.parse_seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "0m", "-3", "ten", "10 minutes", "1h30m", "m", "1e3", "nan"]
)
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"with s, m or h, such as 10m. Received: "):
        options.parse_seconds(text)


def test_the_time_limit_and_its_knob_are_in_seconds(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(photo_folder), "-o", str(tmp_path / "run"), "--quiet"]
    assert run([*arguments, "--time-limit", "300000h"]) == 2
    line = one_line(capsys.readouterr().err)
    assert "train.time_limit must be from 0 to 1e+09. Received: 1080000000" in line


def test_the_help_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    message = capsys.readouterr().out
    for option in ("--epochs", "--fine-tune", "--time-limit", "--balance", "--resume", "--weights"):
        assert option in message
    assert "fashion-lenet5" in message.replace("\n", "").replace(" ", "")
