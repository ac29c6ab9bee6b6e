"""The version is written in one place, and what repeats it says the same; so do requirements."""

from __future__ import annotations

import importlib.metadata
import shutil
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from packaged import GALAXY, MODULE, ROOT, load_script, page_command, read

import c2t

VERSIONS = load_script("release/versions.py")


def test_the_package_has_the_version_of_the_one_place() -> None:
    assert VERSIONS.one_version() == c2t.__version__ == importlib.metadata.version("c2t")
    assert "version" in tomllib.loads(read("pyproject.toml"))["project"]["dynamic"]


def test_every_place_repeats_it() -> None:
    found = [*VERSIONS.places()]
    assert {place.version for place in found} == {c2t.__version__}, found
    assert len(found) >= 11


def test_a_new_version_is_written_everywhere(tmp_path: Path) -> None:
    files = {"__init__.py", *(path for path, _ in VERSIONS.repeated())}
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    before = {path: (tmp_path / path).read_bytes() for path in files}
    VERSIONS.write_version("12.0.34", tmp_path)
    assert VERSIONS.one_version(tmp_path) == "12.0.34"
    assert {place.version for place in VERSIONS.places(tmp_path)} == {"12.0.34"}
    VERSIONS.write_version(c2t.__version__, tmp_path)
    assert {path: (tmp_path / path).read_bytes() for path in files} == before


def test_a_place_that_is_gone_is_told(tmp_path: Path) -> None:
    for path in {"__init__.py", *(path for path, _ in VERSIONS.repeated())}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    (tmp_path / "CITATION.cff").write_text("version: none\n")
    with pytest.raises(SystemExit, match=r"CITATION.cff has no version"):
        list(VERSIONS.places(tmp_path))


def test_versions_are_the_packages() -> None:
    version = c2t.__version__
    macros = ElementTree.parse(GALAXY / "macros.xml").getroot()
    tokens = {token.get("name"): token.text for token in macros.iter("token")}
    assert tokens["@TOOL_VERSION@"] == version
    assert f"\n  version: {version}\n" in read("packaging/conda/recipe.yaml")
    assert f"- c2t={version}\n" in (MODULE / "environment.yml").read_text(encoding="utf-8")
    assert f'container "c2t:{version}"' in (MODULE / "main.nf").read_text(encoding="utf-8")
    assert f'"c2t: {version}"' in (MODULE / "tests/main.nf.test").read_text(encoding="utf-8")
    docker = read("packaging/docker/Dockerfile")
    assert f'version="{version}"' in docker
    assert f"-t c2t:{version} " in page_command("container")


def test_conda_needs_what_the_package_needs() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    recipe = read("packaging/conda/recipe.yaml")
    runs = recipe.partition("\n  run:\n")[2].partition("\n  run_constraints:\n")
    needs = {line.strip()[2:].replace(" ", "") for line in runs[0].splitlines()}
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *extras["cpu"], f"python{project['requires-python']}"}
    assert needs == wanted
    limits = {
        line.strip()[2:].replace(" ", "") for line in runs[2].partition("\n\n")[0].splitlines()
    }
    optional = {*extras["serve"], *extras["trust"], *extras["parquet"]}
    assert limits == {need.replace("prometheus-client", "prometheus_client") for need in optional}
    script = project["scripts"]["c2t"]
    assert f"- c2t = {script}\n" in recipe
