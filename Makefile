# Every target sets up .venv by itself when it is missing or pyproject.toml has changed, and never twice.
PYTHON ?= python3
DATASET ?= digits
SPACE := $() $()
NAMED := $(subst $(SPACE),_,$(DATASET))
PRESET ?= $(if $(filter digits,$(NAMED)),quick,lesson)
SEED ?= 0
REMEASURE ?= False
NETWORK ?=
BENCH ?=
SLIDES ?=
COSTS ?= $(if $(filter digits,$(NAMED)),macs,ms)
TARGETS ?=
SPLIT ?= 0.0
VALID ?= 0.0
IMAGE_SIZE ?= 0
FLIP ?= True
PRECISION ?= $(if $(filter digits,$(NAMED)),float32,auto)
OUT ?= runs/choose-$(lastword $(subst /, ,$(NAMED)))-$(PRESET)-$(SEED)
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
SOLUTIONS := $(wildcard notebooks/solutions/*.ipynb)
TIMES ?= runs/notebooks/notebook_seconds.csv
HASHSEED ?= 1
OFFLINE := PYTHONPATH='$(CURDIR)/tests/offline$(if $(PYTHONPATH),:$(PYTHONPATH))'
VENV := .venv/bin
STILLS := $(foreach kind,text/html text/markdown text/latex image/png text/plain,--NbConvertBase.display_data_priority=$(kind))
METHOD := ops mixed_op spaces architecture supernet objective rules recompute
# One process per core and one thread per process: what is tested is small. Solutions first: the longest cells are there.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/python -m pytest -n logical --maxprocesses 8
export PROXYLESS_DATA ?= $(CURDIR)/data

.PHONY: help setup search check test test-all browser lab notebooks figures refresh bench animation slides site numbers assignments clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo "  settings: DATASET=$(DATASET) PRESET=$(PRESET) SEED=$(SEED) COSTS=$(COSTS) TARGETS=$(TARGETS) PRECISION=$(PRECISION) OUT=$(OUT) PROXYLESS_DATA=$(PROXYLESS_DATA)"

setup: .venv/installed  ## create .venv and install everything (once)

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "proxyless_lite needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; say make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Paths of users go through variables of the shell: they may hold spaces and quotes. A comment behind a value would add blanks to it.
search: export DATASET := $(DATASET)
search: export COSTS := $(COSTS)
search: export OUT := $(OUT)
search: setup  ## notebook 11: one search, a network for each of several costs; DATASET=digits, cifar10 or a folder; COSTS=macs, ms or a latency table; TARGETS=1.2,1.5; SPLIT, VALID: shares for testing and for α; IMAGE_SIZE: pixels; FLIP=False: do not mirror
	@$(VENV)/python -m proxyless_lite.course.notebook notebooks/11_search_and_choose.ipynb --out "$$OUT" -p dataset "$$DATASET" \
	  -p preset '$(PRESET)' -p costs "$$COSTS" -p targets '$(TARGETS)' -p valid '$(VALID)' -p split '$(SPLIT)' -p image_size '$(IMAGE_SIZE)' -p flip '$(FLIP)' -p precision '$(PRECISION)' -p seed '$(SEED)'

check: setup  ## the method's exact tests, in a minute
	$(PYTEST) $(METHOD:%=tests/test_%.py)

test: setup  ## all tests but the slow ones, and every notebook against its stored outputs, without a network
	$(PYTEST) tests
	$(OFFLINE) PYTHONHASHSEED=$(HASHSEED) $(PYTEST) --nbval --nbval-current-env --dist loadscope --no-loadscope-reorder -p no:cacheprovider $(SOLUTIONS) $(NOTEBOOKS)

test-all: setup  ## also the slow ones: kills, ranks, mutations, exports, wheels
	$(PYTEST) tests -m slow
	$(MAKE) test

browser: setup  ## open every notebook that has a widget in JupyterLab and move it; needs Chromium
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]'
	$(VENV)/python -m pytest tests/test_browser.py -m 'course or not course'

lab: setup  ## open the course in JupyterLab
	$(VENV)/jupyter lab notebooks/00_start_here.ipynb

notebooks: setup  ## execute all notebooks with papermill, without a network, and time them; TIMES=proxyless_lite/tables/results/notebook_seconds.csv
	@mkdir -p runs/notebooks
	@failed=; for n in $(NOTEBOOKS); do \
	  $(OFFLINE) $(VENV)/papermill -k python3 --cwd notebooks --no-progress-bar $$n runs/$$n || failed="$$failed $$n"; done; \
	  test -z "$$failed" || { echo "error: these notebooks failed:$$failed; see runs/notebooks" >&2; exit 1; }
	@$(VENV)/python tools/notebook_times.py $(addprefix runs/,$(NOTEBOOKS)) --csv '$(TIMES)'

figures: setup  ## notebook 09: the paper's tables and figures, into figures/ and proxyless_lite/tables/results/; REMEASURE=True times all networks here
	@mkdir -p runs/notebooks
	$(VENV)/papermill --cwd notebooks notebooks/09_paper_tables_and_figures.ipynb runs/notebooks/09_paper_tables_and_figures.ipynb \
	  -p out '$(CURDIR)' -p remeasure $(REMEASURE) -p network '$(NETWORK)'

refresh: setup  ## execute all notebooks and solutions, and store their outputs; NOTEBOOKS=… SOLUTIONS= for some of them
	@for n in $(NOTEBOOKS) $(SOLUTIONS); do $(OFFLINE) PYTHONHASHSEED=0 $(VENV)/python -m jupyter nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False $$n || exit 1; done

bench: setup  ## what a search costs, in time and memory, and how well latency is predicted: one JSON object; BENCH=--full for more rounds
	@$(VENV)/python benchmarks $(BENCH)

numbers: setup  ## write the numbers of README and docs from the stored tables
	$(VENV)/python tools/generated.py

animation: setup  ## figures/alpha.gif: the probabilities of a search on the digits, epoch by epoch
	$(VENV)/python tools/animation.py figures/alpha.gif

slides: setup  ## notebooks 01, 02, 04 and 08 as slides in runs/slides, to be opened in a browser
	$(VENV)/jupyter nbconvert --to slides --output-dir runs/slides --SlidesExporter.reveal_scroll=True --SlidesExporter.exclude_input_prompt=True \
	  --SlidesExporter.exclude_output_prompt=True --template slides $(STILLS) --TemplateExporter.extra_template_basedirs=tools/templates --TagRemovePreprocessor.enabled=True \
	  --TagRemovePreprocessor.remove_cell_tags=remove-cell $(SLIDES) $(foreach n,01 02 04 08,$(wildcard notebooks/$(n)_*.ipynb))

site: setup  ## the course, the documents and an API reference as web pages in runs/site, from stored outputs, with all links checked
	$(OFFLINE) $(VENV)/python site/book.py runs/site

assignments: setup  ## exercises for nbgrader, made from notebooks and solutions, in runs/assignments: students' versions, hidden tests
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -e '.[grading]'
	$(VENV)/python tools/assignments.py --out runs/assignments

clean:  ## remove .venv and all runs
	rm -rf .venv runs
