"""Public data sets by name. Digest and size of every file are pinned: another one is refused."""

from dataclasses import dataclass

from sharpeye.errors import UsageError, near_match


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        sha256: the hexadecimal digest that it must have, if that is known.
        size: its number of bytes, likewise.
    """

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that can be downloaded.

    Attributes:
        name: as the command line takes it.
        files: one archive; or, with `class_names`, files that are used as they are.
        images, classes: how many there are in it; damaged images count.
        licence: of the images, and where its text or their makers are named.
        description: what it shows, in a few words.
        class_names: in the order of the class index, where no file says them.
    """

    name: str
    files: tuple[RemoteFile, ...]
    images: int
    classes: int
    licence: str
    description: str
    class_names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size or 0 for file in self.files)


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


# TensorFlow Datasets checks the same digest and size:
# tensorflow_datasets/datasets/tf_flowers/checksums.tsv of github.com/tensorflow/datasets
_FLOWERS = RemoteFile(
    "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
    "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    228_813_984,
)

# The binary version: the one for Python is a pickle, which could run code when it is read.
# TensorFlow Datasets checks the same digest and size:
# tensorflow_datasets/url_checksums/cifar10.txt of github.com/tensorflow/datasets
_CIFAR10 = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
)

# Hugging Face's datasets checked the same digest and size:
# datasets/cats_vs_dogs/dataset_infos.json of github.com/huggingface/datasets at 0129d93;
# the digest also in examples/dogsvscats/dogsvscats.go of github.com/gomlx/gomlx
_CATS_VS_DOGS = RemoteFile(
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
    824_887_076,
)

# The authors' repository, at a commit: nothing at this address can change. TensorFlow Datasets
# checks the same digests and sizes:
# tensorflow_datasets/url_checksums/fashion_mnist.txt of github.com/tensorflow/datasets
_FASHION_FOLDER = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
_FASHION_MNIST = (
    RemoteFile(
        f"{_FASHION_FOLDER}train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        26_421_880,
    ),
    RemoteFile(
        f"{_FASHION_FOLDER}train-labels-idx1-ubyte.gz",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        29_515,
    ),
    RemoteFile(
        f"{_FASHION_FOLDER}t10k-images-idx3-ubyte.gz",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        4_422_102,
    ),
    RemoteFile(
        f"{_FASHION_FOLDER}t10k-labels-idx1-ubyte.gz",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        5_148,
    ),
)
# github.com/zalandoresearch/fashion-mnist, README.md, "Labels"
_FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="flowers",
            files=(_FLOWERS,),
            images=3_670,
            classes=5,
            licence="CC BY 2.0, photographers in LICENSE.txt",
            description="TensorFlow's flower photographs",
        ),
        Dataset(
            name="cifar10",
            files=(_CIFAR10,),
            images=60_000,
            classes=10,
            licence="none stated, see www.cs.toronto.edu/~kriz/cifar.html",
            description="CIFAR-10, things and animals at 32x32",
        ),
        Dataset(
            name="cats-vs-dogs",
            files=(_CATS_VS_DOGS,),
            images=25_000,
            classes=2,
            licence="CDLA Permissive 2.0, in CDLA-Permissive-2.0.pdf",
            description="Microsoft's photographs of pets, a few of them damaged",
        ),
        Dataset(
            name="fashion-mnist",
            files=_FASHION_MNIST,
            images=70_000,
            classes=10,
            licence="MIT, Zalando SE",
            description="Zalando's clothes in grey at 28x28",
            class_names=_FASHION_CLASSES,
        ),
    )
}
