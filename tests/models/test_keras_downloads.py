"""Keras' weights: found in Keras' own folder, downloaded there atomically, and checked."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from loopback import Loopback, serving
from sharpeye.errors import EnvironmentFault, ModelError, NetworkError
from sharpeye.models.backbone import BackboneConfig, load_backbone, local_models
from sharpeye.models.registry import get_spec, list_models
from sharpeye.models.weights.keras_downloads import (
    RemoteWeights,
    ensure_weights,
    find_weights,
)

NAME = "mobilenet_2_5_128_tf_no_top.h5"
DATA = b"these are weights" * 1000
SHA256, MD5 = hashlib.sha256(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()
NOWHERE = RemoteWeights(NAME, f"http://127.0.0.1:9/{NAME}")


@pytest.fixture(autouse=True)
def keras_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras' folder, which does not exist yet."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("sharpeye.web.download.PAUSES_SECONDS", ())
    return tmp_path / "keras" / "models"


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A local server that has the file."""
    with serving() as loopback:
        loopback.add(f"/{NAME}", DATA)
        yield loopback


def write(folder: Path, data: bytes = DATA) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(data)
    return folder / NAME


def test_a_given_folder_comes_before_keras_own(keras_models: Path, tmp_path: Path) -> None:
    assert find_weights(NOWHERE) is None
    assert find_weights(NOWHERE, tmp_path) is None
    file = write(keras_models)
    assert find_weights(NOWHERE) == find_weights(NOWHERE, tmp_path) == file
    other = write(tmp_path / "mine")
    assert find_weights(NOWHERE, other.parent) == ensure_weights(NOWHERE, other.parent) == other


def test_keras_own_folder_is_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights(NOWHERE) is None
    file = write(tmp_path / ".keras" / "models")
    assert find_weights(NOWHERE) == file


@pytest.mark.parametrize("known", [{}, {"md5": MD5}, {"sha256": SHA256}])
def test_a_missing_file_is_downloaded_once(
    known: dict[str, str],
    server: Loopback,
    keras_models: Path,
    cache: Path,
) -> None:
    weights = RemoteWeights(NAME, f"{server.root}/{NAME}", **known)
    for _ in range(2):
        assert ensure_weights(weights) == keras_models / NAME
        assert (keras_models / NAME).read_bytes() == DATA
    assert len(server.requests) == 1
    assert [file.name for file in keras_models.iterdir()] == [NAME]
    assert (cache / "weights" / f"{NAME}.json").exists() == (not known)


@pytest.mark.parametrize("known", [{"md5": "0" * 32}, {"sha256": "0" * 64}])
def test_a_wrong_download_leaves_no_file_for_keras(
    known: dict[str, str], server: Loopback, keras_models: Path
) -> None:
    weights = RemoteWeights(NAME, f"{server.root}/{NAME}", **known)
    with pytest.raises(ModelError) as caught:
        ensure_weights(weights)
    message = str(caught.value)
    (digest,) = known.values()
    assert weights.url in message and digest in message and "\n" not in message
    assert (MD5 if "md5" in known else SHA256) in message
    assert list(keras_models.iterdir()) == []


@pytest.mark.parametrize("known", [{"md5": "0" * 32}, {"sha256": "0" * 64}])
def test_a_file_with_another_digest_is_refused(known: dict[str, str], keras_models: Path) -> None:
    file = write(keras_models)
    with pytest.raises(ModelError, match="delete it to download it again") as caught:
        ensure_weights(replace(NOWHERE, **known))
    assert str(file) in str(caught.value)
    assert file.exists()


def test_a_file_is_trusted_on_first_use_and_must_not_change(
    keras_models: Path, cache: Path
) -> None:
    file = write(keras_models)
    assert ensure_weights(NOWHERE) == ensure_weights(NOWHERE) == file
    write(keras_models, b"other weights")
    with pytest.raises(ModelError) as caught:
        ensure_weights(NOWHERE)
    message, note = str(caught.value), cache / "weights" / f"{NAME}.json"
    assert SHA256 in message and hashlib.sha256(b"other weights").hexdigest() in message
    assert str(file) in message and str(note) in message and "\n" not in message
    note.unlink()
    assert ensure_weights(NOWHERE) == file
    note.write_text("damaged")
    assert ensure_weights(NOWHERE) == file


