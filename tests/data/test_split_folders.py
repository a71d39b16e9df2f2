"""Which folders are splits: by names, by the user's word, by structure; and what is refused."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.config import Config
from sharpeye.core.types import SampleSet
from sharpeye.data.image_folder import scan_folder, scan_prefixes
from sharpeye.data.scan import scan_dataset
from sharpeye.data.split_folders import parse_splits
from sharpeye.data.split_names import split_of_name
from sharpeye.errors import ConfigError, DataError


def tree(root: Path, *folders: str, files: int = 2) -> Path:
    """Some images in each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(files):
            Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(root / folder / f"{number}.png")
    return root


def of_two(*splits: str) -> list[str]:
    return [f"{split}/{label}" for split in splits for label in ("cat", "dog")]


def splits_by_folder(samples: SampleSet) -> dict[str, str | None]:
    return {sample.path.split("/")[0]: sample.split for sample in samples}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "TRAINING", "training_set", "trainset")
        ),
        *((name, "train") for name in ("train-set", "Train Set", "train_data", "TrainData", "trn")),
        *((name, "train") for name in ("train2017", "images_train", "train_images", "01_train")),
        *((name, "train") for name in ("trainval", "train_val", "training-images", "data.train")),
        *(
            (name, "validation")
            for name in ("val", "Valid", "validation", "validation_data", "dev")
        ),
        *((name, "validation") for name in ("val2017", "eval", "evaluation", "dev_set", "ValSet")),
        *(
            (name, "test")
            for name in ("test", "Testing", "test_set", "testset", "test1", "holdout")
        ),
        *(
            (name, "test")
            for name in ("holdout", "hold_out", "hold-out", "held_out", "Test Images")
        ),
        *((name, "train") for name in ("Trainingsdaten", "Trainingsbilder", "Entraînement")),
        *((name, "train") for name in ("entrenamiento", "treino", "treinamento", "addestramento")),
        *((name, "validation") for name in ("Validierung", "validación", "Validação", "convalida")),
        *((name, "test") for name in ("Testdaten", "Testbilder", "tests", "prueba", "teste")),
    ],
)
def test_a_split_has_many_names(name: str, split: str) -> None:
    assert split_of_name(name) == (split, ())


@pytest.mark.parametrize(
    "name", ["cat", "trains", "invalid", "latest", "contest", "train_test", "valley", "detest", ""]
)
def test_other_names_say_nothing(name: str) -> None:
    assert split_of_name(name) is None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("Training", "Testing"), ("training_set", "test_set"), ("trainset", "testset")),
        *(("train2017", "val2017"), ("images_train", "images_test"), ("TRAIN", "holdout")),
        *(("seg_train", "seg_test"), ("flowers-training", "flowers-testing"), ("train", "dev")),
    ],
)
def test_splits_are_recognized_by_their_names(tmp_path: Path, train: str, test: str) -> None:
    samples = scan_folder(tree(tmp_path, *of_two(train, test)))
    assert samples.given_splits and samples.class_names == ("cat", "dog")
    assert splits_by_folder(samples)[train] == "train"
    assert splits_by_folder(samples)[test] in ("validation", "test")
    assert {sample.class_depth for sample in samples} == {1}


def test_a_split_in_a_folder_of_its_name(tmp_path: Path) -> None:
    folders = of_two("seg_train/seg_train", "seg_test/seg_test")
    samples = scan_folder(tree(tmp_path, *folders, "seg_pred/seg_pred"))
    assert samples.class_names == ("cat", "dog")
    assert {sample.split for sample in samples} == {"train", "test"}
    assert {sample.class_depth for sample in samples} == {2}
    assert {r.reason for r in samples.rejected} == {
        "lies in no split's folder (seg_test/seg_test, seg_train/seg_train)"
    }


def test_a_folder_beside_the_splits_is_left_out_and_named(tmp_path: Path) -> None:
    samples = scan_folder(tree(tmp_path, *of_two("train", "test"), "samples", "extra/cat"))
    assert samples.given_splits and samples.class_names == ("cat", "dog")
    assert {r.path.split("/")[0] for r in samples.rejected} == {"samples", "extra"}


