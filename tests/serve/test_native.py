"""`POST /v1/predict`: all forms of a request give the predictions of the command line."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import sharpeye
from http_client import base64_of, client_of, json_lines
from sharpeye.cli.app import run
from sharpeye.serve.api import ServeSettings
from sharpeye.serve.limits import RequestLimits

URL = "/v1/predict"


def predictions(response: Any, status: int = 200) -> list[dict[str, Any]]:
    assert response.status_code == status, response.text
    results = response.json()["predictions"]
    assert isinstance(results, list)
    return results


def error(response: Any, status: int) -> str:
    """The error's one line."""
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert "\n" not in message
    return str(message)


# --- one image in all forms --------------------------------------------------------------------


def test_every_form_of_an_image_has_the_same_prediction(client: httpx.Client, image: bytes) -> None:
    text = base64_of(image)
    wrapped = base64.encodebytes(image).decode()
    form = {"file": ("rose.png", image, "image/png")}
    results = [
        predictions(client.post(URL, files=form)),
        predictions(client.post(URL, files={"files": ("x", image)})),
        predictions(client.post(URL, json={"image": text})),
        predictions(client.post(URL, json={"images": [text]})),
        predictions(client.post(URL, json={"image": f"data:image/png;base64,{wrapped}"})),
        predictions(client.post(URL, json={"image": base64.urlsafe_b64encode(image).decode()})),
        predictions(client.post(URL, json={"image": text.rstrip("=")})),
        predictions(client.post(URL, content=image, headers={"Content-Type": "image/png"})),
        predictions(client.post(URL, content=image)),
        # curl's --data-binary sends files with this type
        predictions(
            client.post(
                URL, content=image, headers={"Content-Type": "application/x-www-form-urlencoded"}
            )
        ),
    ]
    names = [result.pop("name") for (result,) in results]
    assert names[:4] == ["rose.png", "x", "image", "images[0]"]
    assert all(result == results[0] for result in results)
    keys = ["label", "score", "top", "box", "unknown", "unknown_score"]
    assert list(results[0][0]) == keys


@pytest.mark.parametrize(
    "prefix",
    [
        "data:image/png;base64,",
        "DATA:IMAGE/PNG;BASE64,",
        "data:;base64,",
        "data:image/jpeg;name=x;charset=utf-8;base64,",
        'data:image/svg+xml;name="a b.png";base64,',
        " data:image/png;base64, ",
    ],
)
def test_data_urls_in_every_spelling(client: httpx.Client, image: bytes, prefix: str) -> None:
    expected = predictions(client.post(URL, content=image))[0] | {"name": ""}
    text = prefix + base64_of(image)
    for response in (
        client.post(URL, json={"image": text}),
        client.post(URL, content=text, headers={"Content-Type": "text/plain"}),
        client.post(URL, files={"image": text.encode()}),
    ):
        assert predictions(response)[0] | {"name": ""} == expected


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("line_end", ["", "\n", "\r\n", " "])
@pytest.mark.parametrize("padded", [True, False])
def test_base64_in_every_alphabet(
    client: httpx.Client, image: bytes, alphabet: Any, line_end: str, padded: bool
) -> None:
    image += b"\xfb\xef\xff" * 20  # which gives all characters in which the alphabets differ
    text = alphabet(image).decode()
    text = text if padded else text.rstrip("=")
    lines = line_end.join(text[i : i + 76] for i in range(0, len(text), 76)) + line_end
    expected = predictions(client.post(URL, content=image))[0] | {"name": ""}
    assert predictions(client.post(URL, json={"image": lines}))[0] | {"name": ""} == expected


@pytest.mark.parametrize("field", ["file", "files", "files[]", "image", "images[0]", "Image"])
@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream"])
def test_form_fields_without_a_file_name_hold_images(
    client: httpx.Client, image: bytes, field: str, kind: str
) -> None:
    expected = predictions(client.post(URL, content=image))[0] | {"name": ""}
    for file_name in ("", '; filename=""', '; filename="blob"'):
        head = f'--b\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n'
        head += f"Content-Type: {kind}\r\n\r\n" if kind else "\r\n"
        body = head.encode() + image + b"\r\n--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        (result,) = predictions(client.post(URL, content=body, headers=headers))
        assert result["name"] == ("blob" if "blob" in file_name else f"{field}[0]")
        assert result | {"name": ""} == expected


def test_a_form_without_a_file_is_400(client: httpx.Client) -> None:
    for fields in ({"top": "3"}, {"picture": "x"}):
        body = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        response = client.post(URL, content=body + "--b--\r\n", headers=headers)
        assert "the form has no file; send at least one" in error(response, 400)


