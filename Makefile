PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEVICES := $(VENV)/.devices
PYTEST := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# Optional targets, each called like its extra, and a device's extra; those whose packages do not go with constraints.txt have a file of theirs.
TARGETS := coreai litert ncnn
EXTRAS := $(TARGETS) qnn
pins = $(firstword $(wildcard constraints-$(1).txt) constraints.txt)

.PHONY: demo test test-thorough test-all test-changed test-targets $(EXTRAS:%=test-%) lint docs reference conformance clean

# One environment for everything; made again only when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# What the tests of the devices need beside Python: compilers, an emulator, adb, sshd, a browser (Debian's packages).
$(DEVICES): $(READY) mobilevit_tools/devices/prepare.py
	$(BIN)/python -m mobilevit_tools.devices.prepare count arm64 adb ssh browser tests
	touch $@

demo: $(READY)
	$(BIN)/python tools/demo.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The first of three tiers, for every day; one of the tests builds the site, as `make docs` does.
test: lint $(DEVICES)
	$(PYTEST) --durations 20 -m "not slow and not thorough"

# Expensive tests that have a smaller twin in `make test`; CI runs both.
test-thorough: $(DEVICES)
	$(PYTEST) --durations 20 -m "thorough and not slow"

test-all: lint $(DEVICES)
	$(PYTEST)

# The test files that import what differs from main, directly or through STEPS - 1 others.
STEPS := 2
test-changed: $(READY)
	files="$$($(BIN)/python -m tools.changed_tests --steps $(STEPS))"; \
		test -z "$$files" || $(PYTEST) --durations 20 -m "not slow and not thorough" $$files

# An environment for each extra: what one asks for is not to change what the others are tested with.
$(EXTRAS:%=.venv-%/.installed): .venv-%/.installed: pyproject.toml $(wildcard constraints*.txt)
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(call pins,$*) torch
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(call pins,$*) \
		--editable '.[$*]' pytest
	touch $@

$(TARGETS:%=test-%): test-%: .venv-%/.installed
	OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -m targets \
		tests/exporters/test_$*.py tests/runtimes/test_$*.py tests/comparison/test_$*.py

test-qnn: .venv-qnn/.installed
	OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 .venv-qnn/bin/python -m pytest -m targets tests/devices/test_htp.py

test-targets: $(EXTRAS:%=test-%)

reference: $(READY)
	$(BIN)/python -m tools.generate_reference

# coremltools' own tests and torch's operator database against what mvt makes and runs; an hour and more.
conformance: $(READY)
	$(BIN)/python -m tools.conformance.run

clean:
	rm -rf $(VENV) $(EXTRAS:%=.venv-%) demo-out site