def test_files_beside_the_splits_do_not_matter(tmp_path: Path) -> None:
    tree(tmp_path, *of_two("train", "test"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/notes.txt").write_text("x")
    assert scan_folder(tmp_path).given_splits


def test_test_images_without_classes_do_not_become_a_class(tmp_path: Path) -> None:
    samples = scan_folder(tree(tmp_path, *of_two("train"), "test1"))
    assert samples.class_names == ("cat", "dog") and len(samples) == 4
    assert {r.reason for r in samples.rejected} == {"lies in the split's folder, not in a class's"}


def test_splits_in_each_class(tmp_path: Path) -> None:
    folders = [f"{label}/{split}" for label in ("cat", "dog") for split in ("Training", "val2")]
    samples = scan_folder(tree(tmp_path, *folders))
    assert samples.given_splits and samples.class_names == ("cat", "dog")
    assert {(s.path.split("/")[1], s.split) for s in samples} == {
        ("Training", "train"),
        ("val2", "validation"),
    }
    assert {sample.class_depth for sample in samples} == {0}


@pytest.mark.parametrize(
    "folders",
    [
        of_two("Alpha", "Beta"),
        of_two("fold1", "fold2", "fold3"),
        [*of_two("Alpha", "Beta"), "samples"],
        ["A/cat", "A/dog", "A/bird", "B/Cat", "B/DOG"],
        ["1/train/cat", "1/test/cat", "2/train/cat", "2/test/cat"],
        ["COVID/images", "COVID/masks", "Normal/images", "Normal/masks"],
    ],
)
def test_folders_alike_are_refused_whatever_their_names(tmp_path: Path, folders: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        scan_folder(tree(tmp_path, *folders))
    message = str(caught.value)
    assert "hold sub-folders of the same names" in message
    assert "--splits none" in message
    assert ("--splits train=" in message) == ("give one of them alone" not in message)
    classes = scan_folder(tmp_path, splits=["none"])
    assert set(classes.class_names) == {folder.split("/")[0] for folder in folders}


def test_the_refusal_names_a_few_folders_only(tmp_path: Path) -> None:
    folders = [f"{fold}/{label}" for fold in range(9) for label in range(40)]
    with pytest.raises(DataError) as caught:
        scan_folder(tree(tmp_path, *folders, files=1))
    assert "0, 1, 2, 3 and 5 more" in str(caught.value) and "and 36 more" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "folders",
    [
        ["cat/images", "dog/images"],  # one name only
        ["cat/day", "cat/night", "dog", "bird", "cow"],
        ["cat/tabby", "cat/siamese", "dog/poodle", "dog/husky"],
        ["train", "bus", "car"],
        ["train/steam", "train/diesel", "bus", "car"],
        ["steam train/red", "steam train/blue", "bus"],
        ["cats_train", "cats_test", "dogs"],  # one class only
        ["test", "cat"],
    ],
)
def test_ordinary_classes_with_sub_folders_are_read(tmp_path: Path, folders: list[str]) -> None:
    samples = scan_folder(tree(tmp_path, *folders))
    assert not samples.given_splits
    assert set(samples.class_names) == {folder.split("/")[0] for folder in folders}


def test_the_user_says_which_folders_are_splits(tmp_path: Path) -> None:
    tree(tmp_path, *of_two("Alpha", "Beta", "Gamma", "Rest"))
    said = ["train=Alpha", "train=Gamma", "test=Beta/"]
    samples = scan_folder(tmp_path, splits=said)
    assert splits_by_folder(samples) == {"Alpha": "train", "Gamma": "train", "Beta": "test"}
    assert samples.class_names == ("cat", "dog") and len(samples.rejected) == 4
    config = Config().replace({"data.splits": said, "data.folder": str(tmp_path)})
    assert scan_dataset(config, tmp_path) == samples


def test_the_user_says_which_folders_of_each_class_are_splits(tmp_path: Path) -> None:
    folders = [f"{label}/{split}" for label in ("cat", "dog") for split in ("A", "B")]
    samples = scan_folder(tree(tmp_path, *folders), splits=["train=A", "val=B"])
    assert {(s.path.split("/")[1], s.split) for s in samples} == {
        ("A", "train"),
        ("B", "validation"),
    }


def test_with_none_the_names_do_not_count(tmp_path: Path) -> None:
    samples = scan_folder(tree(tmp_path, *of_two("train", "test")), splits=["none"])
    assert not samples.given_splits and samples.class_names == ("test", "train")


def test_a_said_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the folder 'C', in which there are no images.*Alpha, Beta"
    ):
        scan_folder(tree(tmp_path, *of_two("Alpha", "Beta")), splits=["train=Alpha", "test=C"])


@pytest.mark.parametrize("said", [["Training"], ["training=A"], ["train="], ["none", "train=A"]])
def test_other_forms_are_refused(said: list[str]) -> None:
    with pytest.raises(ConfigError, match="SPLIT=FOLDER with train, validation, test"):
        parse_splits(said)


def test_splits_of_the_training_folder_are_not_asked_of_another(tmp_path: Path) -> None:
    tree(tmp_path / "photos", *of_two("Alpha", "Beta"))
    other = tree(tmp_path / "new", "cat", "dog")
    changes = {"data.splits": ["train=Alpha", "test=Beta"], "data.folder": str(tmp_path / "photos")}
    samples = scan_dataset(Config().replace(changes), other)
    assert not samples.given_splits and samples.class_names == ("cat", "dog")


def test_file_names_give_classes_within_split_folders(tmp_path: Path) -> None:
    for name in ("Training/cat.0.png", "Training/dog.0.png", "Testing/cat.1.png", "more/dog.7.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / name)
    samples = scan_prefixes(tmp_path)
    assert {(s.label, s.split) for s in samples} == {
        ("cat", "train"),
        ("dog", "train"),
        ("cat", "test"),
    }
    assert len(samples.rejected) == 1


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan_folder(root)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


@pytest.mark.parametrize("inner", ["PetImages", "a/b", "my pets/PetImages", "dataset/images"])
@pytest.mark.parametrize("stray", ["README", "cover.png", "__MACOSX/x/._1.jpg", "docs/notes.txt"])
def test_a_wrapper_is_named(tmp_path: Path, inner: str, stray: str) -> None:
    tree(tmp_path, *of_two(inner))
    (tmp_path / stray).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / stray).write_bytes(b"x")
    message = refusal(tmp_path)
    folder = tmp_path / inner
    quoted = f"'{folder}'" if " " in inner else str(folder)
    assert f"give {quoted}, which holds the folders cat, dog" in message


def test_splits_in_a_wrapper_are_named(tmp_path: Path) -> None:
    message = refusal(tree(tmp_path, *of_two("dataset/train", "dataset/test")))
    assert f"give {tmp_path}/dataset, which holds the folders test, train" in message


def test_a_table_of_labels_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "train")
    (tmp_path / "labels.csv").write_text("id,breed\n0,pug\n")
    message = refusal(tmp_path)
    assert "labels.csv may be a table of labels, which is not read" in message
    assert "copy each image into a sub-folder named after its class" in message