def test_many_files_are_predicted_in_their_order(client: httpx.Client, trained: Path) -> None:
    files = sorted((trained.parent / "hard").rglob("*.png"))
    form = [("files", (file.name, file.read_bytes())) for file in files]
    results = predictions(client.post(URL, files=form))
    assert [result["name"] for result in results] == [file.name for file in files]
    model = sharpeye.load(trained)
    for result, file in zip(results, files, strict=True):
        expected = model.predict(file.read_bytes()).to_dict()
        assert {**result, "path": None} == {**expected, **result}


@pytest.mark.parametrize("top", [1, 2, 3, 99])
def test_top_in_query_form_and_json(client: httpx.Client, image: bytes, top: int) -> None:
    text = base64_of(image)
    for response in (
        client.post(f"{URL}?top={top}", content=image),
        client.post(URL, files={"file": image}, data={"top": str(top)}),
        client.post(URL, json={"image": text, "top": top}),
        client.post(f"{URL}?top={top}", json={"image": text, "top": 1}),
    ):
        (result,) = predictions(response)
        assert len(result["top"]) == min(3, top)


@pytest.mark.parametrize("top", ["x", "-1", "1.5", "", "1e3", "9" * 50, "²"])
def test_a_top_that_is_no_number_is_refused(client: httpx.Client, image: bytes, top: str) -> None:
    assert "top must be a whole number" in error(
        client.post(URL, params={"top": top}, content=image), 400
    )
    assert "top must be" in error(
        client.post(URL, json={"image": base64_of(image), "top": top}), 400
    )


def unusual_images() -> dict[str, bytes]:
    """Images that a server and a command line could decode differently."""
    random = np.random.default_rng(1)
    colour = Image.fromarray(random.integers(0, 256, (90, 120, 3)).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(random.integers(0, 65536, (60, 70)).astype(np.uint16))
    files = {}
    for name, image, options in (
        ("large.jpg", colour.resize((1600, 1200)), {"quality": 90}),
        ("turned.jpg", colour, {"exif": turned}),
        ("cmyk.jpg", colour.convert("CMYK"), {}),
        ("grey.png", colour.convert("L"), {}),
        ("alpha.png", Image.merge("RGBA", [*colour.split(), colour.convert("L")]), {}),
        ("palette.gif", colour.convert("P"), {}),
        ("deep.png", deep, {}),
        ("lossy.webp", colour, {}),
        ("plain.bmp", colour, {}),
        ("packed.tif", colour, {"compression": "tiff_lzw"}),
        ("thin.png", colour.resize((300, 1)), {}),
    ):
        file = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name.rpartition(".")[2].upper())
        image.save(file, kind, **options)
        files[name] = file.getvalue()
    return files


