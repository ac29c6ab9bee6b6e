"""`manifest.json`: parsed strictly, written so that people can read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from c2t.runtime.bundle.manifest import FORMAT_VERSION, MANIFEST_NAME, REQUIRED_FILES, Manifest
from c2t.runtime.bundle.manifest_check import check_manifest
from c2t.runtime.system.checked_read import decode_json, json_bytes
from c2t.runtime.system.errors import BundleError

T = TypeVar("T")


@dataclass(frozen=True)
class _Versioned:
    format_version: int


def parse_manifest(content: bytes) -> Manifest:
    """Parse `manifest.json` strictly.

    Raises:
        BundleError: Malformed, incomplete, with unknown fields, or of a newer format.
    """
    # The version first: a newer format may differ in everything else.
    version = _decode(content, _Versioned).format_version
    if version > FORMAT_VERSION:
        problem = f"the bundle has format {version}; this c2t reads up to format {FORMAT_VERSION}"
        raise BundleError(problem, hint="update c2t, or export the bundle with this version")
    document = _decode(content, dict[str, Any])
    unknown = list(_unknown_fields(document, msgspec.inspect.type_info(Manifest), ""))
    if unknown:
        problem = f"{MANIFEST_NAME} has unknown fields: {', '.join(unknown)}"
        raise BundleError(problem, hint="export the bundle again with this version of c2t")
    manifest = _decode(content, Manifest)
    missing = [name for name in REQUIRED_FILES if name not in manifest.files]
    if missing:
        problem = f"{MANIFEST_NAME} does not list: {', '.join(missing)}"
        raise BundleError(problem, hint="export the bundle again")
    check_manifest(manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, readable by people (indented, in the order of the schema)."""
    (folder / MANIFEST_NAME).write_bytes(json_bytes(manifest))


def _decode(content: bytes, kind: type[T]) -> T:
    hint = "copy the bundle again, or export it again"
    return decode_json(content, kind, name=MANIFEST_NAME, error=BundleError, hint=hint)


def _unknown_fields(document: Any, schema: msgspec.inspect.Type, where: str) -> Iterator[str]:
    """Names in `document` that its class does not have; msgspec ignores them."""
    fields = getattr(schema, "fields", None)
    if fields is None or not isinstance(document, dict):
        return
    types = {field.encode_name: field.type for field in fields}
    for name, value in document.items():
        if name not in types:
            yield f"{where}{name}"
        else:
            yield from _unknown_fields(value, types[name], f"{where}{name}.")
