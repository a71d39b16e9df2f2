"""`sharpeye train --add`: an earlier run's images, new ones, and what became of the model."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharpeye
from localizer import scenes
from runner import FILES, hard_photos, one_line, same_model, share_backbones, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.core.config import Config, load_toml
from sharpeye.core.config_paths import on_folder
from sharpeye.core.inference import Backbone
from sharpeye.core.metrics import mcnemar
from sharpeye.errors import ConfigError, DataError, UsageError
from sharpeye.jobs.export.run_images import RunImages
from sharpeye.jobs.sweep.worker import load_arrays
from sharpeye.jobs.train.resolve import resolve

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CNN: dict[str, Any] = {
    "model": "cnn",
    "model__image_size": 16,
    "net__conv_layers": 1,
    "net__layer_size": 8,
    "train__epochs": 2,
    "train__batch_size": 8,
}


def dogwood(folder: Path, count: int = 6) -> Path:
    (folder / "dogwood").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 90, (48, 56, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "dogwood" / f"{number}.png")
    return folder


def split_of(done: sharpeye.Run) -> dict[str, tuple[str, str]]:
    """(label, part) by digest."""
    return {row["sha256"]: (row["label"], row["part"]) for row in done.table("split.csv")}


def by_path(done: sharpeye.Run, table: str) -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in done.table(table)}


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, session_cache: Path, backbone: Backbone
) -> Path:
    """`old/` and `r1` that was made of it; `new/`, and `r2` with that added. Not to be changed."""
    folder = tmp_path_factory.mktemp("add")
    share_backbones(session_cache, folder / "cache")
    hard_photos(folder / "old")
    dogwood(hard_photos(folder / "new", per_class=4, seed=5))
    shutil.copy(folder / "old/ash/ash0.png", folder / "new/ash/copy.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(folder / "cache"))
        first = sharpeye.train(folder / "old", output=folder / "r1", model__image_size=64, seed=3)
        before = tree(folder / "r1")
        sharpeye.train(folder / "new", add=first, output=folder / "r2")
    assert tree(folder / "r1") == before
    return folder


@pytest.fixture
def first(place: Path) -> sharpeye.Run:
    return sharpeye.Run(place / "r1")


@pytest.fixture
def extended(place: Path) -> sharpeye.Run:
    return sharpeye.Run(place / "r2")


@pytest.fixture
def shared(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache that `r1` and `r2` were made with."""
    monkeypatch.setenv("SHARPEYE_CACHE", str(place / "cache"))


@pytest.fixture
def plain(photo_folder: Path, tmp_path: Path) -> sharpeye.Run:
    """A network of a few kilobytes, trained in a second."""
    return sharpeye.train(photo_folder, output=tmp_path / "plain", **CNN)


# --- the run that comes of it --------------------------------------------------------------------


def test_it_is_a_run_of_both_with_every_old_image_where_it_was(
    place: Path, first: sharpeye.Run, extended: sharpeye.Run
) -> None:
    names = sorted(path.name for path in extended.path.iterdir())
    assert names == sorted((*FILES, "changes.csv"))
    assert extended.labels == ("ash", "birch", "cedar", "dogwood")
    old, both = split_of(first), split_of(extended)
    assert {digest: both[digest] for digest in old} == old
    assert len(both) == len(extended.table("split.csv")) == 36 + 12 + 6
    added = [row for row in extended.table("split.csv") if row["path"].startswith("../new/")]
    assert len(added) == 18
    assert not any("copy" in row["path"] for row in added)
    assert {row["part"] for row in added if row["label"] == "dogwood"} == {
        "train",
        "validation",
        "test",
    }
    assert all((place / "old" / row["path"]).is_file() for row in extended.table("split.csv"))
    assert (extended.path / "quarantine.csv").read_text(encoding="utf-8") == "path,reason\n"
    assert sharpeye.load(extended.path).labels == extended.labels


def test_its_knobs_are_the_earlier_ones(place: Path, extended: sharpeye.Run) -> None:
    config = load_toml(extended.path / "config.toml")
    assert (config.seed, config.model.image_size) == (3, 64)
    assert config.data.folder == str(place / "old")
    assert config.data.added == (str(place / "new"),)
    assert config.data.add_to == str(place / "r1")


