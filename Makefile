# Two commands make everything on a machine with Python 3.11, pip and make: `make book` and `make test`.
# `make help` lists the rest.

# `make PYTHON=/some/python3.12 env` takes another interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
SCALE  ?= paper
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps
# The stamp is younger than the lock only when everything in the lock is installed.
STAMP  := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help env lab book paper results pdf launch linkcheck test newest lock fuzz kills bench lint format clean vendor

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## create .venv with the locked dependencies and this package (once)

$(STAMP): requirements.lock requirements-cuda.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(PIP) --require-hashes -r requirements.lock
	@$(BIN)/python -m pip check >/dev/null || $(PIP) --require-hashes -r requirements-cuda.lock  # torch for GPUs
	$(PIP) --no-build-isolation --editable .
	@touch $@

lab: env ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

book: env ## execute the notebooks and build the site into _build/html
	$(BIN)/python book/build.py --scale $(SCALE)

paper: env ## the book at full size; keep its results unless some moved beyond their spread (ACCEPT=yes: then too)
	$(BIN)/python book/build.py --scale paper
	$(BIN)/precise results _build/claims.json data/results/claims.json $(if $(ACCEPT),--accept)

results: env ## try all estimators over all their settings again (about 20 min), and say what moved
	$(BIN)/precise peers --out _build/results
	$(BIN)/precise peers --compare _build/results data/results

test: env ## run every test, on two cores (a file stays on one: its notebooks run once)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

pdf: book ## print the book into _build/pdf/book.pdf (needs Chromium)
	$(BIN)/python book/pdf.py

launch: env ## write the repository's address from CITATION.cff into the install cell of every notebook
	$(BIN)/python book/launch.py

linkcheck: book ## follow the links of the book to other sites; the report goes to _build/linkcheck
	$(BIN)/jupyter-book build _build/src --builder linkcheck --path-output _build/linkcheck

newest: ## run the tests with the newest packages that pyproject.toml allows, in .venv-newest
	"$(PYTHON)" -m venv .venv-newest
	.venv-newest/bin/python -m pip install --disable-pip-version-check --quiet --upgrade --editable ".[dev]"
	.venv-newest/bin/python -m pytest --deselect tests/test_environment.py::test_this_environment_is_the_locked_one

lock: ## resolve the ranges of pyproject.toml into the lock, with hashes (needs uv; see .ci/lock)
	"$(PYTHON)" .ci/lock

fuzz: env ## give the readers ten thousand spoiled files; `make test` takes a tenth
	PRECISE_FUZZ=5 $(BIN)/python -m pytest -q tests/io/test_fuzz.py

kills: env ## kill train, quantify and sweep at every rename and at 100 random moments each
	PRECISE_KILLS=100 $(BIN)/python -m pytest -q tests/kills

bench: env ## print precision against the bound and speed of every estimator on this machine
	$(BIN)/precise bench

lint: env ## check code style, formatting, who may import whom, and that notebooks carry no outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -print0 | xargs -0 -r $(BIN)/nbstripout --keep-id --verify

format: env ## mend what `make lint` can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -print0 | xargs -0 -r $(BIN)/nbstripout --keep-id

clean: ## remove the environment and everything that was built
	rm -rf .venv .venv-newest _build notebooks/_build dist .pytest_cache .ruff_cache .hypothesis

vendor: ## refresh book/_static/vendor (needs npm; the files are committed, so nobody else does)
	"$(PYTHON)" book/_static/vendor/refresh.py
