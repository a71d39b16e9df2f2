"""The list of what the wheel pulls in: complete, and with licences that do not bind."""

import copy
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from tools import sbom

from sharpeye.models.registry import list_models

SOURCE = Path(__file__).parents[2] / "src" / "sharpeye"


@pytest.fixture(scope="module")
def bom() -> sbom.Bom:
    """Of the environment of the tests, without the network."""
    pytest.importorskip("cyclonedx_py")
    return sbom.build_bom(Path(sys.executable))


def installed(names: list[str]) -> list[str]:
    there = {sbom.normal_name(d.name) for d in importlib.metadata.distributions()}
    return [name for name in names if name in there]


@pytest.mark.slow
def test_every_direct_dependency_has_a_licence_and_none_binds(bom: sbom.Bom) -> None:
    """The environment of the tests has all extras but `collect`; `make sbom` has that, too."""
    required = installed(sbom.direct_dependencies(sbom.EXTRAS))
    assert {"numpy", "keras", "pillow-heif"} <= set(required)
    wheel = set(required) | {sbom.normal_name(c["name"]) for c in sbom.weights_components()}
    shown = [c for c in bom["components"] if sbom.normal_name(c["name"]) in wheel]
    bundled = sbom.bundled_gpl(Path(sys.executable))
    assert sbom.problems({"components": shown}, required, bundled) == []


@pytest.mark.slow
def test_what_a_release_must_not_have_is_named(bom: sbom.Bom) -> None:
    required = installed(sbom.direct_dependencies(sbom.EXTRAS))
    before = sbom.problems(bom, required, set())
    spoiled = copy.deepcopy(bom)
    by_name = {component["name"]: component for component in spoiled["components"]}
    by_name["numpy"]["licenses"] = []
    by_name["rich"]["licenses"] = [{"license": {"id": "AGPL-3.0-only"}}]
    for name in ("typer", "mobilenet_1_0_224_tf_no_top.h5"):
        spoiled["components"].remove(by_name[name])
    found = set(sbom.problems(spoiled, required, {"scipy"})) - set(before)
    assert sorted(line.partition(":")[0] for line in found) == [
        *("mobilenet_1_0_224_tf_no_top.h5", "numpy", "rich", "scipy", "typer")
    ]


def test_licences_that_bind_are_recognized() -> None:
    binding = ("GPL-2.0-only", "BSD-3-Clause AND GPLv3", "GNU Affero General Public License v3")
    free = ("LGPL-3.0-only", "GNU Lesser General Public License v3", "MPL-2.0", "Apache-2.0")
    assert all(map(sbom.BINDING.search, binding))
    assert not any(map(sbom.BINDING.search, free))


def test_all_pretrained_weights_are_components_with_licence_and_source() -> None:
    components = {component["name"]: component for component in sbom.weights_components()}
    for spec in list_models():
        if spec.imagenet is None:
            continue
        component = components[spec.imagenet.remote.file]
        assert spec.name in re.split(r"\W*[ ,]\W*", component["description"])
        assert component["type"] == "machine-learning-model"
        assert sbom.licence(component) == spec.imagenet.license == "Apache-2.0"
        (source,) = component["externalReferences"]
        assert source["url"].startswith("https://")
    hashes = components["efficientnet-lite0-57934424.pth"]["hashes"]
    assert [(digest["alg"], len(digest["content"])) for digest in hashes] == [("SHA-256", 64)]


def test_pages_hold_nothing_of_others() -> None:
    """Scripts, styles and drawings are SharpEye's own: there is no licence to list for them."""
    folders = (SOURCE / "studio", SOURCE / "report")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assets = [file for file in files if file.suffix not in (".py", ".pyc")]
    assert {file.suffix for file in assets} == {".js", ".css", ".svg", ".j2"}
    notice = re.compile(r"copyright|@licen[cs]e|\blicensed under|\(c\) \d{4}", re.IGNORECASE)
    marked = [f.name for f in assets if notice.search(f.read_text(encoding="utf-8"))]
    assert marked == []
