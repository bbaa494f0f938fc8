.PHONY: demo demo-pretraining test lint docs examples clean
VENV := .venv
BIN := $(VENV)/bin
# Nothing but the processor is needed; a machine that offers only the accelerator build of torch works as well.
STAMP := $(VENV)/.installed

$(STAMP): pyproject.toml constraints.txt
	python3 -m venv --upgrade-deps $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[search,data,onnx,report,logging,media,metrics]'
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev
	touch $(STAMP)

demo: $(STAMP)  ## train, encode, store, search and compare on the embedded real data; writes demo/report.html
	$(BIN)/codeword demo --out demo

SETS := runs/sets
demo-pretraining: $(STAMP)  ## the small recipe of each kind of data, on sets made of Debian packages: about an hour of one core
	[ -d $(SETS) ] || benchmarks/pretraining_sets.sh $(SETS) $(BIN)/python
	$(BIN)/python -m benchmarks.pretraining_probes --data $(SETS) --again

test: $(STAMP)  ## the whole test suite; the compiler's tests run without the shape hook, which it cannot trace
	$(BIN)/pytest
	$(BIN)/pytest -o addopts= --import-mode=importlib --strict-markers --strict-config -m compile

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check
	$(BIN)/vulture

docs: $(STAMP)  ## pages and reference; a warning, or an example that prints something else, is an error
	$(BIN)/sphinx-build -b html -W --keep-going docs docs/_build/html
	$(BIN)/sphinx-build -b doctest -W docs docs/_build/doctest

examples: $(STAMP)
	for script in examples/*.py; do echo $$script; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) docs/_build build dist demo
