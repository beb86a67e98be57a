# make demo   set everything up and run the main job on the bundled model and image
# make quick  lint, types and the tests that need neither a window nor a trained model
# make test   set everything up and run all checks and tests
# make oldest the tests with a window again, with the oldest napari and the other Qt binding
# make model NAME=isic2018   train a released model again (DATA=folder of the data sets, ARGS=options)
# make docs   build the documentation into docs/_build/html
#
# The same as plain pip and pytest commands, for Windows and macOS: see README.md.

SHELL := bash
VENV ?= .venv
# Parallel test processes, each with one PyTorch thread.
JOBS ?= 2
# If set, every test process would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then command -v $$p; break; fi; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
SCREENSHOT := $(CURDIR)/demo/latentfm-demo.png
# On Linux without a display, napari runs on a virtual one.
DISPLAYED := scripts/with_display.sh
IN_MEMORY := scripts/with_memory_disk.sh

# The oldest napari that pyproject.toml allows, and the other Qt binding.
OLDEST_VENV ?= .venv-oldest
OLDEST_NAPARI := $(shell sed -n 's/.*"napari>=\([0-9.]*\)".*/\1/p' pyproject.toml)
OLDEST_BIN := $(OLDEST_VENV)/bin
OLDEST_STAMP := $(OLDEST_VENV)/.set-up
# Tests with a window; the core does not import napari.
WINDOW_TESTS := $(addprefix tests/plugin/,annotation/test_section.py layers/test_specs.py \
	layers/test_update.py review/test_hypotheses_section.py review/test_hypotheses_taking.py \
	sampling/test_panel_endings.py sampling/test_panel_model.py sampling/test_sampling_form.py \
	sampling/test_sampling_panel.py sampling/test_tiled.py sampling/test_viewport.py \
	test_manifest.py test_preferences.py)

.PHONY: setup demo quick test lint docs unit oldest model clean

setup: $(STAMP)

# PySide6-Essentials is the Qt binding here because its licence (LGPL) does not bind users who
# install it; PyQt6 works as well.
$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 found. Install one, or: make PYTHON=/path/to/python"; \
		exit 1; fi
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	scripts/system_packages.sh
	$(DISPLAYED) $(BIN)/python -m napari_latentfm.demo --screenshot-without-display $(SCREENSHOT)

quick: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses $(JOBS) --dist worksteal \
		-m "not slow" tests/core

test: setup lint docs unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Warnings are errors: broken links, malformed docstrings.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# A crashed process ends the run: xdist may give its replacement nothing to do and wait for ever.
unit: setup
	scripts/system_packages.sh
	OMP_NUM_THREADS=1 $(IN_MEMORY) $(DISPLAYED) $(BIN)/python -m pytest --numprocesses $(JOBS) \
		--dist worksteal --max-worker-restart 0

$(OLDEST_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(OLDEST_VENV)
	$(OLDEST_BIN)/python -m pip install --quiet --upgrade pip
	$(OLDEST_BIN)/python -m pip install --quiet --constraint constraints.txt \
		'napari==$(OLDEST_NAPARI)' --editable '.[pyqt6,nifti]' \
		'pytest>=8' 'pytest-qt>=4.4' 'pytest-timeout>=2.3' 'pytest-xdist>=3.7' 'pytest-xvfb>=3' 'pycocotools>=2.0.8'
	touch $@

# Old releases of napari warn about newer dependencies.
oldest: $(OLDEST_STAMP)
	scripts/system_packages.sh
	OMP_NUM_THREADS=1 $(IN_MEMORY) $(DISPLAYED) $(OLDEST_BIN)/python -m pytest --numprocesses $(JOBS) \
		--dist worksteal --max-worker-restart 0 --override-ini filterwarnings=default \
		--disable-warnings $(WINDOW_TESTS)

# Configuration and card are configs/NAME.toml and configs/cards/NAME.toml; a stopped run continues.
model: setup
	$(BIN)/python scripts/make_model.py "$(NAME)" $(if $(DATA),--data "$(DATA)") $(ARGS)

clean:
	rm -rf $(VENV) $(OLDEST_VENV) demo docs/_build .mypy_cache .pytest_cache .ruff_cache