def test_a_broken_download_is_continued(server: Loopback, keras_models: Path) -> None:
    url = server.add("/broken", DATA, cuts=[5000])
    with pytest.raises(NetworkError):
        ensure_weights(RemoteWeights(NAME, url))
    assert find_weights(NOWHERE) is None
    assert ensure_weights(RemoteWeights(NAME, url)).read_bytes() == DATA
    assert server.sent == [5000, len(DATA) - 5000]


def test_without_a_network_the_message_names_alternatives(keras_models: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        ensure_weights(NOWHERE)
    message = str(caught.value)
    assert caught.value.exit_code == 7
    assert "\n" not in message
    assert NOWHERE.url in message
    assert f"{NAME} is not in {keras_models}: put it there yourself" in message
    assert "give --weights FILE" in message
    assert "--weights none" not in message


def test_a_given_folder_receives_the_download_and_is_searched(
    server: Loopback, keras_models: Path, tmp_path: Path
) -> None:
    weights, folder = RemoteWeights(NAME, f"{server.root}/{NAME}"), tmp_path / "new" / "models"
    for _ in range(2):
        assert ensure_weights(weights, folder) == folder / NAME
    assert (folder / NAME).read_bytes() == DATA
    assert len(server.requests) == 1
    assert not keras_models.exists()
    with pytest.raises(NetworkError, match=f"is not in {tmp_path} or {keras_models}: put it there"):
        ensure_weights(NOWHERE, tmp_path)


def test_without_a_network_models_at_hand_are_named(keras_models: Path, tmp_path: Path) -> None:
    folder, at_hand = tmp_path / "mine", remote_weights_of("mobilenet_0.25_160").file
    folder.mkdir()
    (folder / at_hand).write_bytes(DATA)
    assert local_models() == ["efficientnet_lite0"]
    assert local_models(folder) == ["efficientnet_lite0", "mobilenet_0.25_160"]
    config = BackboneConfig("mobilenet_0.25_128", weights_folder=folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NetworkError) as caught:
        # No test leaves this machine.
        patch.setattr("sharpeye.web.download._Download.run", refuse)
        load_backbone(config)
    message = str(caught.value)
    assert message.endswith("; no download is needed for efficientnet_lite0, mobilenet_0.25_160")


def refuse(_: object) -> None:
    raise NetworkError("cannot reach the server")


def test_a_folder_that_cannot_be_written_is_named(keras_models: Path) -> None:
    keras_models.parent.write_text("a file")
    with pytest.raises(EnvironmentFault, match="set KERAS_HOME") as caught:
        ensure_weights(NOWHERE)
    assert str(keras_models) in str(caught.value)


def remote_weights_of(name: str) -> RemoteWeights:
    """The file that the model's `find_weights` looks for."""
    weights = get_spec(name).imagenet
    assert weights and isinstance(weights.find, partial)
    remote = weights.find.args[0]
    assert isinstance(remote, RemoteWeights)
    return remote


def test_names_and_urls_are_those_of_keras() -> None:
    site = "https://storage.googleapis.com/tensorflow/keras-applications"
    v1, v2 = remote_weights_of("mobilenet_0.50_192"), remote_weights_of("mobilenet_v2_1.0_224")
    inception = remote_weights_of("inception_v3")
    assert v1.url == f"{site}/mobilenet/mobilenet_5_0_192_tf_no_top.h5"
    stem = "weights_tf_dim_ordering_tf_kernels"
    assert v2.url == f"{site}/mobilenet_v2/mobilenet_v2_{stem}_1.0_224_no_top.h5"
    assert inception.url == f"{site}/inception_v3/inception_v3_{stem}_notop.h5"
    assert all(weights.url.endswith(f"/{weights.file}") for weights in (v1, v2, inception))
    assert inception.md5 == "bcbd6486424b2319ff4ef7d526e38f63"


def test_known_digests_belong_to_files_in_use() -> None:
    from sharpeye.models.weights import keras_downloads

    names = [spec.name for spec in list_models() if spec.name.startswith("mobilenet_")]
    used = [remote_weights_of(name) for name in [*names, "inception_v3"]]
    assert {weights.file for weights in used} >= {*keras_downloads._MD5, *keras_downloads._SHA256}
    assert all(len(digest) == 32 for digest in keras_downloads._MD5.values())
    assert all(len(digest) == 64 for digest in keras_downloads._SHA256.values())
