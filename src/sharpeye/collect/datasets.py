"""Public data sets by name. Digest and size are pinned: another file is refused."""

from dataclasses import dataclass

from sharpeye.errors import UsageError, near_match


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that can be downloaded as one archive.

    Attributes:
        name: as the command line takes it.
        url: of the archive.
        sha256, bytes: of the archive.
        pictures, classes: how many there are in it.
        licence: of the pictures, and where their makers are named.
        about: what it shows, in a few words.
    """

    name: str
    url: str
    sha256: str
    bytes: int
    pictures: int
    classes: int
    licence: str
    about: str


_DATASETS = {
    dataset.name: dataset
    for dataset in (
        # Digest and size as TensorFlow Datasets checks them:
        # tensorflow_datasets/datasets/tf_flowers/checksums.tsv of github.com/tensorflow/datasets
        Dataset(
            name="flowers",
            url="https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
            sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
            bytes=228_813_984,
            pictures=3_670,
            classes=5,
            licence="CC BY 2.0, photographers in LICENSE.txt",
            about="TensorFlow's flower photographs",
        ),
    )
}


def list_datasets() -> list[Dataset]:
    """Every data set that has a name."""
    return list(_DATASETS.values())


def get_dataset(name: str) -> Dataset:
    """Find a data set.

    Raises:
        UsageError: no such data set; the message has the nearest name.
    """
    if name not in _DATASETS:
        raise UsageError(
            f"no data set is called {name}. {near_match(name, _DATASETS)} "
            "Or give the URL of an archive, such as https://example.org/pictures.zip"
        )
    return _DATASETS[name]
