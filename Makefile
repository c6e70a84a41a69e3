# `make demo` and `make test` install what is missing.

PYTHON ?= python3
BIN := .venv/bin
SETUP := $(PYTHON) scripts/setup.py
RECIPE ?= src/unclip/presets/emoji-cpu.toml
VOCABULARY ?= everyday
CORPUS := data/emoji$(if $(filter all,$(VOCABULARY)),-all)
FEATURES ?= $(CORPUS)/features

BY_HAND := $(addprefix benchmarks/,gan.py peers.py train.py learning.py low_memory.py checkouts.py decoders.py)

.DEFAULT_GOAL := help
.PHONY: help demo serve studio site test setup format corpus model evaluation nightly bench gallery map tables peers \
	parity clients versions clean

help: ## list all targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo
	@echo "TORCH_INDEX=URL selects the package index for torch, PYTHON=... the Python to use."

demo: ## draw four pictures of "a red car" with the bundled model
	@$(SETUP)
	$(BIN)/unclip generate "a red car" -n 4 --seed 7 -o demo.png
	@echo "The pictures are in $(CURDIR)/demo.png"
	@echo "Next: source .venv/bin/activate && unclip --help"

serve: ## serve the bundled model at http://127.0.0.1:8000/v1 (SERVE="--port 9000 ...")
	@$(SETUP) serve
	$(BIN)/unclip serve $(SERVE)

test: setup ## run every check: ruff, mypy, import-linter, the studio's, pytest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTHON) scripts/studio.py --check
	$(BIN)/pytest -n auto --dist loadfile

setup: ## create .venv for development
	@$(SETUP) train data parquet datasets serve dev docs

studio: setup ## build the studio's page, src/unclip/web, from studio/ (needs npm)
	$(PYTHON) scripts/studio.py

site: setup ## build the documentation's site into build/site; warnings and dead links are errors
	$(BIN)/python scripts/website.py

format: setup ## format the code and apply automatic fixes of ruff
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

corpus: ## download the drawings and build the emoji corpus (VOCABULARY=everyday or all)
	@$(SETUP) data
	npm install --prefix assets
	$(BIN)/unclip data emoji --out $(CORPUS) --vocabulary $(VOCABULARY)

$(CORPUS)/corpus.json:
	$(MAKE) corpus

model: | $(CORPUS)/corpus.json ## train the bundled model, or continue (RECIPE=..., BUDGET=3h; hours on a CPU)
	@$(SETUP) train data
	$(BIN)/unclip train $(RECIPE) --resume $(if $(BUDGET),--budget $(BUDGET))

$(FEATURES)/clip: | $(CORPUS)/corpus.json
	@$(SETUP) data
	$(BIN)/python scripts/features.py --data $(CORPUS) -o $(FEATURES)

evaluation: | $(FEATURES)/clip ## measure the bundled model: docs/evaluation.md and .json (hours on a CPU)
	@$(SETUP) data
	$(BIN)/unclip evaluate default --data $(CORPUS) --features $(FEATURES) --work runs/evaluation \
		-o docs/evaluation.md

nightly: setup ## run the slow tests (UNCLIP_SOAK_MINUTES=30), look up known vulnerabilities, try other versions
	$(BIN)/pytest -m slow --timeout 3600
	$(PYTHON) scripts/studio.py --check --all
	$(BIN)/python scripts/audit.py
	$(MAKE) versions

bench: setup ## run the benchmarks, except gan, peers, train, learning, low_memory, checkouts and decoders
	@set -e; for file in $(filter-out $(BY_HAND),$(wildcard benchmarks/[a-z]*.py)); do \
		echo "== $$file"; $(BIN)/python $$file; done

gallery: ## draw docs/gallery.md and the README's pictures from the bundled model
	@$(SETUP)
	$(BIN)/python scripts/gallery.py
	$(BIN)/python scripts/pictures.py

map: ## draw docs/architecture.svg, and count the lines of ARCHITECTURE.md's reading order
	$(PYTHON) scripts/map.py

tables: ## measure docs/samplers.md, priors.md and text_diff.md (needs the corpus; an hour)
	@$(SETUP) data
	$(BIN)/python benchmarks/samplers.py --prompts 4 -o docs/samplers.md
	$(BIN)/python benchmarks/priors.py --data $(CORPUS) -o docs/priors.md
	$(BIN)/python benchmarks/text_diff.py --data $(CORPUS) -o docs/text_diff.md

peers: ## create .venv-peers with the implementations that the tests compare with
	$(PYTHON) scripts/peers.py

parity: ## regenerate tests/parity/fixtures with them (SOURCES=folder of clones, see scripts/peers.py)
	$(PYTHON) scripts/peers.py --fixtures $(if $(SOURCES),--sources $(SOURCES))

clients: setup ## run OpenAI's clients, old and new, against the server: docs/clients.md
	$(PYTHON) scripts/clients.py

versions: setup ## try the wheel with other versions of Python and PyTorch (VERSIONS="python3.12 --torch 2.12")
	$(PYTHON) scripts/versions.py $(VERSIONS)

clean: ## remove caches and build outputs; keep data, runs and .venv
	rm -rf build dist src/*.egg-info demo.png .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
