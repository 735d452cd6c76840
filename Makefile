# Everything a developer needs; `make help` lists it. Only Python and make must be there already.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SEED ?= 1
EXAMPLES ?= 10000
NOTEBOOK ?= docs/notebooks/quickstart.ipynb
SDISTS ?= .sdists
SDIST_PACKAGES := corner==2.3.* emcee==3.1.* nbclient==0.11.* nbconvert==7.17.* papermill==2.7.* seaborn==0.13.*

.PHONY: help run test test-all test-browser test-notebooks compare-notebooks lint docs bench stress stress-short endurance fuzz audit clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

run: $(BIN)/.installed-notebook  ## Install three kernels into .venv and execute a notebook on each
	$(BIN)/async-kernel install --sys-prefix --replace --profile default --profile trio --profile fast
	$(BIN)/python docs/run_notebook.py $(NOTEBOOK) --kernel async async-trio async-fast

test: $(BIN)/.installed-test  ## Run the tests, two at a time (TESTS="tests/protocol -k wire" for some of them)
	$(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

test-all:  ## Run the tests on every python3.11 to python3.14 that runs
	@status=0; for version in 3.11 3.12 3.13 3.14; do \
		if "python$$version" -c 'import venv' >/dev/null 2>&1; then \
			echo "== python$$version"; \
			$(MAKE) --no-print-directory test PYTHON="python$$version" VENV=".venv-$$version" || status=1; \
		else \
			echo "== python$$version: skipped, it is not there or does not run"; \
		fi; \
	done; exit $$status

test-browser: $(BIN)/.installed-browser  ## Try JupyterLab's launcher, widgets and debugger in a headless Chromium, which must be there
	$(BIN)/python -m pytest tests/integration/test_launcher.py tests/integration/test_widgets_browser.py tests/integration/test_debugger_browser.py

test-notebooks:  ## Execute notebooks from packages on PyPI here and under ipykernel, in .venv-notebooks, and compare
	$(MAKE) --no-print-directory compare-notebooks VENV=.venv-notebooks

compare-notebooks: $(BIN)/.installed-notebooks
	$(BIN)/python -m ipykernel install --sys-prefix --name python3
	mkdir -p $(SDISTS)
	for package in $(SDIST_PACKAGES); do ls $(SDISTS)/$${package%%=*}-*.tar.gz >/dev/null 2>&1 || \
		$(BIN)/python -m pip download -q --no-deps --no-binary "$${package%%=*}" -d $(SDISTS) "$$package" || exit 1; done
	NOTEBOOK_SDISTS=$(SDISTS) $(BIN)/python -m pytest tests/integration/test_pypi_notebooks.py

lint: $(BIN)/.installed-lint $(BIN)/.installed-test  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --warnings --pythonpath $(BIN)/python

docs: $(BIN)/.installed-docs  ## Build the site in docs/_build/html; its notebooks are executed, warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(BIN)/.installed-bench  ## Measure the kernels side by side (BENCH="--rounds 3" for options)
	$(BIN)/python -m benchmarks $(BENCH)

stress: $(BIN)/.installed-test  ## Random requests of several clients, then hostile ones (STRESS="--seed 7 --profile trio")
	$(BIN)/python -m tests.stress --messages 100000 --hostile 100000 $(STRESS)
	ASYNC_KERNEL_RESTARTS=100 $(BIN)/python -m pytest -q --timeout 1200 tests/integration/test_faults_processes.py -k killed

endurance: $(BIN)/.installed-test  ## A long life: 100,000 cells, 10,000 comms and interrupts, 1,000 subshells; what stays? (ENDURANCE="--profile trio")
	$(BIN)/python -m tests.stress.endurance $(ENDURANCE)

stress-short: $(BIN)/.installed-test  ## What continuous integration runs of it: a minute
	$(BIN)/python -m tests.stress --seed $(SEED) --messages 4000 --hostile 2000 --profile default --set encryption=required
	$(BIN)/python -m tests.stress --seed $(SEED) --messages 4000 --hostile 2000 --profile trio --set transport=ipc
	$(BIN)/python -m tests.stress.endurance --scale 0.01 --idle 0

fuzz: $(BIN)/.installed-test  ## The property tests with many examples (EXAMPLES=100000)
	ASYNC_KERNEL_FUZZ=$(EXAMPLES) $(BIN)/python -m pytest -n $(WORKERS) --timeout 3600 tests/protocol/test_properties.py tests/protocol/test_dap_properties.py tests/config/test_properties.py

audit: $(BIN)/.installed-test  ## Report known vulnerabilities of what the package needs (pip-audit, in .venv-audit); it never fails
	@$(BIN)/python .ci/audit.py

clean:  ## Remove what the other targets made
	rm -rf .venv .venv-3.* .venv-audit .sdists build dist docs/_build docs/_generated benchmarks/.envs .pytest_cache .ruff_cache .coverage*
	find async_kernel benchmarks docs tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra, made anew when pyproject.toml has changed.
$(BIN)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "installing async_kernel[$*] into $(VENV) …"
	$(BIN)/python -m pip install -q -e ".[$*]"
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
