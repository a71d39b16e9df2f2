"""Flags in the forms that argparse and TensorFlow's own flags accept, for commands that replace
old scripts.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand

from sharpeye.errors import UsageError

_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


class FlagsCommand(TyperCommand):
    """A command with switches as `--x`, `--nox` and `--x=true`, and with shortened names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        names = {
            name: param.name or ""
            for param in self.params
            for name in (*param.opts, *param.secondary_opts)
        }
        switches = {param.name or "" for param in self.params if getattr(param, "is_flag", False)}
        return super().parse_args(ctx, _plain_arguments(args, names, switches))


def _plain_arguments(args: list[str], names: dict[str, str], switches: set[str]) -> list[str]:
    """The arguments with full names, and each switch at most once, as `--x`.

    Args:
        names: the parameter of each option's name.
        switches: the parameters without a value.
    """
    end = args.index("--") if "--" in args else len(args)
    plain: list[str] = []
    values: dict[str, tuple[str, bool]] = {}  # the last one counts
    for arg in args[:end]:
        typed, equals, value = arg.partition("=")
        name = _full_name(typed, names)
        negative = _full_name(_without_no(typed), names)
        if names.get(name) in switches:
            values[names[name]] = (name, _parse_switch(typed, value) if equals else True)
        elif name not in names and names.get(negative) in switches and not equals:
            values[names[negative]] = (negative, False)
        else:
            plain.append(name + equals + value if name in names else arg)
    given = [name for name, value in values.values() if value]
    return [*plain, *given, *args[end:]]


def _without_no(name: str) -> str:
    """`--nox`, `--no-x` or `--no_x` as `--x`."""
    rest = name.removeprefix("--no")
    return f"--{rest.lstrip('-_')}" if rest != name else name


def _full_name(name: str, names: Iterable[str]) -> str:
    """A name that is the beginning of one parameter's name alone, in full."""
    if not name.startswith("--") or name == "--" or name in names:
        return name
    matches = {n.replace("-", "_"): n for n in names if n.startswith(name)}
    return next(iter(matches.values())) if len(matches) == 1 else name


def _parse_switch(name: str, value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise UsageError(f"{name} must be true or false. Received: {value}")
    return value.lower() in _TRUE
