# Two commands on a fresh machine: make demo, make test. All of them make .venv first.
PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.PHONY: demo test test-all check bench bench-ratios battery battery-full docs site clean
demo: $(VENV)/.ready      ## train on real scanned digits, by the same road as on your photos
	rm -rf demo
	$(RUN)/sharpeye sample digits demo/digits
	$(RUN)/sharpeye train demo/digits --output demo/run

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
	$(RUN)/python -m bench.battery battery
	$(RUN)/python -m tools.make_docs

battery-full: $(VENV)/.ready  ## the same with all counts, in many hours
	$(RUN)/python -m bench.battery full
	$(RUN)/python -m tools.make_docs

docs: $(VENV)/.ready      ## write the generated pages and the picture of the architecture
	$(RUN)/python -m tools.make_docs
	$(RUN)/python tools/draw_architecture.py

site: $(VENV)/.ready      ## build the documentation as a site into site/, without the network
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[site]'
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) demo runs site
