"""Annotations are listed, read, edited and merged; nobody's boxes or fields are lost."""

import hashlib
import json
import os
import re
import shutil
import threading
import time
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from app_client import AppClient
from PIL import Image

from localizer import scene, scenes, write_localizer
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.errors import UsageError
from sharpeye.images.boxes import to_pixels
from sharpeye.images.voc_xml import VocObject, write_voc
from sharpeye.studio.annotation_list import AnnotationList
from sharpeye.studio.annotations import ABSENT
from sharpeye.studio.label_merge import merge
from sharpeye.studio.pages.label_page import SUGGEST
from sharpeye.studio.state import StudioState
from sharpeye.studio.voc_edit import LabelledObject
from sharpeye.studio.workspace import Workspace

SIZE = (80, 60)

FOREIGN = """<?xml version="1.0" encoding="utf-8"?>
<annotation verified="yes">
  <folder>old</folder><filename>1.png</filename><path>C:\\photos\\1.png</path>
  <source><database>Mine</database><image>flickr</image></source>
  <size><width>80</width><height>60</height><depth>1</depth></size>
  <segmented>1</segmented>
  <weather>rain</weather>
  <object><name>cat</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
    <bndbox><xmin>3.5</xmin><ymin>4</ymin><xmax>30.25</xmax><ymax>40</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
    </part><occluded>1</occluded></object>
  <object><name>dog</name>
    <bndbox><xmin>50</xmin><ymin>10</ymin><xmax>41</xmax><ymax>20</ymax></bndbox>
    <actions><running>1</running></actions></object>
</annotation>
"""


