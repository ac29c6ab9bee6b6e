"""Reads ontologies: OBO files, and the JSON files of the package `cellxgene-ontology-guide`.

That package's JSON (plain, gzip or Zstandard) maps each id to its label, its synonyms and its
ancestors with their distance; ancestors at distance 1 are the parents. For UBERON these include
part_of besides is_a, so its figures differ from those of an OBO file; the report names the file.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.labels.ontology import Ontology, Term
from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import EvaluationError

GUIDE = "cellxgene_ontology_guide"
# The largest file of the guide for human data (MONDO) has 40 MB when unpacked, as OBO 50 MB.
BYTES_MAX = 256 << 20
# obonet takes a time that is quadratic in the length of a run of blanks.
_BLANKS = re.compile(r"\s{9,}")
_EXACT_SYNONYM = re.compile(r'"(?P<name>(?:[^"\\]|\\.)*)"\s+EXACT\b')
_WAYS = "give an .obo file, or a .json, .json.gz or .json.zst file of cellxgene-ontology-guide"


class _GuideTerm(msgspec.Struct):
    label: str
    ancestors: dict[str, int] = {}
    synonyms: list[str] = []
    deprecated: bool = False
    replaced_by: str | None = None


def read_ontology(path: Path) -> Ontology:
    """Read an ontology from a file.

    Raises:
        EvaluationError: The file is missing, damaged, in another format, or has no term.
    """
    if not path.is_file():
        problem = f"there is no ontology file {path}"
        raise EvaluationError(problem, hint=_WAYS)
    terms = _obo_terms(path) if path.suffix == ".obo" else _guide_terms(path)
    ontology = Ontology(path.name, terms)
    if not len(ontology) or not ontology.edges:
        problem = f"{path} has {len(ontology):,} terms and {len(ontology.edges):,} is_a relations"
        raise EvaluationError(problem, hint=_WAYS)
    return ontology


def installed_ontology(prefix: str) -> Path | None:
    """The newest file of an ontology ("CL", "UBERON", "MONDO") in the installed guide, if any."""
    spec = importlib.util.find_spec(GUIDE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        files = sorted(Path(folder).glob(f"data/{prefix}-ontology-v*.json.*"))
        if files:
            return files[-1]
    return None


def _guide_terms(path: Path) -> Iterator[Term]:
    document = decode_json(
        _unpacked(path),
        dict[str, _GuideTerm],
        name=path,
        error=EvaluationError,
        hint=_WAYS,
        what="an ontology",
    )
    for name, term in document.items():
        yield Term(
            id=name,
            label=term.label,
            synonyms=tuple(term.synonyms),
            parents=tuple(key for key, distance in term.ancestors.items() if distance == 1),
            obsolete=term.deprecated,
            replaced_by=term.replaced_by,
        )


def _unpacked(path: Path) -> bytes:
    read = {".zst": _read_zstandard, ".gz": _read_gzip}.get(path.suffix, _read_plain)
    data = read(path)
    if len(data) >= BYTES_MAX:
        problem = f"{path} unpacks to more than {BYTES_MAX:,} bytes"
        raise EvaluationError(problem, hint=_WAYS)
    return data


def _read_zstandard(path: Path) -> bytes:
    try:
        import zstandard  # a package of its own until Python 3.14
    except ModuleNotFoundError as error:
        raise _missing_library(path, error) from error
    try:
        with path.open("rb") as stream:
            data: bytes = zstandard.ZstdDecompressor().stream_reader(stream).read(BYTES_MAX)
    except (OSError, zstandard.ZstdError) as error:
        raise _damaged(path, error) from error
    return data


def _read_gzip(path: Path) -> bytes:
    try:
        with gzip.open(path) as stream:
            return stream.read(BYTES_MAX)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error


def _read_plain(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(BYTES_MAX)
    except OSError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> EvaluationError:
    return EvaluationError(f"{path} cannot be unpacked: {error}", hint="fetch the file again")


def _missing_library(path: Path, error: ModuleNotFoundError) -> EvaluationError:
    problem = f"reading {path.name} needs {error.name}, which is not installed"
    return EvaluationError(problem, hint='run `pip install "c2t[evaluate]"`')


def _obo_terms(path: Path) -> Iterator[Term]:
    try:
        import networkx
        import obonet
    except ModuleNotFoundError as error:
        raise _missing_library(path, error) from error
    content = read_bounded(
        path, bytes_max=BYTES_MAX, error=EvaluationError, hint=_WAYS, what="an ontology"
    )
    # obonet does not check its input: a file of another format ends in any of these inside it.
    wrong = (ValueError, KeyError, TypeError, AttributeError, networkx.NetworkXException)
    try:
        lines = io.StringIO(content.decode(), newline=None)
        tidy = "".join(f"{_BLANKS.sub(' ', line.rstrip())}\n" for line in lines)
        graph = obonet.read_obo(io.StringIO(tidy), ignore_obsolete=False)
    except wrong as error:
        problem = f"{path} is not an OBO file: {type(error).__name__}: {error}"
        raise EvaluationError(problem, hint=_WAYS) from error
    for name, data in graph.nodes(data=True):
        if "name" in data:  # without one, it is only mentioned, as a parent in another ontology
            yield _obo_term(name, data)


def _obo_term(name: str, data: dict[str, Any]) -> Term:
    synonyms = (_EXACT_SYNONYM.match(text) for text in data.get("synonym", ()))
    return Term(
        id=name,
        label=data["name"],
        synonyms=tuple(match["name"].replace('\\"', '"') for match in synonyms if match),
        parents=tuple(data.get("is_a", ())),
        obsolete=str(data.get("is_obsolete", "false")).lower() == "true",
        replaced_by=next(iter(data.get("replaced_by", ())), None),
    )
