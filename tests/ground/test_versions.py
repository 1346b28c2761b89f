"""Versions of other packages: what was tested, and what is said about others."""

from importlib import metadata

import pytest

from spatial_mllm_ros import versions

NEEDED = [
    "numpy>=1.26",
    "torch>=2.6; extra == 'mllm'",
    "transformers<5.25,>=5.20.2; extra == 'mllm'",
    "huggingface_hub>=1.31; extra == 'mllm'",
    "trl==1.16.*; python_version < '3' and extra == 'training'",
]


@pytest.fixture
def installed(monkeypatch):
    """Distributions that are said to be installed; change it."""
    found = {"numpy": "2.0", "torch": "2.13.0+cpu", "transformers": "5.23.0", "huggingface_hub": "2.4.0"}
    extras = type("Metadata", (), {"get_all": lambda self, name: ["mllm", "training"]})
    monkeypatch.setattr(versions.metadata, "requires", lambda name: NEEDED)
    monkeypatch.setattr(versions.metadata, "metadata", lambda name: extras())
    monkeypatch.setattr(versions, "version_of", lambda name: found.get(name, ""))
    versions.requirements.cache_clear()
    yield found
    versions.requirements.cache_clear()


def test_what_was_tested_is_silent(installed):
    assert versions.outside() == []


@pytest.mark.parametrize("version", ["4.57.1", "5.20.1", "5.25.0", "6.0.0.dev0"])
def test_another_version_is_named_with_what_mends_it(installed, version):
    installed["transformers"] = version
    (said,) = versions.outside()
    assert said.startswith(f"transformers {version} is outside of what was tested (<5.25,>=5.20.2): ")
    assert said.endswith("pip install 'transformers<5.25,>=5.20.2'")


def test_a_local_label_and_a_prerelease_within_the_range_are_in_it(installed):
    installed["transformers"] = "5.24.0.dev0"
    assert versions.outside() == []


def test_names_are_compared_as_pip_does(installed):
    assert versions.install("huggingface-hub") == "pip install 'huggingface-hub>=1.31'"
    assert versions.install("Huggingface_Hub") == "pip install 'Huggingface_Hub>=1.31'"


def test_what_is_not_for_this_python_says_nothing(installed):
    installed["trl"] = "0.1"
    assert versions.outside(["trl"]) == [] and versions.install("trl") == "pip install trl"


def test_a_package_that_is_not_installed_knows_nothing(installed, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions.metadata, "requires", missing)
    versions.requirements.cache_clear()
    installed["transformers"] = "1.0"
    assert versions.outside() == [] and versions.install("numpy") == "pip install numpy"


def test_this_environment_was_tested():
    """Of what is installed here, nothing is outside of setup.py's ranges."""
    if not versions.requirements():
        pytest.skip("spatial_mllm_ros is not installed here")
    assert not versions.outside(versions.requirements())
