"""The smoke run of a release knows every command, and finds the Pythons of a machine."""

import sys

import typer
from tools import pythons, smoke_steps

from sharpeye.cli.app import COMMANDS


def command_names() -> list[str]:
    """`train`, `collect urls`, ...: as `tools/smoke_release.py` lists them."""
    from importlib import import_module

    names = []
    for name in COMMANDS:
        app = import_module(f"sharpeye.cli.{name.replace('-', '_')}").app
        inner = getattr(typer.main.get_command(app), "commands", {})
        names += [f"{name} {word}" for word in inner] or [name]
    return names


def test_every_command_has_a_step() -> None:
    names = command_names()
    assert {"train", "collect urls", "cache clear"} <= set(names)
    assert smoke_steps.missing_commands(names) == []
    assert smoke_steps.missing_commands(["tr", "collect", "train"]) == ["tr"]


def test_a_python_is_found_by_its_version() -> None:
    version = "{}.{}".format(*sys.version_info)
    assert pythons.find_python("3.99") is None
    if pythons.find_python(version):  # else the tests run in an interpreter off the path
        assert version in pythons.supported_versions() or version == "3.14"
    assert pythons.supported_versions() == ["3.11", "3.12", "3.13"]
