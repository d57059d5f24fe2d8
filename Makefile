# SPDX-License-Identifier: GPL-2.0-or-later
# Each goal prepares the machine first: Debian packages (.ci/packages), then a virtual environment. Both say what they install.
VENV := .venv
# two at a time, and what one file has in one process
PYTEST_ARGS ?= -n 2 --dist loadfile

.PHONY: setup demo test bench docs rpm clean

# compiled here, as the installed package is: where PYTHONDONTWRITEBYTECODE is set, every start would compile anew
setup: $(VENV)/.ready
	@$(VENV)/bin/python -m compileall -q host klp lifecycle ulp zypp_plugin

$(VENV)/.ready: pyproject.toml .ci/packages .ci/install-packages .ci/make-venv .ci/find-python
	@.ci/install-packages
	@.ci/make-venv $(VENV)
	@touch $@

demo: setup
	@$(VENV)/bin/python -m tests.demo

test: setup
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

bench: setup
	$(VENV)/bin/python -m tests.bench

docs: setup
	@$(VENV)/bin/python -m spec.generate build

rpm: setup
	@.ci/build-rpm build/rpm

clean:
	rm -rf $(VENV) build *.egg-info
