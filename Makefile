# Two commands for newcomers: `make demo` cuts out a picture, `make test` checks everything.
PYTHON ?= python3
# On Linux without a GPU, PyTorch's own index has a build 3 GB smaller:
#   make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
PIP = .venv/bin/python -m pip --disable-pip-version-check

.PHONY: demo test test-openvino test-eval test-cluster test-page lint audit conformance clean

demo: .venv/installed
	.venv/bin/foreground models fetch xuebinqin/u2netp
	.venv/bin/python scripts/render_photos.py demo --scene mug
	.venv/bin/foreground demo/mug.jpg --model xuebinqin/u2netp --force
	@echo "The cut-out is $(CURDIR)/demo/mug.cutout.png"
	@echo "Go on with your own: source .venv/bin/activate; foreground photo.jpg --model xuebinqin/u2netp"

test: .venv/installed-dev lint
	.venv/bin/python scripts/fetch_models.py
	.venv/bin/python -m pytest

# onnxruntime-openvino stands in place of onnxruntime, so its tests have a venv of their own.
test-openvino: .venv-openvino/installed
	.venv-openvino/bin/python -m pytest tests/test_openvino.py

# The evaluation's measures hold numpy and others at older versions.
test-eval: .venv-eval/installed
	.venv-eval/bin/python -m pytest tests/test_metrics.py tests/test_evaluation.py tests/test_report.py tests/test_size_limit.py tests/test_reliability.py

# Ray and Spark (which needs Java).
test-cluster: .venv-cluster/installed
	.venv-cluster/bin/python -m pytest tests/test_ray.py tests/test_spark.py

# The page of `foreground serve`, in Chromium too where that is installed (playwright is only its driver).
# FOREGROUND_SCREENSHOTS=1 makes the pictures of it in docs/ anew.
test-page: .venv-page/installed
	.venv-page/bin/python -m pytest tests/test_page.py tests/test_page_security.py tests/test_size_limit.py

lint: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

# Licences and known vulnerabilities of what the package brings along; fails where there is something to look at, or
# where that could not be looked up.
audit: .venv/installed .venv-audit/installed
	.venv/bin/python scripts/audit.py .venv-audit/bin

# Against the real Transformers.js (needs Node 18 or newer and npm), on pictures made afresh from a seed.
SEED ?= 1
conformance: .venv/installed-dev
	.venv/bin/python scripts/fetch_models.py imgly/isnet-general-use --dtype fp32
	.venv/bin/python scripts/conformance.py --seed $(SEED)

.venv/torch:
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet $(TORCH)
	touch $@

.venv/installed: .venv/torch pyproject.toml
	$(PIP) install --quiet -e .
	touch $@

.venv/installed-dev: .venv/torch pyproject.toml
	$(PIP) install --quiet -e ".[dev]"
	touch $@ .venv/installed

.venv-openvino/installed: pyproject.toml
	$(PYTHON) -m venv .venv-openvino
	.venv-openvino/bin/python -m pip install --quiet $(TORCH)
	.venv-openvino/bin/python -m pip install --quiet -e ".[dev]"
	.venv-openvino/bin/python -m pip uninstall --quiet --yes onnxruntime
	.venv-openvino/bin/python -m pip install --quiet onnxruntime-openvino
	touch $@

.venv-eval/installed: pyproject.toml
	$(PYTHON) -m venv .venv-eval
	.venv-eval/bin/python -m pip install --quiet $(TORCH)
	.venv-eval/bin/python -m pip install --quiet -e ".[dev,eval]"
	touch $@

.venv-cluster/installed: pyproject.toml
	$(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --quiet $(TORCH)
	.venv-cluster/bin/python -m pip install --quiet -e ".[dev,ray,spark]"
	touch $@

.venv-page/installed: pyproject.toml
	$(PYTHON) -m venv .venv-page
	.venv-page/bin/python -m pip install --quiet $(TORCH)
	.venv-page/bin/python -m pip install --quiet -e ".[dev,demo]" playwright
	touch $@

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit pip-licenses
	touch $@

clean:
	rm -rf .venv .venv-audit .venv-openvino .venv-eval .venv-cluster .venv-page build demo