def test_its_changes_are_those_of_the_two_tables_of_answers(
    first: sharpeye.Run, extended: sharpeye.Run
) -> None:
    before, after = by_path(first, "predictions.csv"), by_path(extended, "predictions.csv")
    assert before.keys() < after.keys()
    was = {path for path, row in before.items() if row["predicted"] == row["label"]}
    now = {path for path in before if after[path]["predicted"] == after[path]["label"]}
    entry = extended.metrics["changes"]
    test = entry["earlier_test"]
    assert test["count"] == len(before)
    assert test["before"]["accuracy"] == first.metrics["test"]["accuracy"]
    assert test["after"]["accuracy"] == pytest.approx(len(now) / len(before))
    assert (test["right_to_wrong"], test["wrong_to_right"]) == (len(was - now), len(now - was))
    assert test["p_value"] == pytest.approx(mcnemar(len(was - now), len(now - was)))
    assert entry["pictures"] == {
        "before": 36,
        "missing": 0,
        "relabelled": 0,
        "added": 18,
        "known": 1,
    }
    assert entry["new_classes"] == ["dogwood"]
    assert entry["features"] == {"computed": 18, "from_cache": 36}
    flipped = {p for p in before if before[p]["predicted"] != after[p]["predicted"]}
    table = by_path(extended, "changes.csv")
    assert table.keys() == flipped
    for path, row in table.items():
        assert row["before"] == before[path]["predicted"]
        assert row["after"] == after[path]["predicted"]
        assert (row["change"] == "right to wrong") == (path in was - now)
    support = sum(row["count"] + row["added_count"] for row in entry["per_class"].values())
    assert support == len(after)
    assert "What changed" in (extended.path / "report.html").read_text(encoding="utf-8")
    assert "changes" not in first.metrics


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_its_configuration_runs_it_again(
    place: Path, extended: sharpeye.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = extended.path / "config.toml"
    assert run(["train", "--config", str(config), "-o", str(tmp_path / "again")]) == 0
    again = sharpeye.Run(tmp_path / "again")
    for name in ("split.csv", "config.toml", "predictions.csv", "changes.csv"):
        assert (again.path / name).read_bytes() == (extended.path / name).read_bytes()
    assert again.metrics["changes"]["features"] == {"computed": 0, "from_cache": 54}
    same_model(again.path, extended.path)
    # Another folder has nothing to add to, whatever the configuration was made for.
    other = Config().replace({"data.add_to": "r", "data.added": ["x"], "data.folder": "old"})
    assert on_folder(other, "old") is other
    assert on_folder(other, "new").data.add_to == ""
    assert on_folder(other, "new").data.added == ()


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_a_chain_of_three(place: Path, extended: sharpeye.Run, tmp_path: Path) -> None:
    third = hard_photos(tmp_path / "third", per_class=3, seed=9)
    done = sharpeye.train(third, add=extended.path, output=tmp_path / "r3", head__views=2)
    before, after = split_of(extended), split_of(done)
    assert {digest: after[digest] for digest in before} == before
    assert len(after) == len(before) + 9
    config = load_toml(done.path / "config.toml")
    assert config.data.added == (str(place / "new"), str(third))
    assert config.head.views == 2
    tested = sum(part == "test" for _, part in before.values())
    assert done.metrics["changes"]["earlier_test"]["count"] == tested
    restored = {s.path: s for part in ("train", "test") for s in RunImages(done).in_split(part)}
    assert len(restored) > 40
    assert all(sample.file.is_file() for sample in restored.values())


# --- parts come from the run, not from the cache -------------------------------------------------


def turned(first: sharpeye.Run, folder: Path) -> sharpeye.Run:
    """A copy of a run whose parts are such as no rule gives: the next one for each."""
    shutil.copytree(first.path, folder)
    order = {"train": "validation", "validation": "test", "test": "train"}
    rows = first.table("split.csv")
    with (folder / "split.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"part": order[row["part"]]} for row in rows)
    return sharpeye.Run(folder)


@pytest.mark.parametrize("remembers", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_parts_hold_whatever_the_cache_remembers(
    place: Path,
    first: sharpeye.Run,
    tmp_path: Path,
    warm: Path,
    remembers: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if remembers:
        monkeypatch.setenv("SHARPEYE_CACHE", str(place / "cache"))
        shutil.copytree(place / "cache" / "splits", tmp_path / "splits")
    unusual = turned(first, tmp_path / "odd")
    done = sharpeye.train(place / "new", add=unusual, output=tmp_path / "run")
    old, both = split_of(unusual), split_of(done)
    assert {digest: both[digest] for digest in old} == old
    features = done.metrics["changes"]["features"]
    assert features["computed"] == (0 if remembers else 54)
    if remembers:
        shutil.copytree(tmp_path / "splits", place / "cache" / "splits", dirs_exist_ok=True)


def clouds(seed: int) -> Image.Image:
    """Soft colours, unlike for every seed."""
    low = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return Image.fromarray(low).resize((160, 120), Image.Resampling.BICUBIC)


@pytest.mark.slow
def test_copies_follow_their_originals(tmp_path: Path) -> None:
    for number in range(24):
        file = tmp_path / "old" / ("even" if number % 2 else "odd") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        clouds(number).save(file)
        copy = tmp_path / "new" / file.parent.name / f"copy{number}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        clouds(number).resize((224, 168)).save(copy, quality=70)
    first = sharpeye.train(tmp_path / "old", output=tmp_path / "r1", **CNN)
    done = sharpeye.train(tmp_path / "new", add=first, output=tmp_path / "r2")
    parts = {row["path"]: row["part"] for row in first.table("split.csv")}
    assert len(set(parts.values())) == 3
    for row in done.table("split.csv"):
        number = int(Path(row["path"]).stem.removeprefix("copy"))
        assert row["part"] == parts[f"{row['label']}/{number}.png"], row["path"]


# --- where the images are ----------------------------------------------------------------------


def test_more_images_in_the_same_folder(
    plain: sharpeye.Run, photo_folder: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    extra = make_photos(tmp_path / "extra", per_class=2, seed=7)
    for file in extra.rglob("*.*"):
        file.rename(photo_folder / file.parent.name / f"more-{file.name}")
    dogwood(photo_folder)
    done = sharpeye.train(photo_folder, add=plain, output=tmp_path / "run")
    assert done.metrics["changes"]["pictures"]["added"] == 6 + 6
    assert done.metrics["changes"]["pictures"]["known"] == 0
    assert done.metrics["changes"]["features"] is None
    assert len(done.table("split.csv")) == 24 + 12
    assert done.labels == ("apple", "dogwood", "leaf", "sky")
    assert all((photo_folder / row["path"]).is_file() for row in done.table("split.csv"))
    assert ".." not in (done.path / "split.csv").read_text(encoding="utf-8")
    again = load_toml(done.path / "config.toml")
    samples, arrays = load_arrays(resolve(again))  # as a sweep takes them
    assert {s.path: s.split for s in samples} == {
        row["path"]: row["part"] for row in done.table("split.csv")
    }
    assert arrays.class_names == done.labels


def test_what_is_gone_changed_or_unknown_is_named(
    plain: sharpeye.Run, photo_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = plain.table("split.csv")
    gone, changed = (next(r["path"] for r in rows if r["part"] == p) for p in ("test", "train"))
    (photo_folder / gone).unlink()
    clouds(1).save(photo_folder / changed)
    clouds(2).save(photo_folder / "leaf" / "unheard-of.png")
    (photo_folder / "sky" / "sky3.bmp").rename(photo_folder / "apple" / "moved.bmp")
    with caplog.at_level("INFO"):
        done = sharpeye.train(dogwood(tmp_path / "new"), add=plain, output=tmp_path / "run")
    reasons = {row["path"]: row["reason"] for row in done.table("quarantine.csv")}
    assert reasons == {
        gone: f"was in {plain.path} and is not there any more",
        changed: f"has changed since {plain.path}",
    }
    entry = done.metrics["changes"]
    assert (entry["pictures"]["missing"], entry["pictures"]["relabelled"]) == (2, 1)
    assert entry["earlier_test"]["gone"] == 1
    assert split_of(done).keys() >= {r["sha256"] for r in rows if r["path"] not in (gone, changed)}
    assert not any("unheard-of" in row["path"] for row in done.table("split.csv"))
    assert "1 image in the folders" in caplog.text and "leaf/unheard-of.png" in caplog.text
    page = (done.path / "report.html").read_text(encoding="utf-8")
    assert f"2 of the 24 images of {plain.path}" in page
    with pytest.raises(DataError, match="--strict"):
        sharpeye.train(tmp_path / "new", add=plain, output=tmp_path / "no", data__strict=True)


@pytest.mark.slow
def test_a_folder_that_was_moved(
    plain: sharpeye.Run, photo_folder: Path, tmp_path: Path, make_photos: Callable[..., Path]
) -> None:
    new = make_photos(tmp_path / "new", per_class=1, seed=3)
    photo_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no folder .*photos; say where .*data\.folder=FOLDER"):
        sharpeye.train(new, add=plain, output=tmp_path / "run")
    make_photos(photo_folder, per_class=2, seed=8)  # others, where they were
    with pytest.raises(DataError, match=r"none of the images of .* is in .*photos any more"):
        sharpeye.train(new, add=plain, output=tmp_path / "run")
    moved = str(tmp_path / "elsewhere")
    done = sharpeye.train(new, add=plain, output=tmp_path / "run", data__folder=moved)
    assert done.metrics["changes"]["pictures"]["missing"] == 0
    new.rename(tmp_path / "newer")
    third = make_photos(tmp_path / "third", per_class=1, seed=4)
    with pytest.raises(DataError, match=r"no folder .*new; say where .*data\.added="):
        sharpeye.train(third, add=done, output=tmp_path / "run")
    knobs: dict[str, Any] = {"data__added": [str(tmp_path / "newer")]}
    last = sharpeye.train(third, add=done, output=tmp_path / "last", **knobs)
    assert last.metrics["changes"]["pictures"] == {
        "before": 27,
        "missing": 0,
        "relabelled": 0,
        "added": 3,
        "known": 0,
    }


# --- other ways of learning ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_stopped_run_goes_on(
    plain: sharpeye.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = dogwood(tmp_path / "new")
    whole = sharpeye.train(new, add=plain, output=tmp_path / "whole", train__epochs=3)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "training" and 3 * done >= 2 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharpeye.train(new, add=plain, output=tmp_path / "run", train__epochs=3, progress=stop)
    assert not (tmp_path / "run" / "bundle.json").exists()
    words = ["train", str(new), "--add", str(plain.path), "-o", str(tmp_path / "run"), "--resume"]
    assert run(words) == 0
    done = sharpeye.Run(tmp_path / "run")
    assert load_toml(done.path / "config.toml").data.added == (str(new),)
    for name in ("split.csv", "predictions.csv", "changes.csv"):
        assert (done.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.slow
def test_a_localizer(
    tmp_path: Path, session_cache: Path, cache: Path, maps_backbone: Backbone
) -> None:
    share_backbones(session_cache, cache)
    knobs: dict[str, Any] = {
        "model__weights": "random",
        "model__image_size": 64,
        "localize__epochs": 2,
        "localize__box_views": 2,
        "localize__channels": 8,
    }
    first = sharpeye.train(
        scenes(tmp_path / "old"),
        output=tmp_path / "r1",
        task="localize",
        model="mobilenet_v2_0.35_96",
        **knobs,
    )
    new = scenes(tmp_path / "new", per_class=4, seed=1)
    done = sharpeye.train(new, add=first, output=tmp_path / "r2")
    entry = done.metrics["changes"]
    before = first.metrics["test"]
    assert entry["earlier_test"]["mean_iou_before"] == pytest.approx(before["mean_iou"], abs=1e-5)
    assert 0 <= entry["earlier_test"]["mean_iou_after"] <= 1
    assert entry["pictures"]["added"] == 12
    assert split_of(done).keys() > split_of(first).keys()
    with pytest.raises(UsageError, match=r"--task localize.*Received: classify"):
        sharpeye.train(new, add=first, output=tmp_path / "r3", task="classify")
    assert temporaries(tmp_path) == []


@pytest.mark.slow
def test_given_parts(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(tmp_path / "old" / "train", per_class=6)
    make_photos(tmp_path / "old" / "test", per_class=3, seed=1)
    first = sharpeye.train(tmp_path / "old", output=tmp_path / "r1", **CNN)
    new = make_photos(tmp_path / "new", per_class=12, seed=2)
    done = sharpeye.train(new, add=first, output=tmp_path / "r2")
    added = [row["part"] for row in done.table("split.csv") if row["path"].startswith("../new/")]
    assert set(added) == {"train"}
    old, both = split_of(first), split_of(done)
    assert {digest: both[digest] for digest in old} == old
    make_photos(tmp_path / "more" / "train", per_class=3, seed=3)
    make_photos(tmp_path / "more" / "test", per_class=2, seed=4)
    last = sharpeye.train(tmp_path / "more", add=done, output=tmp_path / "r3")
    parts = {row["path"]: row["part"] for row in last.table("split.csv")}
    more = {path: part for path, part in parts.items() if path.startswith("../more/")}
    assert len(more) == 15
    assert all(path.split("/")[2] == part for path, part in more.items())


# --- what is refused -----------------------------------------------------------------------------


def test_what_cannot_be_added_is_refused(
    plain: sharpeye.Run, photo_folder: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "no"
    new = make_photos(tmp_path / "new", classes=1, per_class=2, seed=5)
    with pytest.raises(DataError, match=r"no finished run directory"):
        sharpeye.train(new, add=tmp_path, output=output)
    with pytest.raises(DataError, match="nothing is new in"):
        sharpeye.train(photo_folder, add=plain, output=output)
    with pytest.raises(DataError, match="no such folder"):
        sharpeye.train(tmp_path / "nowhere", add=plain, output=output)
    with pytest.raises(ConfigError, match=r"data\.added must be a list of texts.*Received: \[1\]"):
        sharpeye.train(new, add=plain, output=output, data__added=[1])
    with pytest.raises(UsageError, match=r"data\.added must name the folder"):
        sharpeye.train(photo_folder, output=output, data__add_to=str(plain.path))
    (new / "apple").rename(new / "Apple ")
    with pytest.raises(DataError, match=r"class 'Apple ' is nearly called as 'apple'"):
        sharpeye.train(new, add=plain, output=output)
    (plain.path / "predictions.csv").unlink()
    with pytest.raises(DataError, match=r"no whole run directory: it has no predictions\.csv"):
        sharpeye.train(new, add=plain, output=output)
    assert not output.exists()


def test_a_known_image_in_another_class_stays_where_it_was(
    plain: sharpeye.Run, photo_folder: Path, tmp_path: Path
) -> None:
    new = dogwood(tmp_path / "new")
    shutil.copy(photo_folder / "sky" / "sky1.png", new / "dogwood" / "sky.png")
    done = sharpeye.train(new, add=plain, output=tmp_path / "run")
    assert done.metrics["changes"]["pictures"]["known"] == 1
    page = (done.path / "report.html").read_text(encoding="utf-8")
    assert "../new/dogwood/sky.png is sky/sky1.png" in page
    assert done.labels == ("apple", "dogwood", "leaf", "sky")
    assert sum(row["label"] == "dogwood" for row in done.table("split.csv")) == 6


# --- the command line ----------------------------------------------------------------------------


def test_the_command_says_what_changed(
    plain: sharpeye.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = dogwood(tmp_path / "new")
    words = ["train", str(new), "--add", str(plain.path), "-o", str(tmp_path / "run")]
    assert run([*words, "--epochs", "1"]) == 0
    reports, logged = capsys.readouterr()
    lines = dict(line.split(":", 1) for line in reports.splitlines())
    assert list(lines) == ["accuracy", "added", "before", "new", "report", "next"]
    assert lines["added"].strip() == (
        f"6 images, 1 new class (dogwood) to the 24 of {plain.path}; the network was trained anew"
    )
    assert "test images: " in lines["before"]
    assert lines["new"].strip().startswith("right on dogwood ")
    assert f"6 images of {new} are added to {plain.path}" in logged
    config = load_toml(tmp_path / "run" / "config.toml")
    assert (config.train.epochs, config.train.batch_size) == (1, 8)
    # An unfinished or bad command is one line.
    assert run(["train", "--add", str(plain.path)]) == 2
    assert "which images are added?" in one_line(capsys.readouterr().err)
    assert run([*words, "--task", "localize"]) == 2
    assert "made with --task classify" in one_line(capsys.readouterr().err)
    assert run(["train", str(new), "--add", str(new)]) == 3
    assert "no finished run directory" in one_line(capsys.readouterr().err)


@pytest.mark.slow
def test_a_model_that_got_worse_beyond_chance_is_warned_of(
    make_photos: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = sharpeye.train(
        make_photos(tmp_path / "old", classes=2, per_class=40),
        output=tmp_path / "r1",
        **(CNN | {"train__epochs": 12, "augment__flip": False}),
    )
    assert first.metrics["test"]["accuracy"] == 1.0
    new = make_photos(tmp_path / "new", classes=2, per_class=80, seed=1)
    (new / "apple").rename(new / "x")  # every label is wrong
    (new / "leaf").rename(new / "apple")
    (new / "x").rename(new / "leaf")
    done = sharpeye.train(new, add=first, output=tmp_path / "r2", train__epochs=6)
    test = done.metrics["changes"]["earlier_test"]
    assert test["worse"] and test["p_value"] < 0.05
    assert "worse than" in caplog.text and "beyond chance" in caplog.text
    page = (done.path / "report.html").read_text(encoding="utf-8")
    assert "It got worse, beyond chance" in page
    assert page.count("beyond chance") == 2  # among the notes, too
