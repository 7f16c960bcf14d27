# Every command works on a fresh machine that has only Python: the environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

# The stamp depends on the requirement files: editing one refreshes the environment.
$(VENV)/.ready: requirements-dev.txt Makefile
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 13) or sys.exit("This is Python %d.%d: give one from 3.10 to 3.12, such as make PYTHON=python3.12." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -r requirements-dev.txt
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m animatediff_ext demo

# Two processes, of one thread each: the models in the tests are too small for more.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.ready
	$(BIN)/python -m bench.motion
	$(BIN)/python -m bench.long
	$(BIN)/python -m bench.train

clean:
	rm -rf $(VENV)
