# `make demo` sets up and judges the reference connector; `make test` sets up and passes the tests;
# `make check` lints, types, and keeps the arrows between the packages.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/pip --disable-pip-version-check --quiet

.PHONY: demo test check clean

$(VENV)/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/test: $(VENV)/run
	$(PIP) install -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/dev: $(VENV)/test
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/run
	$(VENV)/bin/wavetank check --report report

test: $(VENV)/test
	$(VENV)/bin/python -m pytest -n auto

check: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV) report .pytest_cache .mypy_cache .ruff_cache
