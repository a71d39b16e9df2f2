"""The command line of the programs of `bench`, each of which has `--help`."""

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any


def run(main: Callable[..., Any], doc: str | None, **arguments: Mapping[str, Any]) -> Any:
    """Call a program's `main` with the arguments of the command line, by name.

    Args:
        doc: the module's docstring, which `--help` prints.
        arguments: options of `ArgumentParser.add_argument` by the argument's name, in their order.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=layout)
    for name, options in arguments.items():
        parser.add_argument(name, **options)
    return main(**vars(parser.parse_args()))


def folder(text: str) -> Path:
    """A type of argument: a folder that exists."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


def count(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no number of at least {least}")
        return int(text)

    return parse


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """A type of argument: one of some names, of which there may be none."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(names)}")
        return text

    return parse