def image(file: Path, size: tuple[int, int] = SIZE, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(file, **options)
    return file


class Client:
    """The routes of the page Label, without a server."""

    def __init__(self, root: Path, suggest: Path | None = None) -> None:
        studio = StudioState(Workspace(root, root.parent / "runs"), suggest)
        self.root = studio.workspace.root
        self.http = AppClient(studio)

    def get(self, path: str) -> dict[str, Any]:
        response = self.http.get("/api/label/boxes", params={"path": path})
        assert response.status_code == 200, response.text
        state: dict[str, Any] = response.json()
        assert response.headers["etag"] == f'"{state["etag"]}"'
        return state

    def put(
        self, state: dict[str, Any], status: int = 200, *, based: bool = True, **change: Any
    ) -> dict[str, Any]:
        """Save what a page makes of `state`, which it read before."""
        body = {"objects": state["objects"], "verified": state["verified"], **change}
        if based:
            body |= {"base": state["objects"], "base_verified": state["verified"]}
        response = self.http.request(
            "PUT",
            "/api/label/boxes",
            params={"path": state["path"]},
            json=body,
            headers={"If-Match": f'"{state["etag"]}"'},
        )
        assert response.status_code == status, response.text
        written: dict[str, Any] = response.json()
        return written

    def list(self) -> dict[str, Any]:
        listed: dict[str, Any] = self.http.get("/api/label/list").json()
        return listed


@pytest.fixture
def client(tmp_path: Path) -> Client:
    image(tmp_path / "photos" / "1.png")
    return Client(tmp_path / "photos")


def box(name: str = "cat", *edges: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "box": list(edges or (2, 3, 30, 40)), **more}


def tree(root: Path, name: str = "1") -> ET.Element:
    return ET.fromstring((root / f"{name}.xml").read_bytes())


# --- one image ---------------------------------------------------------------------------------


def test_a_first_box_makes_a_file_as_labelimg_lays_it_out(client: Client) -> None:
    state = client.get("1.png")
    assert (state["etag"], state["objects"], state["problem"]) == (ABSENT, [], "")
    assert (state["width"], state["height"]) == SIZE
    made = client.put(state, objects=[box(difficult=True), box("dog", 0, 0, 80, 60)], verified=True)
    file = client.root / "1.xml"
    assert made["etag"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert client.get("1.png") == made
    root = tree(file.parent)
    assert (root.tag, root.get("verified")) == ("annotation", "yes")
    tags = ["folder", "filename", "path", "source", "size", "segmented", "object", "object"]
    assert [element.tag for element in root] == tags
    texts = [root.findtext(t) for t in ("folder", "filename", "path", "source/database")]
    assert texts == ["photos", "1.png", "1.png", "Unknown"]
    assert [root.findtext(f"size/{t}") for t in ("width", "height", "depth")] == ["80", "60", "3"]
    first = root.findall("object")[0]
    assert [element.tag for element in first] == [
        "name",
        "pose",
        "truncated",
        "difficult",
        "bndbox",
    ]
    assert [element.text for element in first][:4] == ["cat", "Unspecified", "0", "1"]
    # Pascal VOC counts pixels from 1 and includes the last one.
    assert [element.text for element in first[4]] == ["3", "4", "30", "40"]
    whole = root.findall("object")[1]
    assert [element.text for element in whole[4]] == ["1", "1", "80", "60"]
    assert not [f for f in os.listdir(file.parent) if f.startswith(".")]


def test_nothing_is_written_for_an_image_that_nobody_touched(client: Client) -> None:
    client.put(client.get("1.png"), objects=[])
    assert not (client.root / "1.xml").exists()
    client.put(client.get("1.png"), objects=[], verified=True)  # "there is nothing in it"
    assert tree(client.root).get("verified") == "yes"


def test_fields_of_other_tools_stay(client: Client) -> None:
    root = client.root
    (root / "1.xml").write_text(FOREIGN, encoding="utf-8")
    state = client.get("1.png")
    cat, dog = state["objects"]
    assert (cat["box"], cat["pose"], cat["truncated"]) == ([2.5, 3, 30.25, 40], "Left", True)
    assert dog["box"] == [40, 9, 50, 20]
    dog["name"], dog["difficult"] = "wolf", True
    state = client.put(state, objects=[cat, dog, box("owl")])
    edited = tree(root)
    for path, text in {
        "path": "C:\\photos\\1.png",
        "source/image": "flickr",
        "size/depth": "1",
        "segmented": "1",
        "weather": "rain",
        "object[1]/bndbox/xmin": "3.5",  # untouched: not even rounded
        "object[1]/bndbox/xmax": "30.25",
        "object[1]/part/name": "head",
        "object[1]/occluded": "1",
        "object[2]/name": "wolf",
        "object[2]/difficult": "1",
        "object[2]/bndbox/xmin": "50",
        "object[2]/actions/running": "1",
        "object[3]/name": "owl",
    }.items():
        assert edited.findtext(path) == text, path
    cat, dog, owl = state["objects"]
    cat["box"] = [5, 6, 20, 21]
    client.put(state, objects=[owl, cat], verified=False)
    edited = tree(root)
    assert edited.get("verified") is None
    assert [element.findtext("name") for element in edited.findall("object")] == ["owl", "cat"]
    moved = edited.findall("object")[1]
    assert [element.text for element in moved.iterfind("bndbox/*")] == ["6", "7", "20", "21"]
    assert (moved.findtext("occluded"), moved.findtext("part/bndbox/xmin")) == ("1", "5")


def test_what_was_deleted_comes_back_with_all_its_fields(client: Client) -> None:
    root = client.root
    (root / "1.xml").write_text(FOREIGN, encoding="utf-8")
    first = client.get("1.png")
    without = client.put(first, objects=first["objects"][:1])
    assert tree(root).find("object/actions") is None
    client.put(without, objects=first["objects"])
    assert tree(root).findtext("object[2]/actions/running") == "1"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("labelled", ["never", "upright", "as stored"])
def test_training_reads_the_box_that_was_drawn_whatever_exif_says(
    tmp_path: Path, orientation: int, labelled: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    root = tmp_path / "photos"
    image(root / "1.jpg", exif=exif.tobytes())
    upright = SIZE[::-1] if orientation >= 5 else SIZE
    if labelled != "never":
        size = upright if labelled == "upright" else SIZE
        old = [VocObject("dog", 1, 1, 10, 20), VocObject("cat", 5, 6, 7, 8)]
        (root / "1.xml").write_bytes(write_voc("photos", "1.jpg", size, objects=old))
    before = {sample.label: sample.box for sample in scan_voc(root, min_classes=0)}
    client = Client(root)
    state = client.get("1.jpg")
    assert (state["width"], state["height"]) == upright
    if labelled != "never":
        shown = to_pixels(before["dog"], upright)  # type: ignore[arg-type]
        assert state["objects"][0]["box"] == pytest.approx(shown)
        state["objects"].pop()
    client.put(state, objects=[*state["objects"], box("cat", 5, 7, 55, 58)])
    (sample,) = scan_voc(root, min_classes=0)
    assert sample.size == upright
    assert sample.box == pytest.approx(
        (5 / upright[0], 7 / upright[1], 55 / upright[0], 58 / upright[1])
    )
    if labelled != "never":
        assert client.get("1.jpg")["objects"][0]["box"] == pytest.approx(shown)


def test_pascal_vocs_own_folders(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    image(root / "VOC2012" / "JPEGImages" / "1.png")
    (root / "VOC2012" / "Annotations").mkdir()
    client = Client(root)
    client.put(client.get("VOC2012/JPEGImages/1.png"), objects=[box()])
    annotation = ET.fromstring((root / "VOC2012" / "Annotations" / "1.xml").read_bytes())
    assert annotation.findtext("path") == "../JPEGImages/1.png"
    assert [s.label for s in scan_voc(root, min_classes=1)] == ["cat"]
    assert client.list()["pictures"][0][:2] == ["VOC2012/JPEGImages/1.png", 1]


def test_a_twin_of_the_same_name_keeps_its_boxes(client: Client) -> None:
    root = client.root
    shutil.copy(root / "1.png", root / "1.jpeg")
    client.put(client.get("1.png"), objects=[box()])
    before = (root / "1.xml").read_bytes()
    other = client.get("1.jpeg")
    assert "1.xml belongs to 1.png" in other["problem"]
    for more in ({}, {"replace": True}):
        assert "1.xml belongs" in client.put(other, 400, objects=[box("dog")], **more)["error"]
    assert (root / "1.xml").read_bytes() == before
    assert [entry[:2] for entry in client.list()["pictures"]] == [["1.jpeg", 0], ["1.png", 1]]


def test_a_file_that_cannot_be_used_is_set_aside_and_only_if_asked(client: Client) -> None:
    root = client.root
    bad = write_voc("photos", "1.png", (33, 44), objects=[VocObject("cat", 1, 2, 3, 4)])
    (root / "1.xml").write_bytes(bad)
    state = client.get("1.png")
    assert "it is of an image of 33 x 44 pixels" in state["problem"]
    assert client.list()["pictures"][0][3] is False  # it can be read, only not used
    client.put(state, 400, objects=[box()])
    assert (root / "1.xml").read_bytes() == bad
    client.put(state, objects=[box()], replace=True)
    assert tree(root).findtext("object/name") == "cat"
    (aside,) = (root / ".set-aside").iterdir()
    assert aside.read_bytes() == bad
    (root / "1.xml").write_text("<!DOCTYPE x><annotation/>")
    assert "DOCTYPE" in client.get("1.png")["problem"]
    assert client.list()["pictures"][0][3] is True


# --- two tabs ------------------------------------------------------------------------------------


def test_changes_of_two_tabs_are_put_together(client: Client) -> None:
    client.put(client.get("1.png"), objects=[box("cat", 1, 1, 9, 9), box("dog", 20, 20, 40, 40)])
    mine, theirs = client.get("1.png"), client.get("1.png")
    cat, dog = theirs["objects"]
    client.put(theirs, objects=[{**cat, "box": [2, 2, 12, 12]}, dog, box("owl", 50, 5, 60, 9)])
    cat, dog = mine["objects"]
    both = client.put(
        mine, objects=[{**cat, "truncated": True}, box("fox", 60, 40, 70, 50)], verified=True
    )
    merged = [(o["name"], o["box"], o["truncated"]) for o in both["objects"]]
    assert merged == [
        ("cat", [2, 2, 12, 12], True),  # moved there, marked here
        ("owl", [50, 5, 60, 9], False),
        ("fox", [60, 40, 70, 50], False),
    ]
    assert (both["mine"], both["verified"]) == ([0, None, 1], True)
    assert client.get("1.png")["objects"] == both["objects"]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"box": [1, 1, 30, 30]}, {"box": [1, 1, 25, 25]}),
        ({"name": "dog"}, {"name": "fox"}),
        (None, {"name": "fox"}),
        ({"name": "fox"}, None),
    ],
)
def test_what_collides_is_for_a_person_to_decide(
    client: Client, mine: dict[str, Any] | None, theirs: dict[str, Any] | None
) -> None:
    start = client.put(client.get("1.png"), objects=[box("cat", 1, 1, 28, 28)])
    (cat,) = start["objects"]
    written = client.put(start, objects=[{**cat, **theirs}] if theirs else [])
    refused = client.put(start, 412, objects=[{**cat, **mine}] if mine else [])
    assert refused["theirs"] == client.get("1.png")
    assert refused["theirs"]["etag"] == written["etag"]


