PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEVICES := $(VENV)/.devices
PYTEST := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

.PHONY: demo test test-all lint docs reference conformance clean

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

test: lint docs $(DEVICES)
	$(PYTEST) --durations 20 -m "not slow"

test-all: lint docs $(DEVICES)
	$(PYTEST)

reference: $(READY)
	$(BIN)/python tools/generate_reference.py

# coremltools' own tests and torch's operator database against what mvt makes and runs; an hour and more.
conformance: $(READY)
	$(BIN)/python -m tools.conformance.run

clean:
	rm -rf $(VENV) demo-out site
