# Two commands on a fresh machine: make demo, make test. Targets that need .venv make it first.
PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin

help:                     ## say what each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.PHONY: help demo test test-all check bench bench-ratios battery battery-full fuzz docs site dist smoke \
	sbom clean
demo: $(VENV)/.ready      ## train on real scanned digits, by the same road as on your photos
	rm -rf demo
	$(RUN)/sharpeye sample digits demo/digits
	$(RUN)/sharpeye train demo/digits --output demo/run

# Hundreds of processes would compile the same modules anew.
test test-all battery battery-full: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.ready      ## tests, without the slow ones, a process a core
	$(RUN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/.ready  ## all tests
	$(RUN)/python -m pytest -m ''

check: $(VENV)/.ready     ## lint, format, types, generated docs and picture, figures, rules of the source
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/python -m tools.make_docs --check
	$(RUN)/python tools/draw_architecture.py --check
	$(RUN)/python -m bench.stale
	$(RUN)/python -m pytest -n0 tests/test_source_rules.py tests/test_vocabulary.py

bench: $(VENV)/.ready     ## measure; writes bench/results/
	$(RUN)/python -m bench

bench-ratios: $(VENV)/.ready  ## measure the rows again that compare within one run, in ten minutes
	$(RUN)/python -m bench --ratios

battery: $(VENV)/.ready   ## the reliability battery, in 40 minutes; writes docs/reliability.md
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(RUN)/python -m bench.battery battery
	$(RUN)/python -m tools.make_docs

battery-full: $(VENV)/.ready  ## the same with all counts, in many hours
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(RUN)/python -m bench.battery full
	$(RUN)/python -m tools.make_docs

fuzz: $(VENV)/.ready      ## fuzz one target for half an hour: make fuzz TARGET=images
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	cd tests && ../$(RUN)/python -m battery.fuzz $(TARGET) --seconds 1800

docs: $(VENV)/.ready      ## write the generated pages and the picture of the architecture
	$(RUN)/python -m tools.make_docs
	$(RUN)/python tools/draw_architecture.py

site: $(VENV)/.ready      ## build the documentation as a site into site/, without the network
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[site]'
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet --strict

dist: $(VENV)/.ready      ## build wheel and source distribution into dist/, and check both
	rm -rf dist
	$(RUN)/python -m build --outdir dist .
	$(RUN)/python -m twine check --strict dist/*
	$(RUN)/python -m pytest -m '' tests/release

smoke: dist               ## run every command from the wheel, on each Python that is installed here
	$(RUN)/python -m tools.smoke_release

sbom: dist                ## list what the wheel pulls in, with licences, in dist/sbom.cdx.json
	$(RUN)/python -m tools.sbom

clean:
	rm -rf $(VENV) demo runs site dist