def test_without_a_base_nothing_is_merged(client: Client) -> None:
    start = client.get("1.png")
    client.put(start, objects=[box()])
    assert client.put(start, 412, based=False, objects=[box("dog", 1, 2, 3, 4)])["theirs"]
    response = client.http.request("PUT", "/api/label/boxes?path=1.png", json={"objects": []})
    assert response.status_code == 400
    assert "If-Match" in response.json()["error"]


def test_an_answer_that_never_came_does_no_harm(client: Client) -> None:
    start = client.get("1.png")
    client.put(start, objects=[box()])
    again = client.put(start, objects=[box()])  # the page heard nothing, and sends it again
    assert len(again["objects"]) == 1
    assert again["mine"] == [0]


def test_many_writers_at_once_lose_nothing(client: Client) -> None:
    start = client.get("1.png")

    def write(number: int) -> None:
        client.put(start, objects=[box(f"c{number}", number, 1, number + 9, 20)])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {o["name"] for o in client.get("1.png")["objects"]} == {f"c{n}" for n in range(12)}


def test_merge_finds_an_object_again_that_was_moved_far() -> None:
    base = [LabelledObject("cat", (0, 0, 9, 9), origin_id="a:0")]
    theirs = [LabelledObject("cat", (50, 40, 60, 50), origin_id="b:0")]
    assert merge(base, base, theirs) is not None
    assert [item.content.edges for item in merge(base, base, theirs) or []] == [(50, 40, 60, 50)]
    assert merge(base, [LabelledObject("cat", (1, 1, 9, 9), origin_id="a:0")], theirs) is None