def test_the_command_line_predicts_the_same(
    client: httpx.Client, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the last written digit, for images sent one by one and all together."""
    images = unusual_images()
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    assert run(["predict", str(trained), str(tmp_path), "--format", "jsonl"]) == 0
    expected = json_lines(capsys.readouterr().out)
    assert len(expected) == len(images)
    form = [
        ("files", (Path(line["path"]).name, images[Path(line["path"]).name])) for line in expected
    ]
    together = predictions(client.post(URL, files=form))
    for line, result in zip(expected, together, strict=True):
        name = Path(line.pop("path")).name
        assert result.pop("name") == name
        assert result == line
        (alone,) = predictions(client.post(URL, content=images[name]))
        assert {**alone, "name": name} == {**line, "name": name}


def test_one_thread_and_all_cores_predict_the_same_bits(trained: Path, image: bytes) -> None:
    from sharpeye.artefact.session import open_model
    from sharpeye.predict.predictor import Model

    one_thread, all_cores = Model(open_model(trained)), Model(open_model(trained, threads=4))
    for data in (image, *unusual_images().values()):
        assert one_thread.predict(data) == all_cores.predict(data)


# --- unreadable images ---------------------------------------------------------------------------


def test_unreadable_images_do_not_affect_the_others(client: httpx.Client, image: bytes) -> None:
    bad = {"empty.jpg": b"", "page.jpg": b"<html>", "cut.png": image[:900]}
    form = [("files", item) for item in [("a.png", image), *bad.items(), ("z.png", image)]]
    results = predictions(client.post(URL, files=form))
    assert [result["name"] for result in results] == ["a.png", *bad, "z.png"]
    assert [sorted(result) for result in results[1:4]] == [["error", "name"]] * 3
    assert "0 bytes" in results[1]["error"]
    assert "saved web page" in results[2]["error"]
    assert "damaged PNG" in results[3]["error"]
    assert results[0]["top"] == results[4]["top"]
    values = ["no base64!", base64_of(image), 7, None]
    results = predictions(client.post(URL, json={"images": values}))
    assert ["error" in result for result in results] == [True, False, True, True]
    assert "is not base64" in results[0]["error"]
    assert "Received: a number" in results[2]["error"]


def test_a_request_without_a_readable_image_is_422(client: httpx.Client) -> None:
    response = client.post(URL, files={"file": ("x.jpg", b"<html>")})
    assert "cannot read x.jpg: not an image: it is a saved web page" in error(response, 422)
    assert "error" in predictions(response, 422)[0]
    assert "any of the 2 images" in error(client.post(URL, json={"images": ["!", "?"]}), 422)


def test_a_name_with_the_end_of_a_line_leaves_the_error_on_one_line(client: httpx.Client) -> None:
    head = b'Content-Disposition: form-data; name="file"; filename="a\nb"'
    part = b"--x\r\n" + head + b"\r\n\r\nno\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = client.post(URL, content=part, headers=headers)
    assert r"cannot read a\nb: not an image" in error(response, 422)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no images in the request"),
        (b"{", "not JSON"),
        (b"{}", 'one of "image"'),
        (b'{"image": "", "images": []}', 'one of "image"'),
        (b'{"images": []}', "no images"),
        (b'{"images": "x"}', "must be a list. Received: a string"),
        (b'{"imgae": "x"}', "unknown key 'imgae'. Did you mean image?"),
        (b'{"image": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"image": 1' + b"0" * 5000 + b"}", "not JSON"),
        (b"{" + b"\xff" * 10, "not JSON"),
        (b'{"image": "\xff"}', "not JSON"),
        (b' \n{"x": NaN}', "unknown key"),
    ],
)
def test_invalid_bodies_are_400(client: httpx.Client, body: bytes, words: str) -> None:
    assert words in error(client.post(URL, content=body), 400)


def test_more_images_than_allowed_are_413(trained: Path, image: bytes) -> None:
    settings = ServeSettings("trees", limits=RequestLimits(images=3))
    with client_of(sharpeye.load(trained), settings) as client:
        form = [("file", ("x.png", image))]
        assert len(predictions(client.post(URL, files=form * 3))) == 3
        assert "limit of 3" in error(client.post(URL, files=form * 4), 413)
        text = base64_of(image)
        assert "4 images are over the limit of 3" in error(
            client.post(URL, json={"images": [text] * 4}), 413
        )


# --- malformed forms -----------------------------------------------------------------------------

BOUNDARY = "multipart/form-data; boundary=xyz"
PART = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\ndata\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("multipart/form-data", b"x", 400, "no boundary"),
        ("multipart/form-data; boundary=" + "b" * 300, b"x", 400, "not the form"),
        (BOUNDARY, b"", 400, "cut off"),
        (BOUNDARY, b"nonsense", 400, "not the form"),
        (BOUNDARY, PART, 400, "cut off"),
        (BOUNDARY, b"--xyz--\r\n", 400, "the form has no file"),
        (BOUNDARY, b"--xyz\r\n\r\ndata\r\n--xyz--\r\n", 400, "Content-Disposition"),
        (BOUNDARY, PART * 65 + b"--xyz--\r\n", 413, "more images than the limit of 64"),
        (
            BOUNDARY,
            b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 5000 + b"--xyz--",
            413,
            "more fields than the limit of 16",
        ),
        (
            BOUNDARY,
            b'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + b"d" * 5000,
            413,
            "sent as a file",
        ),
        (BOUNDARY, b"--xyz\r\nX: " + b"y" * 100_000, 400, "not the form"),
        (BOUNDARY, b"--xyz\r\n" + b"X: yyyyyyyyy\r\n" * 100_000, 400, "not the form"),
    ],
)
def test_malformed_forms_are_refused(
    client: httpx.Client, kind: str, body: bytes, status: int, words: str
) -> None:
    response = client.post(URL, content=body, headers={"Content-Type": kind})
    message = response.json()["error"]
    assert response.status_code == status or response.status_code == 431, message
    assert words in message or "headers are over the limit" in message


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\x1b[31m.jpg", "x" * 10_000, "<script>", "日本.png", ""]
)
def test_file_names_come_back_as_text(client: httpx.Client, image: bytes, name: str) -> None:
    disposition = f'form-data; name="file"; filename="{name}"'.encode()
    body = b"--xyz\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + image
    response = client.post(
        URL, content=body + b"\r\n--xyz--\r\n", headers={"Content-Type": BOUNDARY}
    )
    if len(name) > 255:
        assert response.status_code in (400, 431)
        return
    (result,) = predictions(response)
    assert result["name"] == (name or "file[0]")
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.text)["predictions"][0] == result
