# What a checkout needs is Python 3.11 or newer and make; the commands are in README.md.
# Written for GNU make 3.81 and a BSD userland too, which is what macOS has.

PYTHON ?= python3
PORT ?=
# Environments and models of the tests: outside the tree, so that a fresh clone finds them again.
CACHE ?= $(HOME)/.cache/roost-test
MODELS ?= $(HOME)/.cache/roost-models
# Further arguments of pytest, such as -k NAME.
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
ROOST := $(BIN)/roost
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Length of `make soak`.
SOAK_MINUTES ?= 10

.PHONY: help run install test test-engines test-containers test-agents test-gpu test-thorough test-memory-faults lint types unit check
.PHONY: soak soak-defects bench bench-memory wheel lock docs clean

help:
	@echo "make run [PORT=N]   install into .venv and serve in the foreground"
	@echo "make install        install into .venv"
	@echo "make test           install and pass all tests but those of the gigabyte engines and of real containers"
	@echo "make test-engines   make test, then the tests of vllm-mlx (1.2 GB of environment)"
	@echo "make test-containers  the tests of workers in containers, with docker and podman as far as they run here"
	@echo "make test-agents    coding agents and frameworks of others against leaking tool calls (needs Node.js 20 and npm)"
	@echo "make test-gpu       admission on a real NVIDIA GPU, with mlx-lm on CUDA"
	@echo "make test-thorough  the rarer ends of containers, spares and caches over real processes: minutes"
	@echo "make check          lint, types and the unit tests: seconds"
	@echo "make test-memory-faults  everything that goes wrong with memory, the slow faults too: minutes"
	@echo "make soak           real models under load and faults for SOAK_MINUTES=10, judged by one table"
	@echo "make soak-defects   the short soak with one defect after another planted: each must turn it red"
	@echo "make bench          the speed comparisons of benchmarks/ (a quiet machine, please)"
	@echo "make bench-memory   predicted against measured memory of real models; writes docs/reference/memory-accuracy.md"
	@echo "make wheel          build the wheel into dist/"
	@echo "make docs           write the generated pages of docs/ anew"
	@echo "make lock           resolve requirements/*.txt and the engines' locks anew"

run: $(RUN_STAMP)
	@exec $(ROOST) up $(if $(PORT),--port $(PORT))

install: $(RUN_STAMP)

# The checkout is installed as it lies there (editable): only a changed lock or pyproject.toml installs again.
$(RUN_STAMP): requirements/run.txt pyproject.toml
	@$(MAKE) --no-print-directory $(BIN)/python
	@echo "installing roost into $(VENV)"
	@$(PIP_INSTALL) --require-hashes --requirement requirements/run.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(TEST_STAMP): requirements/test.txt pyproject.toml $(RUN_STAMP)
	@echo "installing what the tests need into $(VENV)"
	@$(PIP_INSTALL) --require-hashes --requirement requirements/test.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "cannot install roost: it needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1 | head -n 1`;" \
	    "name another one, as in: make run PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST_STAMP)
	$(BIN)/mypy

unit: $(TEST_STAMP)
	$(BIN)/python -m pytest tests/unit tests/architecture

check: lint types unit

# The tests drive the real engines; what these need is prepared outside the tree and reused while its lock is the same.
PREPARE := $(BIN)/python scripts/prepare_tests.py --cache "$(CACHE)" --models "$(MODELS)"
PYTEST := ROOST_TEST_CACHE="$(CACHE)" ROOST_TEST_MODELS="$(MODELS)" \
  ROOST_ENGINE_MLX_LM_PYTHON="$(CACHE)/engines/mlx-lm/bin/python" $(BIN)/python -m pytest

# Most tests wait for one process: two files of them at a time. PYTEST_WORKERS=0 is one after another, for a debugger.
PYTEST_WORKERS ?= 2
TOGETHER := $(if $(filter-out 0,$(PYTEST_WORKERS)),--numprocesses $(PYTEST_WORKERS) --dist loadfile)

test: lint types
	$(PREPARE) mlx-lm
	$(PYTEST) -m "not engines and not containers and not agents and not gpu and not thorough" $(TOGETHER) $(PYTEST_ARGS)

# What the quick run has no room for.
test-thorough: $(TEST_STAMP)
	$(PREPARE) --tool-model mlx-lm
	$(PYTEST) -m "thorough and not engines and not containers" $(PYTEST_ARGS)

test-memory-faults: $(TEST_STAMP)
	$(PREPARE)
	$(PYTEST) tests/integration/memory_faults tests/acceptance/test_memory_faults.py -rs $(PYTEST_ARGS)

