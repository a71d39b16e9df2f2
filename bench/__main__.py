"""Run the measurements that make their own images: `python -m bench [--ratios]`.

`--ratios` runs those alone that compare with a reference within one run, in ten minutes or less.
"""

import sys
from importlib import import_module

from bench.catalogue import FIGURES

only_ratios = "--ratios" in sys.argv
modules = {
    figure.module: None
    for figure in FIGURES.values()
    if " " not in figure.command and (figure.is_ratio or not only_ratios)
}
for module in modules:
    import_module(f"bench.{module}").main()