@pytest.mark.parametrize(
    ("names", "example"),
    [
        (("rose_1", "rose_2", "tulip_1"), "rose from rose_1.png; 2 classes: rose, tulip"),
        (("cat.0", "cat.1", "dog.0", "dog.1"), "cat from cat.0.png; 2 classes: cat, dog"),
        (("cat12", "cat13", "dog 1", "dog-2"), "cat from cat12.png; 2 classes: cat, dog"),
        (("great dane (1)", "great dane (2)", "pug1"), "great dane from great dane (1).png"),
    ],
)
@pytest.mark.parametrize("folder", ["", "train"])
def test_classes_in_file_names_are_named_and_read(
    tmp_path: Path, names: tuple[str, ...], example: str, folder: str
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / folder / f"{name}.png")
    message = refusal(tmp_path)
    assert "--label-from prefix takes the class from the file's name" in message
    assert example in message
    assert len(scan_prefixes(tmp_path)) == len(names)


def test_a_stray_name_makes_no_class(tmp_path: Path) -> None:
    for name in ("rose_1", "rose_2", "tulip_1", "scan 1", "a.b"):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / f"{name}.png")
    samples = scan_prefixes(tmp_path)
    assert samples.class_names == ("rose", "tulip") and len(samples.rejected) == 2


