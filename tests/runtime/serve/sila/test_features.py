"""The definitions of the features, and what the server says of itself."""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files
from pathlib import Path

import pytest
import xmlschema
from sila.framework import Serializer
from sila_door import FEATURE, client_of, opened

import c2t
from c2t.runtime.serve.sila.errors import KINDS, PROBLEM_BYTES_MAX, DefinedErrors, two_lines
from c2t.runtime.serve.sila.features import (
    CANCEL_NAME,
    DESCRIPTION_NAME,
    QUESTIONS_NAME,
    VECTORS_NAME,
    read_feature,
)
from c2t.runtime.serve.sila.server import sila_version
from c2t.runtime.system.errors import C2TError

NAMES = (DESCRIPTION_NAME, VECTORS_NAME, QUESTIONS_NAME, CANCEL_NAME)
# The published schema, in the two forms that are in use; the tester's is the stricter one.
SCHEMAS = {
    "library": files("sila") / "resources",
    "tester": files("sila2_interop_communication_tester") / "resources" / "xsd",
}


def schema(name: str) -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(SCHEMAS[name] / "FeatureDefinition.xsd"))


def definition(name: str) -> str:
    return (Path(c2t.__file__).parent / "runtime/serve/sila" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", SCHEMAS)
def test_definitions_follow_the_schema(name: str, which: str) -> None:
    schema(which).validate(definition(name))


def test_the_schema_refuses_an_originator_with_a_digit() -> None:
    broken = definition(DESCRIPTION_NAME).replace("org.celltotext", "org.c2t")
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema("tester").validate(broken)


@pytest.mark.parametrize("name", NAMES)
def test_the_library_writes_the_definition_that_it_read(name: str) -> None:
    serializer = Serializer()
    read_feature(name).serialize(serializer)
    written = serializer.buffer.getvalue()
    schema("tester").validate(written)
    wanted = re.findall(r"<Identifier>(\w+)</Identifier>", definition(name))
    assert sorted(re.findall(r"<Identifier>(\w+)</Identifier>", written)) == sorted(wanted)


def test_every_kind_of_error_is_defined_and_every_definition_is_used() -> None:
    feature = read_feature(DESCRIPTION_NAME)
    assert {kind for _, kind in KINDS} == set(feature.errors)
    assert _stated(DESCRIPTION_NAME) == set(feature.errors)


@pytest.mark.parametrize("name", [VECTORS_NAME, QUESTIONS_NAME])
def test_analyses_have_the_errors_of_annotate_now(name: str) -> None:
    known = read_feature(DESCRIPTION_NAME)
    stated = known.commands["AnnotateNow"].errors
    feature = read_feature(name)
    assert set(stated) == set(feature.errors)
    assert all(set(command.errors) == set(stated) for command in feature.commands.values())


def _stated(name: str) -> set[str]:
    """The errors that commands of a feature have."""
    errors = [set(command.errors) for command in read_feature(name).commands.values()]
    return set().union(*errors)


def test_a_long_error_fits_into_the_header_of_grpc() -> None:
    long = DefinedErrors(read_feature(DESCRIPTION_NAME)).of(
        C2TError("µ" * 50_000, hint="two\nlines " * 5_000)
    )
    problem, hint = long.message.splitlines()
    assert problem.startswith("µµ")
    assert problem.endswith("µ …")
    assert hint.startswith("hint: two lines two lines")
    assert len(problem.encode()) <= PROBLEM_BYTES_MAX + 5
    assert len(long.message.encode()) * 4 / 3 < 6000


def test_an_error_has_its_two_lines_whatever_its_text_holds() -> None:
    assert two_lines("a\nb", "c\n\nd") == "a b\nhint: c d"
    assert two_lines("alone", None) == "alone"
    assert two_lines("half a \ud800 sign", "") == "half a ? sign"


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("0.1.0", "0.1.0"),
        ("1.2", "1.2"),
        ("0.2.0.dev3+gabc.d", "0.2.0_dev3_gabc_d"),
        ("1.0.0rc1", "1.0.0_rc1"),
        ("7", "0.0"),
    ],
)
def test_versions_are_written_as_sila_wants_them(version: str, wanted: str) -> None:
    assert sila_version(version) == wanted


def test_the_server_says_what_it_is(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            feature, bundle = client.CellDescription, room.model.bundle
            assert await feature.BundleName.read() == bundle.manifest.name
            assert await feature.BundleDigest.read() == bundle.digest
            assert await feature.Engine.read() == room.model.describer().engines.label
            assert await feature.Version.read() == c2t.__version__
            assert await feature.Species.read() == "Homo sapiens"
            assert await feature.Tasks.read() == ["describe", "annotate", "explain", "embed"]
            assert "person reviews every text" in await feature.IntendedUse.read()
            found = await client.get_implemented_features()
            assert set(found) == {
                "org.silastandard/core/SiLAService/v1",
                "org.silastandard/core.commands/CancelController/v1",
                FEATURE,
                "org.celltotext/cells/CellVectors/v1",
                "org.celltotext/cells/CellQuestions/v1",
            }
            assert "person reviews every text" in await client.SiLAService.ServerDescription.read()

    asyncio.run(run())
