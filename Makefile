# Everything the project does, from a bare Python 3.10 to 3.13: each target makes first what it needs.
#   PYTHON=python3.12   the interpreter that .venv is made with
#   VENV=.venv312       another virtual environment beside the first
#   TORCH_INDEX=https://download.pytorch.org/whl/cu130    torch for this GPU; by default the build for CPUs is installed
#   TORCH=              no torch: everything but the model and training
#   ROS_WHEELS=ros-kilted    ROS 2 Kilted instead of Jazzy, where no ROS is sourced

SHELL := bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV ?= .venv
# Exact versions of all that is installed; `make lock` writes them. Beside an installed ROS 2 NumPy is that one's.
LOCK := constraints$(if $(ROS_DISTRO),-ros).txt
TORCH ?= $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
ROS_WHEELS ?= ros
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Processes that test side by side.
TESTERS ?= 2
BIN := $(VENV)/bin
HERE := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
SAY := @echo "==>"
TORCH_VERSION := $(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null
HAS_TORCH := $(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'

# Whether the model that ships can run here, and says from which confidence on its answers are motion rewards.
JUDGES := $(BIN)/python -c 'import sys; from spatial_mllm_ros.mllm import calibration; from spatial_mllm_ros.mllm.weights import shipped; \
    sys.exit(calibration.known_calibration(shipped.chosen("")).motion_confidence is None)'

# ROS 2 traffic stays on this machine, in a domain of its own for each run; its logs stay in this folder.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_DOMAIN_ID := $(shell echo $$(( $$$$ % 101 + 1 )))
export ROS_LOG_DIR := $(CURDIR)/log/ros

# A sourced ROS 2 installation is used as it is; without one, rclpy and the messages come from PyPI wheels.
ifdef ROS_DISTRO
  EXTRAS := simulate,report,media,lerobot,encoders,cluster,dev
  VENV_OPTIONS := --system-site-packages
  ROS_FROM := ROS 2 $(ROS_DISTRO) is sourced and used
  # pip sees what the system has; uv would install it again.
  INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
  export AMENT_PREFIX_PATH := $(HERE):$(AMENT_PREFIX_PATH)
  export LD_LIBRARY_PATH := $(HERE)/lib:$(LD_LIBRARY_PATH)
else
  EXTRAS := simulate,report,media,lerobot,export,cluster,$(ROS_WHEELS),dev
  ROS_FROM := ROS 2 from wheels where Python has them
  INSTALL := $(BIN)/uv pip install --system-certs --python $(BIN)/python
  FROM_WHEELS = -DPython3_EXECUTABLE="$(HERE)/bin/python" -DCMAKE_PROJECT_INCLUDE="$(CURDIR)/msg/cmake/from_wheels.cmake"
endif

.PHONY: help setup lock demo test test-versions bench soak fuzz lint audit colcon nano clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(VENV)/.interfaces  ## make the virtual environment, install everything, build the interfaces

# The newest that setup.py allows, for every Python that is supported; TORCH=torch==X takes another torch.
COMPILE := $(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.10 setup.py \
    $(addprefix --extra ,simulate report media lerobot mllm encoders questions training cluster ros dev) --no-annotate --custom-compile-command "make lock" --upgrade
# What exports needs NumPy 2 on Python 3.13; beside an installed ROS 2, whose NumPy is 1, files are run and not made.
lock: setup  ## write constraints*.txt anew, with the newest versions that setup.py allows; say what changed
	@mkdir -p build
	@echo "$(TORCH)" > build/lock.txt && $(COMPILE) --extra export --constraint build/lock.txt --output-file constraints.txt
	@echo "numpy<2" >> build/lock.txt && $(COMPILE) --constraint build/lock.txt --output-file constraints-ros.txt
	@sed -i -E '/^(torch|triton|nvidia-|cuda-)/d' constraints-ros.txt  # a robot brings its own
	@git --no-pager diff --unified=0 -- constraints.txt constraints-ros.txt | grep '^[-+]' || echo "==> lock: nothing changed"
	$(SAY) "lock: make test and make test-versions come before the commit"

# Says where to look when a step fails; what other steps have made stays.
FAILED = { code=$$?; echo "==> demo $(1) failed: its last words are above, all of them in $(2); the other steps' files stay in out/"; exit $$code; }
demo: setup  ## simulate a room, run the node on it, annotate it with rewards, write out/report.html
	$(SAY) "demo 1/4: simulating a furnished room with a moving camera -> out/room.mcap (kept where it is there)"
	@mkdir -p out log; test -s out/room.mcap || \
	    $(BIN)/spatial-mllm simulate out/room.mcap --seed 7 2>&1 | tee log/demo-1.txt || $(call FAILED,1/4,log/demo-1.txt)
	$(SAY) "demo 2/4: playing it into the node over DDS, and asking it questions of every kind -> out/answers.json"
	@$(BIN)/python tools/demo_live.py out/room.mcap 7 out/answers.json 2>&1 | tee log/demo-2.txt || \
	    $(call FAILED,2/4,log/demo-2.txt and log/ros)
	$(SAY) "demo 3/4: annotating it with motion-distance rewards -> out/room_rewards.mcap"
	@$(BIN)/spatial-mllm annotate out/room.mcap --out out/room_rewards.mcap --overwrite 2>&1 | tee log/demo-3.txt || \
	    $(call FAILED,3/4,log/demo-3.txt)
	$(SAY) "demo 4/4: writing the report, with answers, their truth and rewards of the model -> out/report.html"
	@$(BIN)/spatial-mllm report out/room.mcap --out out/report.html \
	    $$(test ! -s out/answers.json || echo --answers out/answers.json) $$($(JUDGES) && echo --motion both) 2>&1 | \
	    tee log/demo-4.txt || $(call FAILED,4/4,log/demo-4.txt)
	$(SAY) "demo: open out/report.html in a browser; out/room_rewards.mcap opens in Foxglove or rviz2"

LONG ?= $(if $(ARGS),all,sample)
test: setup  ## run the tests; ARGS='-k coverage' goes to pytest, LONG=all leaves none of the long ones out
	$(SAY) "test: running pytest (ROS_DOMAIN_ID $(ROS_DOMAIN_ID), loopback only)"
	@export OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} LOCKED=$(VENV)/constraints.txt; \
	$(BIN)/python -m pytest --live not --long $(LONG) -n $(TESTERS) --dist loadfile $(ARGS); others=$$?; \
	$(BIN)/python -m pytest --live only $(ARGS); live=$$?; \
	case "$$others $$live" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac  # 5: none of these was asked for

test-versions: setup  ## test throw-away environments with the oldest, the newest and other Pythons' packages; ARGS go to nox
	$(SAY) "test-versions: $$($(BIN)/nox --list 2>/dev/null | grep -c '^\*') environments; the table comes at the end"
	@PATH="$(HERE)/bin:$$PATH" $(BIN)/nox $(ARGS); code=$$?; $(BIN)/python tools/versions_table.py build/versions; exit $$code

bench: setup  ## run the benchmarks; ARGS go to them
	$(SAY) "bench: running the benchmarks"
	@$(BIN)/python -m benchmarks $(ARGS)

soak: setup  ## the node for hours with everything that happens to it; ARGS="--hours 0.5 --out curves.csv"
	$(SAY) "soak: running the node"
	@$(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: setup  ## changed inputs for every reader; ARGS="mcap picture --minutes 10", ARGS="mcap --guided --minutes 60"
	$(SAY) "fuzz: a minute for each target, or as ARGS say; what breaks a promise stays in out/fuzz"
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(ARGS)

lint: setup  ## check style and types
	$(SAY) "lint: ruff, then pyright"
	@$(BIN)/ruff check && $(BIN)/ruff format --check
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

audit: setup  ## look the locked packages up in the advisories of PyPI; ARGS go to pip-audit
	$(SAY) "audit: what cannot be looked up counts as found"
	@$(BIN)/uv tool run --system-certs pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt $(ARGS)

# The workspace of a ROS 2 user, in build/workspace: both packages by colcon, then the installed node.
WORKSPACE := build/workspace
colcon: setup  ## build both packages with colcon and run the node from its install folder; ARGS=--symlink-install
	@$(BIN)/python -c 'import rclpy' 2>/dev/null || { echo "no ROS 2 for this Python: make colcon PYTHON=python3.12 VENV=.venv312"; exit 1; }
	$(SAY) "colcon 1/2: building spatial_mllm_msgs and spatial_mllm_ros in $(WORKSPACE)"
	@mkdir -p $(WORKSPACE)/src && ln -sfn "$(CURDIR)" $(WORKSPACE)/src/spatial_mllm_ros && \
	    ln -sfn spatial_mllm_ros/msg $(WORKSPACE)/src/spatial_mllm_msgs
	@cd $(WORKSPACE) && "$(HERE)/bin/python" -m colcon build $(ARGS) $(if $(FROM_WHEELS),--cmake-args $(FROM_WHEELS))
	$(SAY) "colcon 2/2: starting the node from $(WORKSPACE)/install, asking its state, ending it"
	@cd $(WORKSPACE) && . install/local_setup.sh && "$(HERE)/bin/python" "$(CURDIR)"/tools/check_installed_node.py install

nano: setup  ## make models/nano from nothing, in out/nano: rooms, geometry, words, things, fine-tuning, rewards; takes hours, resumes
	$(SAY) "nano: every stage in out/nano, what is finished is not done again"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/spatial-mllm-training nano --out out/nano
	@mkdir -p models/nano && cp out/nano/nano/* models/nano/

clean:  ## delete everything that make made
	$(SAY) "clean: deleting $(VENV), build, log, out and caches"
	@rm -rf $(VENV) build log out dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a step runs again only when what it is made from has changed; what was interrupted goes on.
AGAIN = { code=$$?; tail -n 20 log/setup.txt; \
    echo "==> setup failed: the reason is above (no network?); make setup goes on from here"; exit $$code; }

# Of what uv says: how many packages, each download of 10 MiB or more, and what those of more than 1 MiB come to.
TOLD = /^(Resolved|Prepared|Installed) / { print "    " $$0; fflush() } \
    /^Downloading / { size = substr($$3, 2) + 0; all += size; if (size >= 10) { print "    " $$0; fflush() } } \
    END { if (all) printf "    %d MiB were downloaded\n", all }

$(VENV)/.created:
	$(SAY) "setup 1/4: looking at Python, compiler and disk; making $(VENV) with $$($(PYTHON) --version 2>&1) ($(PYTHON))"
	@$(PYTHON) tools/check_setup.py $(VENV) $(if $(TORCH),4,3)
	@mkdir -p log && $(PYTHON) -m venv $(VENV_OPTIONS) $(VENV) > log/setup.txt 2>&1 || $(AGAIN)
	@touch $@

# torch alone comes from an index of its own: PyPI's needs gigabytes of CUDA.
$(VENV)/.torch: $(VENV)/.created $(LOCK)
	@mkdir -p log; $(PYTHON) tools/check_setup.py $(VENV) 0
	$(SAY) "setup 2/4: installing pip, uv and $(or $(TORCH),no torch)$(if $(TORCH),$(if $(findstring /cpu,$(TORCH_INDEX)), (0.2 GB)))"
	@$(PIP) install --no-compile --constraint $(LOCK) pip uv > log/setup.txt 2>&1 || $(AGAIN)
	@found=$$($(TORCH_VERSION) | cut -d+ -f1); \
	if [ -z "$(TORCH)" ] || [ "torch==$$found" = "$(TORCH)" ]; then true; \
	elif [ -n "$$found" ] && [ -n "$(VENV_OPTIONS)" ] && ! ls -d $(VENV)/lib/python*/site-packages/torch >/dev/null 2>&1; then \
	    echo "==> setup 2/4: torch $$found of the system is kept ($(TORCH) was tested)"; \
	else \
	    [ -z "$$found" ] || echo "==> setup 2/4: torch $$found is there, $(TORCH) takes its place"; \
	    $(PIP) install --no-compile --no-deps --index-url $(TORCH_INDEX) --retries 2 --timeout 20 $(TORCH) > log/setup.txt 2>&1 || \
	    echo "==> setup 2/4: no $(TORCH) at $(TORCH_INDEX): the model is left out, everything else works (make setup TORCH_INDEX=...)"; \
	fi
	@touch $@

$(VENV)/.installed: $(VENV)/.torch setup.py requirements.txt $(LOCK)
	$(SAY) "setup 3/4: installing the package and what it needs, as $(LOCK) says ($(ROS_FROM))"
	@grep -vE '^(torch|triton|nvidia-|cuda-$(if $(filter ros,$(ROS_WHEELS)),,|ros-))' $(LOCK) > $(VENV)/constraints.txt
	@found=$$($(TORCH_VERSION)); [ -z "$$found" ] || echo "torch==$$found" >> $(VENV)/constraints.txt
	@[ -z "$(ROS_DISTRO)" ] || $(PYTHON) -c 'import numpy; print("numpy==" + numpy.__version__)' > $(VENV)/numpy.txt
	@[ -z "$(ROS_DISTRO)" ] || { sed -i '/^numpy==/d' $(VENV)/constraints.txt; cat $(VENV)/numpy.txt >> $(VENV)/constraints.txt; }
	@$(INSTALL) --constraint $(VENV)/constraints.txt --editable ".[$(EXTRAS),$$($(HAS_TORCH) && echo training || echo questions)]" \
	    2>&1 | tee log/setup.txt | awk '$(TOLD)' || $(AGAIN)
	@touch $@

# Packages of other projects that the wheels lack, and of these the part that is used.
MISSING := tf2_msgs.msg vision_msgs.msg bond.msg rosbag2_interfaces.srv

$(VENV)/.interfaces: $(VENV)/.installed $(shell find msg -type f)
	@if ! $(BIN)/python -c 'import rclpy' 2>/dev/null; then \
	    echo "==> setup 4/4: no ROS 2 for $$($(BIN)/python --version) (wheels: 3.11, 3.12): the node and play are left out"; \
	else \
	    echo "==> setup 4/4: building the interfaces in msg/"; \
	    $(PIP) install --no-build-isolation --no-deps --force-reinstall ./msg > log/setup.txt 2>&1 || $(AGAIN) && \
	    for other in $(MISSING); do \
	        $(BIN)/python -c "import $$other" 2>/dev/null || \
	            $(PIP) install --no-build-isolation --no-deps ./msg/$${other%.*} > log/setup.txt 2>&1 || $(AGAIN); \
	    done; \
	fi
	@touch $@
	@$(HAS_TORCH) || echo "==> setup: without torch the model and training are left out"
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || echo "==> setup: sft and grpo are left out, TRL needs Python 3.11"
	$(SAY) "setup: done, $$(du -sh $(VENV) | cut -f1) in $(VENV); $(BIN)/spatial-mllm doctor says what this machine can run"
