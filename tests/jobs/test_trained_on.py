"""Training that begins with the weights of an earlier one, or goes on after its end."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharpeye
from runner import TINY, hard_photos, one_line, tree
from sharpeye.cli.app import run
from sharpeye.core.config import Config
from sharpeye.errors import DataError, ModelError, UsageError
from sharpeye.jobs.evaluate import evaluate
from sharpeye.models.weights.weight_files import read_weight_file

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def train(data: Path, output: Path, **knobs: Any) -> sharpeye.Run:
    return sharpeye.train(data, output=output, **(TINY | knobs))


def losses(done: sharpeye.Run) -> list[float]:
    return [float(row["validation_log_loss"]) for row in done.table("history.csv")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 12 images that are hard to tell apart. Not to be changed."""
    return hard_photos(tmp_path_factory.mktemp("photos") / "hard")


@pytest.fixture(scope="module")
def first(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> sharpeye.Run:
    """A finished run. Not to be changed."""
    return train(photos, tmp_path_factory.mktemp("first") / "run", train__epochs=8)


# --- the weights of a run ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_begins_with_the_weights_and_the_network_of_another(
    first: sharpeye.Run, photos: Path, tmp_path: Path
) -> None:
    options = {"train__epochs": 2, "train__batch_size": 8, "train__learning_rate": 1e-6}
    for number, weights in enumerate((first.path, first.path / "model.keras")):
        named = {} if number == 0 else {key: TINY[key] for key in TINY if key < "train"}
        output = tmp_path / str(number)
        done = sharpeye.train(
            photos, output=output, model__weights=str(weights), **options, **named
        )
        assert done.config.from_scratch and done.config.net == first.config.net
        assert done.config.model.name == "cnn"
        assert done.config.train.initial_weights == str(weights)
        card = (output / "README.md").read_text(encoding="utf-8")
        assert "licence of its weights: that of the weights with which the training began" in card
        # A rate near 0 changes nothing: the first epoch is as good as the best of the other run.
        assert losses(done)[0] == pytest.approx(min(losses(first)), abs=0.02)
    fresh = train(photos, tmp_path / "fresh", train__epochs=2, train__learning_rate=1e-6)
    assert losses(fresh)[0] > min(losses(first)) + 0.1


def test_classes_that_both_have_keep_their_outputs(
    first: sharpeye.Run, photos: Path, tmp_path: Path
) -> None:
    from sharpeye.models.initial_weights import _outputs_of

    old = [np.arange(6.0).reshape(2, 3), np.arange(3.0)]
    new = [np.full((2, 2), -1.0), np.full(2, -1.0)]
    kernel, bias = _outputs_of(("new", "b"), old, ("a", "b", "c"), current=new)
    np.testing.assert_array_equal(kernel, [[-1, 1], [-1, 4]])
    np.testing.assert_array_equal(bias, [-1, 1])
    assert _outputs_of(("b",), [np.zeros((2, 1))], ("a", "b"), current=[np.zeros((2, 1))]) == []


