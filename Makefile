# Two commands on a fresh machine: make demo, make test. Everything stays in this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION ?= 0.34.4
WORKERS ?= auto
SELECT ?=

# llama.cpp's tools, if they have to be built; Ollama binaries, Unsloth and the tokenizers of families
# (by npm) for the tests.
export DEPLOYQ_TOOLS_DIR ?= $(CURDIR)/.deployq/tools
OLLAMA_DIR ?= $(CURDIR)/.deployq/ollama
UNSLOTH_DIR ?= $(CURDIR)/.deployq/unsloth
TOKENIZERS_DIR ?= $(CURDIR)/.deployq/tokenizers

.PHONY: help demo test test-ollama test-convert test-unsloth check docs pictures format tools clean

help:
	@echo "make demo         set everything up and push the sample model to two targets"
	@echo "make test         all tests that need no real Ollama"
	@echo "make test-ollama  tests against a real Ollama (VERSION=$(VERSION); needs Go)"
	@echo "make test-convert training folders and adapters to verified tags, for real (PyTorch: 5 GB)"
	@echo "make test-unsloth Unsloth's merge and export to verified tags, for real (over test-convert's)"
	@echo "make check        ruff, mypy, the layering test"
	@echo "make docs         the documentation as a site in build/site; a broken link fails it"
	@echo "make pictures     the README's pictures, from a real run (needs Chromium)"

demo: tools
	@$(BIN)/deployq push task-api --targets laptop,4090

test: $(VENV)/dev.stamp tools
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=15

test-ollama: $(VENV)/dev.stamp tools
	@$(BIN)/python tests/install_ollama.py $(VERSION) $(OLLAMA_DIR)/$(VERSION)
	DEPLOYQ_TEST_OLLAMA=$(OLLAMA_DIR)/$(VERSION)/bin/ollama \
		$(BIN)/python -m pytest -m ollama -n $(WORKERS) --dist worksteal --durations=15

test-convert: $(VENV)/dev.stamp tools
	@$(BIN)/python tests/install_ollama.py $(VERSION) $(OLLAMA_DIR)/$(VERSION)
	@$(BIN)/deployq tools install convert --yes
	DEPLOYQ_TEST_OLLAMA=$(OLLAMA_DIR)/$(VERSION)/bin/ollama \
		DEPLOYQ_TEST_TOKENIZERS=$$($(BIN)/python tests/install_tokenizers.py $(TOKENIZERS_DIR)) \
		$(BIN)/python -m pytest -m convert -k "$(SELECT)" --durations=15

test-unsloth: $(VENV)/dev.stamp tools
	@$(BIN)/python tests/install_ollama.py $(VERSION) $(OLLAMA_DIR)/$(VERSION)
	@$(BIN)/deployq tools install convert --yes
	DEPLOYQ_TEST_OLLAMA=$(OLLAMA_DIR)/$(VERSION)/bin/ollama \
		DEPLOYQ_TEST_UNSLOTH=$$($(BIN)/python tests/install_unsloth.py $(UNSLOTH_DIR)) \
		$(BIN)/python -m pytest -m unsloth -k "$(SELECT)" --durations=15

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: $(VENV)/dev.stamp tools
	$(BIN)/python -m docs.tools.pictures

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Uses the tools that are on this machine; builds them (some minutes, said first) where there are none.
tools: $(VENV)/demo.stamp
	@$(BIN)/deployq tools install --if-missing --yes

$(VENV)/demo.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "deployq needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Say which to use: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing deployq into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	@echo "installing what the tests and checks need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .deployq deployq.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