# --- the list, the classes -----------------------------------------------------------------------


def test_classes_keep_their_numbers(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    scenes(root, per_class=1)
    client = Client(root)
    assert client.list()["classes"] == ["blue", "green", "red"]
    added = client.http.post("/api/label/classes", json={"name": " ant "}).json()
    assert added["classes"] == ["blue", "green", "red", "ant"]
    image(root / "zebra.png")
    client.put(client.get("zebra.png"), objects=[box("aardvark")])
    assert client.list()["classes"] == ["blue", "green", "red", "ant", "aardvark"]
    assert Client(root).list()["classes"] == ["blue", "green", "red", "ant", "aardvark"]
    assert len(scan_voc(root)) == 4  # the hidden list disturbs no training


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "\ud800", "a\x00"])
def test_names_that_are_none(client: Client, name: str) -> None:
    response = client.http.post(
        "/api/label/classes",
        content=json.dumps({"name": name}),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code in (400, 422), response.text
    made = client.http.request(
        "PUT",
        "/api/label/boxes?path=1.png",
        content=json.dumps({"objects": [box(name)]}),
        headers={"Content-Type": "application/json", "If-Match": ABSENT},
    )
    assert made.status_code in (400, 422), made.text
    assert not (client.root / "1.xml").exists()


def test_hostile_names_are_text(client: Client) -> None:
    name = '<img src=x onerror="alert(1)">&amp;'
    client.put(client.get("1.png"), objects=[box(name)])
    assert tree(client.root).findtext("object/name") == name
    assert client.list()["classes"] == [name]


def test_only_paths_of_the_folder(client: Client, tmp_path: Path) -> None:
    image(tmp_path / "other.png")
    (client.root / "away").symlink_to(tmp_path)
    for path in ("../other.png", str(tmp_path / "other.png"), "away/other.png", "", "1.xml"):
        got = client.http.get("/api/label/boxes", params={"path": path})
        assert got.status_code == 400, path
        put = client.http.request(
            "PUT",
            "/api/label/boxes",
            params={"path": path},
            json={"objects": [box()]},
            headers={"If-Match": ABSENT},
        )
        assert put.status_code == 400, path
    assert not list(tmp_path.glob("*.xml"))


def test_a_folder_of_annotations_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    root, away = tmp_path / "photos", tmp_path / "away"
    image(root / "JPEGImages" / "1.png")
    away.mkdir()
    (root / "Annotations").symlink_to(away)
    response = Client(root).http.get("/api/label/boxes?path=JPEGImages/1.png")
    assert response.status_code == 400
    assert "must stay in photos" in response.json()["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"objects": [{"name": "cat", "box": [1, 2, 3]}]},
        {"objects": [{"name": "cat", "box": ["nan", 2, 3, 4]}]},
        {"objects": [{"name": "cat", "box": None}]},
        {"objects": [{"name": "cat", "box": [1, 2, 3, 4], "extra": 1}]},
        {"objects": [box() for _ in range(1001)]},
        {"objects": 7},
    ],
)
def test_nonsense_is_refused_and_writes_nothing(client: Client, change: dict[str, Any]) -> None:
    response = client.http.request(
        "PUT", "/api/label/boxes?path=1.png", json=change, headers={"If-Match": ABSENT}
    )
    assert response.status_code in (400, 422), response.text
    assert set(response.json()) == {"error"}
    assert not (client.root / "1.xml").exists()