@pytest.mark.slow
def test_an_image_size_that_dense_layers_do_not_fit_keeps_the_convolutions(
    first: sharpeye.Run, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    knobs = {"model__image_size": 24, "train__initial_weights": str(first.path)}
    with caplog.at_level("INFO", logger="sharpeye"):
        train(photos, tmp_path / "run", **knobs)
    assert "2 of 3 layers, classifier begin anew" in caplog.text


@pytest.mark.slow
def test_other_images_are_scaled_as_those_of_the_weights(
    first: sharpeye.Run, photos: Path, tmp_path: Path
) -> None:
    for file in photos.rglob("*.png"):
        darker = tmp_path / "dark" / file.relative_to(photos)
        darker.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            image.point(lambda level: level // 4).save(darker)
    knobs = {"train__initial_weights": str(first.path), "train__epochs": 1}
    scalings = {
        name: read_weight_file(done.path / "model.keras").scaling
        for name, done in {
            "first": first,
            "begun with it": train(tmp_path / "dark", tmp_path / "run", **knobs),
            "begun anew": train(tmp_path / "dark", tmp_path / "new", train__epochs=1),
        }.items()
    }
    assert scalings["begun with it"] == scalings["first"] != scalings["begun anew"]


def test_test_images_that_the_weights_were_trained_on_are_told(
    first: sharpeye.Run, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another seed splits the images otherwise."""
    knobs = {"train__initial_weights": str(first.path), "train__epochs": 1}
    same = train(photos, tmp_path / "same", **knobs)
    assert "initial weights" not in (same.path / "report.html").read_text(encoding="utf-8")
    other = train(photos, tmp_path / "other", **knobs, seed=3)
    parts = {row["sha256"]: row["part"] for row in first.table("split.csv")}
    tested = [row for row in other.table("split.csv") if row["part"] == "test"]
    known = sum(parts[row["sha256"]] != "test" for row in tested)
    sentence = f"{known} of the {len(tested)} test images, or nearly the same ones, are among those"
    assert known and sentence in caplog.text
    assert sentence in (other.path / "report.html").read_text(encoding="utf-8")
    # Other commands know of them, too.
    evaluation, *_ = evaluate(other.path, photos)
    assert evaluation.metrics["count"] == len(tested) - known
    third = train(photos, tmp_path / "third", seed=3, train__epochs=1)
    assert sharpeye.compare([other, third]).count == len(tested) - known


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("none-there", "there is no run and no file at .*none-there"),
        (".", "has no model.keras: only a run that trained a whole network"),
    ],
)
def test_missing_weights_are_an_error_before_any_image_is_read(
    weights: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        train(tmp_path / "no images", tmp_path / "run", model__weights=str(tmp_path / weights))


def test_weights_of_a_fine_tuned_run_are_refused(tmp_path: Path) -> None:
    """Its network scales pixels and features otherwise."""
    earlier = tmp_path / "tuned"
    earlier.mkdir()
    (earlier / "model.keras").touch()
    config = Config().replace({"finetune.epochs": 2, "model.weights": "imagenet"})
    (earlier / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    with pytest.raises(UsageError, match="is a fine-tuned run"):
        train(tmp_path / "no images", tmp_path / "run", model__weights=str(earlier))


def test_weights_of_another_network_are_refused(
    first: sharpeye.Run, photos: Path, tmp_path: Path
) -> None:
    file = first.path / "model.keras"
    with pytest.raises(ModelError, match="is of another network than resnet_cifar"):
        sharpeye.train(
            *(photos,),
            output=tmp_path / "run",
            model="resnet_cifar",
            net__width=8,
            train__initial_weights=str(file),
        )


@pytest.mark.slow
def test_a_checkpoint_needs_the_first_weights_no_longer(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        pass

    class Observer:
        def on_epoch_end(self, metrics: Any) -> None:
            if metrics["epoch"] == 2:
                raise Cut

    monkeypatch.setattr("sharpeye.learn.nets.checkpoint._MAX_TIME_SHARE", float("inf"))
    source = train(photos, tmp_path / "source", train__epochs=1).path
    output, knobs = tmp_path / "run", {"train__epochs": 3, "train__initial_weights": str(source)}
    with pytest.raises(Cut):
        train(photos, output, callbacks=[Observer()], **knobs)
    shutil.rmtree(source)
    for file in (output / "checkpoints").iterdir():
        file.rename(file.with_suffix(".away"))
    with pytest.raises(UsageError, match=r"there is no run and no file at .*source"):
        train(photos, output, resume=True, **knobs)
    for file in (output / "checkpoints").iterdir():
        file.rename(file.with_suffix(".npz"))
    assert len(losses(train(photos, output, resume=True, **knobs))) == 3
    # A finished run goes on from its own weights.
    more = knobs | {"train__epochs": 4}
    assert len(losses(train(photos, output, resume=True, **more))) == 4


# --- more epochs ---------------------------------------------------------------------------------


def test_a_finished_run_goes_on_with_more_epochs(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    done = train(photos, output, train__epochs=4)
    before, history = tree(output), done.table("history.csv")
    for epochs in ("3", "4"):
        assert run(["train", "--resume", "-o", str(output), "--epochs", epochs, "-q"]) == 2
        assert "is finished, after 4 epochs; to go on, give more: --epochs 8" in one_line(
            capsys.readouterr().err
        )
    assert run(["train", "--resume", "-o", str(output), "--epochs", "9", "--seed", "5", "-q"]) == 2
    assert "was begun with seed = 0, now it is 5" in one_line(capsys.readouterr().err)
    assert tree(output) == before
    assert run(["train", "--resume", "-o", str(output), "--epochs", "7", "-q"]) == 0
    longer = sharpeye.Run(output)
    rows = longer.table("history.csv")
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[:4] == history
    assert longer.config.train.epochs == 7
    assert longer.table("split.csv") == sharpeye.Run(output).table("split.csv")
    assert min(losses(longer)) <= min(losses(done))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_finished_run_does_not_go_on_with_other_images(tmp_path: Path) -> None:
    photos, output = hard_photos(tmp_path / "photos"), tmp_path / "run"
    train(photos, output, train__epochs=2)
    before = tree(output)
    (photos / "ash" / "ash0.png").unlink()
    with pytest.raises(DataError, match=r"the images are not those .*1 differ, such as ash/ash0"):
        train(photos, output, resume=True, train__epochs=4)
    assert tree(output) == before


@pytest.mark.slow
def test_a_run_that_ended_by_patience_goes_on_with_more_of_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    knobs = {"train__epochs": 40, "train__patience": 1, "train__learning_rate": 0.05}
    done = train(photos, tmp_path / "run", **knobs)
    ended = len(losses(done))
    assert ended < 40
    again = ["train", "--resume", "-o", str(done.path), "-q"]
    for options in ([], ["--epochs", "50"]):
        assert run([*again, *options]) == 2
        assert "epochs without a better one; to go on, give more patience: --set train" in one_line(
            capsys.readouterr().err
        )
    assert run([*again, "--epochs", str(ended + 2), "--set", "train.patience=0"]) == 0
    assert len(losses(sharpeye.Run(done.path))) == ended + 2


@pytest.mark.slow
def test_more_epochs_do_not_help_a_head(photos: Path, tmp_path: Path) -> None:
    sharpeye.train(photos, output=tmp_path / "run", model__weights="random")
    with pytest.raises(UsageError, match="its network was not trained from scratch"):
        sharpeye.train(
            photos,
            output=tmp_path / "run",
            resume=True,
            model__weights="random",
            train__epochs=60,
        )


# --- what stays ----------------------------------------------------------------------------------


def test_checkpoints_and_the_last_model_stay_where_they_are_asked_for(
    photos: Path, tmp_path: Path
) -> None:
    import keras

    output = tmp_path / "run"
    arguments = ["train", str(photos), "-o", str(output), "-q", "--keep-checkpoints", "3"]
    flags = [f"--set={key.replace('__', '.')}={value}" for key, value in TINY.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sharpeye.learn.nets.checkpoint._MAX_TIME_SHARE", float("inf"))
        assert run([*arguments, *flags, "--epochs", "6"]) == 0
    kept = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert kept == [f"epoch-00000{epoch}.npz" for epoch in (4, 5, 6)]
    last = keras.saving.load_model(output / "last.keras")
    images = np.zeros((2, 16, 16, 3), np.float32)
    np.testing.assert_allclose(np.asarray(last(images)).sum(axis=1), 1, rtol=1e-5)
    best = keras.saving.load_model(output / "model.keras")
    rows = sharpeye.Run(output).table("history.csv")
    is_last = min(rows, key=lambda row: float(row["validation_log_loss"])) is rows[-1]
    same = all(
        np.array_equal(a, b) for a, b in zip(last.get_weights(), best.get_weights(), strict=True)
    )
    assert same == is_last
    assert run(["predict", str(output), str(photos)]) == 0
