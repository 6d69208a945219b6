# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Two commands matter: "make demo" shows the whole thing at work, "make test" proves it.
# PYTHON=python3.12 picks another interpreter (3.11 to 3.13) for the virtual environment.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKAGE := .cache/package
SITE := .cache/docs
LINK := .cache/collections/ansible_collections/opennebula/elastichosts
# programs call each other by name (antsibull-docs ansible-doc, ansible-lint ansible-playbook)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
# where a shell has this set, each of some thousand processes would compile its sources anew
unexport PYTHONDONTWRITEBYTECODE
COLLECTION_TEST := $(BIN)/python tests/tools/run_ansible_test.py
SECONDS ?= 60
FUZZ ?= vmm_lines im_lines deployment_files settings_files replies oned_conf
ROOMS := $(addprefix tests/unit/,core drivers elastichosts endpoint modules opennebula)
# as many workers as tests/conftest.py says
PYTEST := $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder
# Three at a time: most parts are one process that waits now and then. "unit" comes first and ends last: it has as many
# workers as processors can use, where one part alone at the end would leave processors idle.
PARTS := unit sanity lint docs types
PACKAGES := $(addprefix plugins/module_utils/,elastichosts opennebula drivers)

.PHONY: help setup demo quick test test-all molecule test-kvm bench fuzz format lint types unit rooms sanity pylint sanity-tests integration docs package tarball clean
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## the main job on loopback: endpoint, ad hoc server, drivers under two OpenNebula generations, inventory
	@$(BIN)/python -m tests.demo

quick: setup ## what holds in two minutes: form, types, and the rooms' tests, none of which starts Ansible
	@$(MAKE) --no-print-directory -j2 --output-sync=target rooms lint types

test: setup ## everything that must hold
	@echo "Three at a time, 6 minutes on 2 cores; each shows what it did when it ends: $(PARTS)"
	@$(MAKE) --no-print-directory -j3 --output-sync=target $(PARTS)

test-all: export EH_TESTS := all
test-all: PARTS += integration package pylint
test-all: test ## as CI: also integration, package and pylint, and all of what "make test" takes samples of

molecule: setup ## the molecule scenario of the role one_eh_driver
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --upgrade \
	    --target .cache/molecule --requirement tests/molecule.txt
	rm -rf .cache/scenario
	cd extensions && PYTHONPATH=$(CURDIR)/.cache/molecule MOLECULE_EPHEMERAL_DIRECTORY=$(CURDIR)/.cache/scenario \
	    $(CURDIR)/$(BIN)/python -m molecule test

test-kvm: setup ## real guests by libvirt, as root: installs packages, boots guests of its own, bursts to them
	tests/tools/install_kvm.sh .cache/kvm
	tests/tools/with_libvirt.sh $(BIN)/pytest -q tests/kvm

bench: setup ## the performance ratios
	@$(BIN)/python -m tests.bench

# Not a part of "make test": what it finds it finds after minutes, and atheris has wheels for Linux only. Whatever it
# has found stays in tests/fuzz/findings.py, which the unit tests try.
fuzz: setup ## feed every parser of the drivers with what atheris makes up: SECONDS=60 for each
	$(BIN)/pip install -q --require-hashes --no-deps -r tests/fuzz/requirements.txt
	for target in $(FUZZ); do $(BIN)/python -m tests.fuzz $$target $(SECONDS) || exit; done

setup: $(READY) $(LINK) ## the virtual environment only

$(READY): tests/requirements.txt tests/tools/make_venv.sh
	@tests/tools/make_venv.sh $(VENV) $(PYTHON)

# the collection by its real name, for the programs that look for it below ANSIBLE_COLLECTIONS_PATH
$(LINK):
	@mkdir -p $(@D)
	@ln -sfn $(CURDIR) $@

lint: setup ## ruff, ansible-lint, workflow, licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ansible-lint
	$(BIN)/yamllint --strict -d '{extends: default, rules: {line-length: {max: 120}, truthy: {check-keys: false}, braces: {}}}' .github
	$(BIN)/reuse lint --quiet || $(BIN)/reuse lint

types: setup ## mypy --strict
	$(BIN)/mypy --strict $(PACKAGES) plugins/plugin_utils
	$(BIN)/mypy --strict roles/eh_endpoint/files/eh_endpoint

unit: setup ## pytest: the rooms, the roles' plays, and every command of README and guides
	$(PYTEST)

rooms: setup
	$(PYTEST) $(ROOMS)

sanity: setup ## ansible-test sanity, without pylint
	$(COLLECTION_TEST) sanity --skip-test pylint

pylint: setup ## the pylint of ansible-test, for what users get
	$(COLLECTION_TEST) sanity --test pylint plugins/ roles/

sanity-tests: setup ## the same pylint, for the tests
	$(COLLECTION_TEST) sanity --test pylint tests/

integration: setup ## ansible-test integration, every target
	$(COLLECTION_TEST) integration

docs: setup ## guides and plugin pages as a site in .cache/docs/html, plugin documentation, changelog
	$(BIN)/antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self --disallow-unknown-collection-refs .
	$(BIN)/antsibull-changelog lint
	rm -rf $(SITE)
	mkdir -p $(SITE)/rst/collections
	cp -r docs/conf.py docs/*.rst docs/reference $(SITE)/rst
	cp CHANGELOG.rst $(SITE)/rst/changelog.rst
	$(BIN)/antsibull-docs collection --use-current --squash-hierarchy --fail-on-error --dest-dir $(SITE)/rst/collections \
	    opennebula.elastichosts
	$(BIN)/sphinx-build -q -n -W --keep-going -j 2 $(SITE)/rst $(SITE)/html

package: setup ## build the tarball, install it elsewhere, run the demo with the installed copy
	rm -rf $(PACKAGE)
	$(BIN)/python tests/tools/build_tarball.py $(PACKAGE)
	ANSIBLE_COLLECTIONS_PATH=$(PACKAGE)/installed $(BIN)/ansible-galaxy collection install \
	    $(PACKAGE)/*.tar.gz --collections-path $(PACKAGE)/installed --offline
	@$(BIN)/python -m tests.demo --collections $(PACKAGE)/installed

tarball: setup ## the collection as a file to install, here
	@$(BIN)/python tests/tools/build_tarball.py .

format: setup ## ruff format, import order
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

clean: ## what the commands above left behind
	rm -rf $(VENV) .cache .ansible .hypothesis .mypy_cache .ruff_cache .pytest_cache tests/output