def test_a_box_out_of_the_image_is_cut(client: Client) -> None:
    made = client.put(client.get("1.png"), objects=[box("cat", -50, 10.4, 1e6, 20.6)])
    assert made["objects"][0]["box"] == [0, 10, 80, 21]


@pytest.mark.slow
def test_thousands_of_images_are_listed_quickly(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    source = scene(root / "0.png", "red", SIZE, (5, 5, 50, 50), xml=True)
    for number in range(1, 5000):
        os.link(source, root / f"{number}.png")
        os.link(source.with_suffix(".xml"), root / f"{number}.xml")
    client = Client(root)
    started = time.monotonic()
    assert len(client.list()["pictures"]) == 5000
    first, started = time.monotonic() - started, time.monotonic()
    assert client.list()["classes"] == ["red"]
    # Seconds, on a machine that may be busy with other things.
    assert first < 8
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (FOREIGN.encode(), ("cat", "dog")),
        (
            write_voc("f", "1.png", SIZE, objects=[VocObject("a & b", 1, 1, 5, 5)], verified=True),
            ("a & b",),
        ),
        (
            FOREIGN.replace("<name>dog", "<!-- <object><name>x</name> --><name>dog").encode(),
            ("cat", "dog"),
        ),
        (
            FOREIGN.replace("utf-8", "iso-8859-1").replace("dog", "Bär").encode("latin-1"),
            ("cat", "Bär"),
        ),
        (b"<annotation><filename>1.png</filename></annotation>", ()),
    ],
)
def test_the_list_reads_plain_files_as_the_parser_does(
    client: Client, data: bytes, names: tuple[str, ...]
) -> None:
    root = client.root
    (root / "1.xml").write_bytes(data)
    listed = client.list()
    (entry,) = listed["pictures"]
    assert (entry[1], entry[3]) == (len(names), False)
    assert entry[2] == client.get("1.png")["verified"]
    assert listed["classes"] == sorted(names, key=str.casefold)


# --- sorting, suggestions, the page --------------------------------------------------------------