@pytest.mark.parametrize("other", ["unlabeled", "pred", "Unlabelled images", "extra", "new_images"])
@pytest.mark.parametrize("train", ["train", "Training", "train/train", "train/images", "labeled"])
def test_images_without_classes_beside_the_only_split_are_left_out_and_named(
    tmp_path: Path, train: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    samples = scan_folder(tree(tmp_path, *of_two(train), other))
    assert samples.class_names == ("cat", "dog") and len(samples) == 4
    assert {sample.split for sample in samples} == {"train"}
    assert {r.path.split("/")[0] for r in samples.rejected} == {other}
    assert f"{other}: 2 images are left out" in caplog.text and f"({train})" in caplog.text


def test_images_to_predict_beside_a_train_folder_of_the_same_rest(tmp_path: Path) -> None:
    samples = scan_folder(tree(tmp_path, *of_two("seg_train/seg_train"), "seg_pred/seg_pred"))
    assert samples.class_names == ("cat", "dog") and len(samples) == 4


def test_one_folder_without_classes_beside_a_train_folder_is_asked_for(tmp_path: Path) -> None:
    message = refusal(tree(tmp_path, "train/steam", "train/diesel", "bus"))
    assert "--splits train=train reads them, without bus" in message
    assert "if train and bus are two classes: --splits none" in message
    assert scan_folder(tmp_path, splits=["none"]).class_names == ("bus", "train")
    assert scan_folder(tmp_path, splits=["train=train"]).class_names == ("diesel", "steam")


@pytest.mark.parametrize("form", ["{1}_{0}", "{0}_{1}", "{1} {0}", "{1}-{0}", "{0}ing_{1}"])
def test_a_split_and_a_class_in_one_name_are_refused(tmp_path: Path, form: str) -> None:
    folders = [form.format(s, c) for s in ("train", "test") for c in ("cats", "dogs")]
    message = refusal(tree(tmp_path, *folders))
    assert "have a split and a class in one name" in message
    assert "such as test/cats and train/cats" in message and "--splits none" in message
    assert all(folder in message for folder in folders)
    assert set(scan_folder(tmp_path, splits=["none"]).class_names) == set(folders)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/train_cats", "test/test_cats"),
        ("train/cats", "test/Cats"),
        ("train/cats_train", "test/cats"),
        ("Training/CATS", "val/cats"),
    ],
)
def test_a_class_with_two_names_in_the_splits_is_refused(
    tmp_path: Path, train: str, test: str
) -> None:
    dogs = [f"{path.split('/')[0]}/dogs" for path in (train, test)]
    message = refusal(tree(tmp_path, train, test, *dogs))
    assert train in message and test in message
    assert "look like one class with 2 names: give its folders one name" in message


def test_classes_of_one_split_alone_are_no_spellings(tmp_path: Path) -> None:
    samples = scan_folder(tree(tmp_path, *of_two("train", "test"), "train/bird", "test/cow"))
    assert samples.class_names == ("bird", "cat", "cow", "dog")


@pytest.mark.parametrize("second", [("cat", "cow"), ("cat", "cow", "owl")])
def test_folders_that_share_one_class_are_warned_of(
    tmp_path: Path, second: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folders = [*of_two("batch1"), *(f"batch2/{label}" for label in second)]
    samples = scan_folder(tree(tmp_path, *folders))
    assert samples.class_names == ("batch1", "batch2")
    assert "batch1, batch2 are read as classes, but hold sub-folders of the same name" in (
        caplog.text
    )


@pytest.mark.parametrize("plain", [["cow"], ["cow", "owl"], ["cow/pen"], ["cow", "dog/extra"]])
def test_a_class_without_splits_beside_classes_with_them_is_named(
    tmp_path: Path, plain: list[str]
) -> None:
    folders = [f"{label}/{split}" for label in ("bird", "cat") for split in ("train", "test")]
    message = refusal(tree(tmp_path, *folders, *plain))
    others = ", ".join(dict.fromkeys(folder.split("/")[0] for folder in plain))
    assert f"bird, cat hold splits (test, train), but {others} hold" in message
    assert "such as cow/train" in message and "give one of them alone" not in message
