# The environment is built once, from the lock, and again whenever the lock changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS := .venv/docs
INFRA := .venv/infra
AUDIT := .cache/audit
UV_VERSION := 0.13.8

# Processes of Ray and Dagster import the same packages again and again: without cached bytecode each compiles them.
unexport PYTHONDONTWRITEBYTECODE

# Runs a command, and prints what it printed only where it failed.
silent = @echo "$(1)"; output=$$($(1) 2>&1) || { echo "$$output"; exit 1; }

.PHONY: demo test test-slow soak bench-curation heads explorer check check-infra docs format lock audit clean

demo: $(READY)
	$(BIN)/isotrope demo demo

# Two processes, each with a Ray of its own. The tests of a file share fixtures, so they stay together.
test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/pytest -m slow -n 2 --dist loadfile

# Prints the figures of docs/curation.md. FEATURES: files of paired features, beside the stamps.
# PHOTOGRAPHS: files and folders of photographs, as docs/duplicates.md lists them.
bench-curation: $(READY)
	test -d demo || $(BIN)/isotrope demo demo
	$(BIN)/python benchmarks/mismatch.py $(FEATURES) --stamps demo
	$(BIN)/python benchmarks/repair.py $(FEATURES) --stamps demo
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/align_mismatches.py $(FEATURES) --stamps demo
	$(BIN)/python benchmarks/coresets.py $(FEATURES) --stamps demo
	$(BIN)/python benchmarks/coresets.py $(FEATURES) --stamps demo --swapped 0.2 --planted 0
	$(BIN)/python benchmarks/concepts.py demo --most 2 --names imagenet \
	  $(wildcard /usr/share/wordnet/index.noun)
	$(BIN)/python -m benchmarks.picture_copies demo
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.cascade demo
	$(BIN)/python benchmarks/offensive.py
	$(if $(PHOTOGRAPHS),$(BIN)/python -m benchmarks.picture_copies $(PHOTOGRAPHS) --copied 150)
	$(if $(PHOTOGRAPHS),$(BIN)/python -m benchmarks.edits $(PHOTOGRAPHS))

# 200 faults on whole runs: takes an hour. FAULTS=20 SEED=7 for fewer, or for the same ones again.
FAULTS ?= 200
soak: $(READY)
	$(BIN)/python -m tests.soak --faults $(FAULTS) $(if $(SEED),--seed $(SEED))

# Trains what is committed in embedders/local/heads, and writes docs/local.md.
heads: $(READY)
	$(BIN)/python -m pipelines.local_heads .cache/heads

# Needs Node 20 and npm. The build is committed, so that nothing else needs them.
explorer: $(READY)
	cd orchestration/explorer && npm ci --ignore-scripts --no-audit --no-fund && npm run check && npm run build
	$(BIN)/python tools/check_explorer.py --write

check: $(READY) check-infra
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(call silent,$(BIN)/lint-imports --no-logo --no-cache)
	$(BIN)/vulture
	$(call silent,$(BIN)/deptry .)
	$(BIN)/python tools/check_licences.py
	$(BIN)/python tools/check_explorer.py

# Dockerfiles, manifests, values of charts, alert rules; needs neither a cluster nor a network.
check-infra: $(READY) $(INFRA)/.ready
	PATH=$(CURDIR)/$(INFRA)/bin:$(CURDIR)/$(BIN):$$PATH PYTHONPATH=$(INFRA) \
	  $(BIN)/python -m tools.check_infra
	PATH=$(CURDIR)/$(INFRA)/bin:$(CURDIR)/$(BIN):$$PATH PYTHONPATH=$(INFRA) \
	  $(BIN)/pytest tests/tools/test_check_infra.py

# README.md, docs/*.md and the API reference as HTML, in build/docs; warnings are errors.
docs: $(READY) $(DOCS)/.ready
	PYTHONPATH=$(DOCS) $(BIN)/python -m sphinx --quiet --fail-on-warning --fresh-env -c docs . build/docs

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --extra dev --no-annotate pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --group docs --no-annotate -c requirements.txt -o docs/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --group infra --no-annotate -c requirements.txt -o infra/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --no-annotate tools/audit.in -o tools/audit.txt

# Writes build/sbom.json from the lock, and looks its packages up in PyPI's list of vulnerabilities,
# which needs the network. The tools have an environment of their own.
audit: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(AUDIT)
	$(BIN)/uv pip sync --quiet --python $(AUDIT)/bin/python --require-hashes tools/audit.txt
	@mkdir -p build
	$(AUDIT)/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml \
	  --output-reproducible --output-file build/sbom.json
	$(AUDIT)/bin/pip-audit --requirement requirements.txt --require-hashes --disable-pip --strict

$(READY): requirements.txt pyproject.toml
	@test -x $(BIN)/uv || $(PYTHON) -m venv .venv \
	  || { echo "python3 cannot make environments here: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Beside the environment, so that the environment holds what its lock names and nothing else.
$(DOCS)/.ready: $(READY) docs/requirements.txt
	rm -rf $(DOCS)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(DOCS) --require-hashes \
	  -r docs/requirements.txt
	@touch $@

$(INFRA)/.ready: $(READY) infra/requirements.txt
	rm -rf $(INFRA)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(INFRA) --require-hashes \
	  -r infra/requirements.txt
	@touch $@

clean:
	rm -rf .venv build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
