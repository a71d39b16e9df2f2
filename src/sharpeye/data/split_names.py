"""Recognize the names that people and tools give to the folders of training and test images.

    train Training train_set trainset TrainData images_train train2017    train
    val valid validation dev dev_set eval val2017                         validation
    test Testing test_set testset test1 holdout held-out                  test
    Trainingsdaten entrenamiento validierung validação prueba teste       in other languages

What is left of a name after the split's word, numbers and words such as `images` and `set` is its
`rest`: `seg` for `seg_train` and `seg_test`. Folders are splits of one data set only with one rest.
"""

import re
import unicodedata

from sharpeye.core.types import Split

NO_SPLITS = "none"  # the entry of `data.splits` by which no folder is a split
_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn", "trainval", "trainings"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
    # German, French, Spanish, Italian and Portuguese, without accents
    **dict.fromkeys(("entrainement", "apprentissage", "entrenamiento"), "train"),
    **dict.fromkeys(("addestramento", "allenamento", "treino", "treinamento"), "train"),
    **dict.fromkeys(("validierung", "validierungs", "validacion", "validazione"), "validation"),
    **dict.fromkeys(("convalida", "validacao"), "validation"),
    **dict.fromkeys(("tests", "prueba", "pruebas", "teste", "testes"), "test"),
}
_FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs"),
        *("photo", "photos", "picture", "pictures", "pic", "pics", "folder", "dir", "split"),
        *("daten", "datensatz", "bilder", "donnees", "datos", "imagenes", "dati", "dados"),
        *("part", "sample", "samples", "file", "files", "subset", "jpg", "jpeg", "png", "the"),
    )
)
_UNLABELLED = frozenset(
    (
        *("unlabeled", "unlabelled", "unlabel", "unsorted", "unknown", "unclassified"),
        *("pred", "predict", "prediction", "predictions", "inference", "infer", "submission"),
        *("extra", "extras", "new", "raw", "sample", "samples", "example", "examples"),
    )
)
_LABELLED = frozenset(("labeled", "labelled", "annotated"))
_COMPOUND = re.compile(
    rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})({'|'.join(_FILLERS)})"
)
_TOKEN = re.compile(r"[^\W\d_]+|\d+")


def split_of_name(name: str) -> tuple[Split, tuple[str, ...]] | None:
    """The split that a folder's name says, and the rest of the name; None if it says none.

    A name with two splits' words says none, but `train_val` is for training.
    """
    splits: set[Split] = set()
    rest: list[str] = []
    for token in _tokens(name):
        if token in _WORDS:
            splits.add(_WORDS[token])
        elif not token.isdecimal() and token not in _FILLERS:
            rest.append(token)
    if splits == {"train", "validation"}:
        splits = {"train"}
    return (splits.pop(), tuple(rest)) if len(splits) == 1 else None


def _tokens(name: str) -> list[str]:
    text = unicodedata.normalize("NFKC", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()
    text = re.sub(r"h[eo]ld[\s_-]?out", "holdout", text)
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        plain = _without_accents(token)
        compound = _COMPOUND.fullmatch(plain)
        tokens += compound.groups() if compound else [plain if plain in _WORDS else token]
    return tokens


def _without_accents(text: str) -> str:
    pieces = unicodedata.normalize("NFKD", text)
    return "".join(piece for piece in pieces if not unicodedata.combining(piece))


def has_labels(name: str) -> bool:
    """Whether a folder's name says that its images have classes: `labeled`."""
    tokens = _tokens(name)
    return any(t in _LABELLED for t in tokens) and all(
        t in _LABELLED or t in _FILLERS or t in _WORDS for t in tokens
    )


def has_no_labels(name: str, rest: tuple[str, ...] = ()) -> bool:
    """Whether a folder's name says that its images have no classes: `seg_pred` with rest `seg`."""
    tokens = _tokens(name)
    return any(t in _UNLABELLED for t in tokens) and all(
        t in _UNLABELLED or t in _FILLERS or t in _WORDS or t in rest or t.isdecimal()
        for t in tokens
    )


def is_filler(name: str) -> bool:
    """Whether a folder's name has only words such as `images` and `data`, or a split's."""
    return all(t in _FILLERS or t in _WORDS or t.isdecimal() for t in _tokens(name))