def test_sorting_moves_with_the_xml_and_never_overwrites(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    scene(root / "1.png", "red", SIZE, (5, 5, 50, 50), xml=True)
    image(root / "cats" / "1.png")
    client = Client(root)
    taken = (root / "cats" / "1.png").read_bytes()
    moved = client.http.post("/api/label/sort", json={"path": "1.png", "label": "cats"}).json()
    assert moved == {"source": "1.png", "target": "cats/1-2.png"}
    assert (root / "cats" / "1.png").read_bytes() == taken
    assert (root / "cats" / "1-2.xml").is_file() and not (root / "1.xml").exists()
    back = client.http.post("/api/label/unsort", json=moved)
    assert back.status_code == 200, back.text
    assert sorted(p.name for p in root.rglob("*.*")) == ["1.png", "1.png", "1.xml"]
    for label in ("dogs", "../out", ""):
        response = client.http.post("/api/label/sort", json={"path": "1.png", "label": label})
        assert response.status_code == 400, label


def test_a_model_proposes_boxes(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    scene(root / "1.png", "red", (64, 48), (16, 12, 48, 36))
    model = write_localizer(tmp_path / "model" / "model.onnx")
    client = Client(root, suggest=model)
    query = {"path": "1.png", "run": SUGGEST}
    (suggestion,) = client.http.get("/api/label/suggest", params=query).json()["suggestions"]
    assert suggestion["name"] == "red"
    assert suggestion["score"] > 0.4
    assert suggestion["box"] == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.04)
    sorting = client.http.request(
        "GET", "/api/label/suggest", params={**query, "mode": "sort"}
    ).json()
    assert sorting["suggestions"][0]["name"] == "red"
    for run in ("../runs", "nothing", ".", ""):
        response = client.http.get("/api/label/suggest", params={"path": "1.png", "run": run})
        assert response.status_code == 400, run
    (root / "text.png").write_text("no picture")
    unreadable = client.http.get("/api/label/suggest", params={**query, "path": "text.png"})
    assert unreadable.status_code == 400
    blind = write_localizer(tmp_path / "blind" / "model.onnx", boxes=False, task="classify")
    answer = Client(root, suggest=blind).http.get("/api/label/suggest", params=query).json()
    assert answer["suggestions"] == []
    assert "not where" in answer["reason"]


def label_page(client: Client, **query: str) -> str:
    response = client.http.get("/label", params=query)
    assert response.status_code == 200
    return response.text


def test_the_page_escapes_what_it_shows(tmp_path: Path) -> None:
    client = Client(tmp_path / "<script>alert(1)<")
    for mode in ("boxes", "sort"):
        html = label_page(client, mode=mode, path='</script><b id="x">')
        assert "<script>alert" not in html
        assert '<b id="x">' not in html


@pytest.mark.parametrize("mode", ["boxes", "sort"])
def test_the_manual_has_the_pages_own_table_of_keys(client: Client, mode: str) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "studio.md").read_text(encoding="utf-8")
    html = label_page(client, mode=mode)
    keys = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', html)
    assert len(keys) >= 8
    for key, effect in keys:
        assert f"| {unescape(key)} | {unescape(effect)} |" in manual


SECRET = "my secret line"


@pytest.fixture
def linked_root(tmp_path: Path) -> Path:
    """A folder with links to places that it does not show: the classes, two files, a folder."""
    outside, root = tmp_path / "outside", tmp_path / "photos"
    xml = write_voc("f", "1.png", SIZE, objects=[VocObject(SECRET, 1, 1, 9, 9)])
    (outside / "Annotations").mkdir(parents=True)
    (outside / "classes").write_text(f"{SECRET}\nother\n")
    (outside / "1.xml").write_bytes(xml)
    (outside / "Annotations" / "4.xml").write_bytes(xml)
    for name in ("1.png", "2.png", "3.png", "voc/JPEGImages/4.png"):
        image(root / name)
    (root / "3.xml").write_bytes(
        write_voc("f", "3.png", SIZE, objects=[VocObject("cat", 1, 1, 9, 9)])
    )
    (root / ".classes.txt").symlink_to(outside / "classes")
    (root / "1.xml").symlink_to(outside / "1.xml")
    (root / "2.xml").symlink_to("2.xml")  # a loop
    (root / "voc" / "Annotations").symlink_to(outside / "Annotations")
    return root


def test_no_link_out_of_the_folder_is_followed(linked_root: Path) -> None:
    outside = linked_root.parent / "outside"
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    names = AnnotationList(Workspace(linked_root, linked_root.parent / "runs"))
    listed = names.to_dict()
    assert SECRET not in json.dumps(listed) and listed["classes"] == ["cat"]
    bad = {path: is_bad for path, _, _, is_bad, _ in listed["pictures"]}
    assert bad.pop("2.png") in (True, False)
    assert bad == {"1.png": True, "3.png": False, "voc/JPEGImages/4.png": True}
    with pytest.raises(UsageError, match=r"must stay in photos.*classes.txt"):
        names.add_class("dog")
    assert (linked_root / ".classes.txt").is_symlink()
    assert before == {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
