"""Run the measurements that make their own images: `python -m bench [--ratios]`.

They take most of an hour, and write bench/results/. `--ratios` runs those alone that compare with a
reference within one run, in ten minutes or less.
"""

from importlib import import_module

from bench import arguments
from bench.catalogue import FIGURES


def main(ratios: bool) -> None:
    modules = {
        figure.module: None
        for figure in FIGURES.values()
        if " " not in figure.command and (figure.is_ratio or not ratios)
    }
    for module in modules:
        import_module(f"bench.{module}").main()


if __name__ == "__main__":
    arguments.run(main, __doc__, **{"--ratios": {"action": "store_true"}})
