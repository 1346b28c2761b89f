# Everything the project does, from a bare Python 3.10 or newer: each target makes first what it needs.
#   PYTHON=python3.12   the interpreter that .venv is made with
#   VENV=.venv312       another virtual environment beside the first
#   TORCH_INDEX=https://download.pytorch.org/whl/cu130    torch for this GPU; by default the build for CPUs is installed
#   TORCH=              no torch: everything but the model

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Processes that test side by side.
TESTERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SAY := @echo "==>"
# The model needs torch and, for transformers, Python 3.11 or newer.
HAS_TORCH := $(BIN)/python -c 'import importlib.util, sys; sys.exit(sys.version_info < (3, 11) or importlib.util.find_spec("torch") is None)'

# Whether the model that ships can run here, and says from which confidence on its answers are motion rewards.
JUDGES := $(BIN)/python -c 'import sys; from spatial_mllm_ros.mllm.checkpoints import calibration, shipped; \
    sys.exit(calibration.known_calibration(shipped.chosen("")).motion_confidence is None)'

# ROS 2 traffic stays on this machine, in a domain of its own for each run; its logs stay in this folder.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_DOMAIN_ID := $(shell echo $$(( $$$$ % 101 + 1 )))
export ROS_LOG_DIR := $(CURDIR)/log/ros

# A sourced ROS 2 installation is used as it is; without one, rclpy and the messages come from PyPI wheels.
ifdef ROS_DISTRO
  EXTRAS := simulate,report,training,cluster,dev
  VENV_OPTIONS := --system-site-packages
  CONSTRAINT := --constraint $(VENV)/constraints.txt
  ROS_FROM := ROS 2 $(ROS_DISTRO) is sourced and used
  export AMENT_PREFIX_PATH := $(abspath $(VENV)):$(AMENT_PREFIX_PATH)
  export LD_LIBRARY_PATH := $(abspath $(VENV))/lib:$(LD_LIBRARY_PATH)
else
  EXTRAS := simulate,report,training,cluster,ros,dev
  ROS_FROM := ROS 2 from wheels where Python has them
  FROM_WHEELS = -DPython3_EXECUTABLE=$(abspath $(BIN))/python -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/msg/cmake/from_wheels.cmake
endif

.PHONY: help setup demo test bench lint colcon nano clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.interfaces  ## make the virtual environment, install everything, build the interfaces

demo: setup  ## simulate a room, run the node on it, annotate it with rewards, write out/report.html
	$(SAY) "demo 1/4: simulating a furnished room with a moving camera -> out/room.mcap (kept where it is there)"
	@mkdir -p out; test -s out/room.mcap || $(BIN)/spatial-mllm simulate out/room.mcap --seed 7
	$(SAY) "demo 2/4: playing it into the node over DDS, and asking it questions of every kind -> out/answers.json"
	@$(BIN)/python tools/demo_live.py out/room.mcap 7 out/answers.json
	$(SAY) "demo 3/4: annotating it with motion-distance rewards -> out/room_rewards.mcap"
	@$(BIN)/spatial-mllm annotate out/room.mcap --out out/room_rewards.mcap --overwrite
	$(SAY) "demo 4/4: writing the report, with answers, their truth and rewards of the model -> out/report.html"
	@$(BIN)/spatial-mllm report out/room.mcap --out out/report.html \
	    $$(test ! -s out/answers.json || echo --answers out/answers.json) $$($(JUDGES) && echo --motion both)

test: setup  ## run the tests; ARGS='-k coverage' goes to pytest
	$(SAY) "test: running pytest (ROS_DOMAIN_ID $(ROS_DOMAIN_ID), loopback only)"
	@export OMP_NUM_THREADS=1; \
	$(BIN)/python -m pytest --live not -n $(TESTERS) --dist loadfile $(ARGS); others=$$?; \
	$(BIN)/python -m pytest --live only $(ARGS); live=$$?; \
	case "$$others $$live" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac  # 5: none of these was asked for

bench: setup  ## run the benchmarks; ARGS go to them
	$(SAY) "bench: running the benchmarks"
	@$(BIN)/python -m benchmarks $(ARGS)

