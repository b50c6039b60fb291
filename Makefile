# `make figures` and `make test` need only Python 3.11+, make and git; the rest is set up in .venv.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: figures gallery test test-slow lint dist bench bench-peers clean

figures: .venv/.base  ## the whole gallery, quick preset, and the report
	@# status 3: all figures were made, and a claim was not reproduced. That is a result.
	.venv/bin/fenchel figures --preset quick || [ $$? -eq 3 ]

gallery: .venv/.base  ## the figures that the repository shows: standard preset
	.venv/bin/fenchel figures --preset standard --gallery paper_figures/gallery || [ $$? -eq 3 ]

test: .venv/.test  ## the fast suite, peers included
	.venv/bin/python -m pytest -n 2

test-slow: .venv/.test
	.venv/bin/python -m pytest -n 2 -m slow

lint: .venv/.test  ## style, and types on an installed copy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	rm -rf build
	$(PIP) --no-deps --target build/installed .
	MYPYPATH=build/installed .venv/bin/mypy -p fenchel
	rm -rf build

dist: .venv/.test  ## sdist -> wheel -> import from an empty directory
	rm -rf build dist
	.venv/bin/python -m build --outdir dist .
	$(PIP) --no-deps --target build/wheel dist/*.whl
	mkdir build/empty
	cd build/empty && PYTHONPATH=../wheel ../../.venv/bin/python -c "import pathlib, fenchel.core, fenchel.bandits; \
		from fenchel.experiments.cli import main; main(['list']); main(['report']); \
		assert pathlib.Path(fenchel.__file__).parts[-3] == 'wheel', fenchel.__file__"
	rm -rf build

bench: .venv/.test  ## speed against peers in the same run
	.venv/bin/fenchel bench

# SMPyBandits 0.9.7 needs numpy < 2 and scipy < 1.12, mabwiser goes with it, d3rlpy gymnasium 1.0.0: environments of their own.
bench-peers: .venv-peers/.done .venv-d3rlpy/.done

.venv/.base: pyproject.toml constraints.txt
	[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	$(PIP) --editable ".[deep,gbrl,offline,snapshot]"
	touch $@

.venv/.test: .venv/.base
	$(PIP) --editable ".[test,peers,deep,gbrl,offline,snapshot]"
	touch $@

.venv-peers/.done:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet "numpy<2" "scipy<1.12" SMPyBandits==0.9.7 mabwiser==2.7.4
	touch $@

.venv-d3rlpy/.done:
	$(PYTHON) -m venv .venv-d3rlpy
	.venv-d3rlpy/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt torch
	.venv-d3rlpy/bin/python -m pip --disable-pip-version-check install --quiet d3rlpy
	touch $@

clean:
	rm -rf .venv .venv-peers .venv-d3rlpy build dist results *.egg-info
