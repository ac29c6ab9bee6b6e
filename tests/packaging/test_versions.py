"""What installs c2t elsewhere says what the package says."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ElementTree

from packaged import GALAXY, MODULE, read, readme_command

import c2t


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
    assert f"-t c2t:{version} " in readme_command("container")


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