lint: setup  ## check style and types
	$(SAY) "lint: ruff, then pyright"
	@$(BIN)/ruff check && $(BIN)/ruff format --check
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

# The workspace of a ROS 2 user, in build/workspace: both packages by colcon, then the installed node.
WORKSPACE := build/workspace
colcon: setup  ## build both packages with colcon and run the node from its install folder
	@$(BIN)/python -c 'import rclpy' 2>/dev/null || { echo "no ROS 2 for this Python: make colcon PYTHON=python3.12 VENV=.venv312"; exit 1; }
	$(SAY) "colcon 1/2: building spatial_mllm_msgs and spatial_mllm_ros in $(WORKSPACE)"
	@mkdir -p $(WORKSPACE)/src && ln -sfn $(CURDIR) $(WORKSPACE)/src/spatial_mllm_ros
	@cd $(WORKSPACE) && $(abspath $(BIN))/python -m colcon build \
	    --paths src/spatial_mllm_ros src/spatial_mllm_ros/msg $(if $(FROM_WHEELS),--cmake-args $(FROM_WHEELS))
	$(SAY) "colcon 2/2: starting the node from $(WORKSPACE)/install, asking its state, ending it"
	@cd $(WORKSPACE) && . install/local_setup.sh && $(abspath $(BIN))/python $(CURDIR)/tools/check_installed_node.py install

nano: setup  ## make models/nano from nothing, in out/nano: rooms, geometry, words, things, fine-tuning, rewards; takes hours, resumes
	$(SAY) "nano: every stage in out/nano, what is finished is not done again"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/spatial-mllm-training nano --out out/nano
	@mkdir -p models/nano && cp out/nano/nano/* models/nano/

clean:  ## delete everything that make made
	$(SAY) "clean: deleting $(VENV), build, log, out and caches"
	@rm -rf $(VENV) build log out dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a step runs again only when what it is made from has changed.
$(VENV)/.created:
	$(SAY) "setup 1/3: making $(VENV) with $$($(PYTHON) --version) ($(PYTHON))"
	@$(PYTHON) -c 'import sys; sys.exit("3.10 or newer is needed: make PYTHON=python3.12" * (sys.version_info < (3, 10)) or 0)'
	@[ -z "$(ROS_DISTRO)" ] || $(PYTHON) -c 'import rclpy' || \
	    { echo "ROS 2 $(ROS_DISTRO) is sourced but $(PYTHON) cannot import its rclpy: make PYTHON=/usr/bin/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created setup.py requirements.txt
	$(SAY) "setup 2/3: installing the package and what it needs ($(ROS_FROM))"
	@[ -z "$(ROS_DISTRO)" ] || $(PYTHON) -c 'import numpy; print(f"numpy=={numpy.__version__}")' > $(VENV)/constraints.txt
	@$(HAS_TORCH) || [ -z "$(TORCH)" ] || $(PIP) install --no-deps --index-url $(TORCH_INDEX) --retries 2 --timeout 20 $(TORCH) || \
	    echo "==> setup 2/3: no $(TORCH) at $(TORCH_INDEX): the model is left out, everything else works (make setup TORCH_INDEX=...)"
	@$(PIP) install $(CONSTRAINT) --editable ".[$(EXTRAS)$$($(HAS_TORCH) && echo ,mllm)]"
	@touch $@

$(VENV)/.interfaces: $(VENV)/.installed $(shell find msg -type f)
	@if ! $(BIN)/python -c 'import rclpy' 2>/dev/null; then \
	    echo "==> setup 3/3: no ROS 2 for $$($(BIN)/python --version) (wheels: 3.11, 3.12): what needs it is skipped"; \
	else \
	    echo "==> setup 3/3: building the interfaces in msg/"; \
	    $(PIP) install --no-build-isolation --no-deps --force-reinstall ./msg || exit 1; \
	    $(BIN)/python -c 'import tf2_msgs.msg' 2>/dev/null || $(PIP) install --no-build-isolation --no-deps ./msg/tf2_msgs; \
	fi
	@touch $@