test-engines: test
	$(PREPARE) mlx-lm vllm-mlx
	ROOST_ENGINE_VLLM_MLX_PYTHON="$(CACHE)/engines/vllm-mlx/bin/python" $(PYTEST) -m engines -rs $(PYTEST_ARGS)

# The stand-in container engine is part of `make test`.
test-containers: $(TEST_STAMP)
	@command -v podman >/dev/null || command -v docker >/dev/null || { \
	  echo "cannot test containers: neither podman nor docker is installed;" \
	    "on Debian and Ubuntu: apt-get install podman runc" >&2; \
	  exit 1; }
	$(PREPARE)
	ROOST_TEST_CONTAINERS=1 $(PYTEST) -m containers -rs $(PYTEST_ARGS)

# The agents live outside the tree too, with programs of their own for each platform (1.1 GB); nothing that a package brings is run to install it.
AGENTS := $(CACHE)/agents
test-agents: $(TEST_STAMP)
	@command -v npm >/dev/null || { echo "cannot test agents: npm is missing; install Node.js 20 or newer" >&2; exit 1; }
	$(PREPARE)
	mkdir -p "$(AGENTS)"
	cp requirements/agents/package.json requirements/agents/package-lock.json "$(AGENTS)"
	npm install --prefix "$(AGENTS)" --ignore-scripts --no-audit --no-fund
	$(PIP_INSTALL) --require-hashes --requirement requirements/agents.txt
	ROOST_TEST_AGENTS="$(AGENTS)" $(PYTEST) -m agents -rs $(PYTEST_ARGS)

# ROOST_ENGINE_MLX_LM_PYTHON: an interpreter with mlx-lm and the CUDA backend of MLX.
test-gpu: $(TEST_STAMP)
	$(PREPARE) mlx-lm
	ROOST_TEST_CACHE="$(CACHE)" ROOST_TEST_MODELS="$(MODELS)" $(BIN)/python -m pytest -m gpu -rs -s $(PYTEST_ARGS)

# The short one is part of `make test`.
SOAK := ROOST_TEST_CACHE="$(CACHE)" ROOST_TEST_MODELS="$(MODELS)" \
  ROOST_ENGINE_MLX_LM_PYTHON="$(CACHE)/engines/mlx-lm/bin/python" $(BIN)/python -m

soak: $(TEST_STAMP)
	$(PREPARE) mlx-lm
	$(SOAK) tests.soak --minutes $(SOAK_MINUTES)

soak-defects: $(TEST_STAMP)
	$(PREPARE)
	$(SOAK) tests.soak.defects

bench: $(TEST_STAMP)
	$(PREPARE) mlx-lm
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.hop
	$(BIN)/python -m benchmarks.cold_start
	$(BIN)/python -m benchmarks.readiness
	$(BIN)/python -m benchmarks.swap
	$(BIN)/python -m benchmarks.resume
	$(BIN)/python -m benchmarks.affinity
	$(BIN)/python -m benchmarks.affinity_machines
	$(BIN)/python -m benchmarks.dialects
	ROOST_ENGINE_MLX_LM_PYTHON="$(CACHE)/engines/mlx-lm/bin/python" \
	  $(BIN)/python -m benchmarks.standby --folder "$(MODELS)/smollm2-135m-f32"
	$(BIN)/python -m benchmarks.idle

# Memory is no time: the machine may be busy. A second model is measured where MODELS has it.
bench-memory: $(TEST_STAMP)
	$(PREPARE) mlx-lm
	ROOST_ENGINE_MLX_LM_PYTHON="$(CACHE)/engines/mlx-lm/bin/python" \
	  $(BIN)/python -m benchmarks.memory_accuracy --models "$(MODELS)" --write

wheel: $(RUN_STAMP)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

docs: $(TEST_STAMP)
	$(BIN)/python -m roost.config.reference > docs/reference/settings.md
	$(BIN)/python -m roost.cli.reference > docs/reference/cli.md
	$(BIN)/python -m roost.workers.reference > docs/reference/worker-states.md

# The resolvers have an environment of their own: what they need is no part of roost.
PIP_COMPILE := build/lock/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-emit-trusted-host --no-header --no-annotate --strip-extras --allow-unsafe \
  --build-deps-for editable --build-deps-for wheel --extra llama --extra hub --extra import --extra nodes --extra cloud

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2 uv==0.13.9
	$(PIP_COMPILE) --output-file requirements/run.txt pyproject.toml
	$(PIP_COMPILE) --extra test --output-file requirements/test.txt pyproject.toml
	$(PIP_COMPILE) --extra test --extra agents --output-file requirements/agents.txt pyproject.toml
	cd requirements/agents && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund
	PATH="$(CURDIR)/build/lock/bin:$$PATH" $(PYTHON) scripts/lock_engines.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
