"""`manifest.json`: parsed strictly, written so that people can read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from c2t.runtime.bundle.manifest import FORMAT_VERSION, MANIFEST_NAME, Manifest
from c2t.runtime.bundle.manifest_check import check_manifest
from c2t.runtime.bundle.stated_settings import stated_settings
from c2t.runtime.system.checked_read import decode_json, json_bytes
from c2t.runtime.system.errors import BundleError

T = TypeVar("T")
# By the names in the format: all that may be left out. What species a bundle knows is always said.
_DEFAULTS = {
    field.encode_name: msgspec.to_builtins(field.default)
    for field in msgspec.structs.fields(Manifest)
    if not field.required and field.name != "species"
}


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
    missing = [name for name in manifest.required_files if name not in manifest.files]
    if missing:
        problem = f"{MANIFEST_NAME} does not list: {', '.join(missing)}"
        raise BundleError(problem, hint="export the bundle again")
    check_manifest(manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, readable by people (indented, in the order of the schema).

    Fields that say nothing of a bundle are left out, so that older versions of c2t read those that
    they know.
    """
    document = msgspec.to_builtins(manifest)
    for name, default in _DEFAULTS.items():
        if document[name] == default:
            del document[name]
    if manifest.has_decoder:
        document["generation"] = stated_settings(manifest.generation)
    (folder / MANIFEST_NAME).write_bytes(json_bytes(document))


def _decode(content: bytes, kind: type[T]) -> T:
    hint = "copy the bundle again, or export it again"
    return decode_json(content, kind, name=MANIFEST_NAME, error=BundleError, hint=hint)


def _unknown_fields(document: Any, schema: msgspec.inspect.Type, where: str) -> Iterator[str]:
    """Names in `document` that its class does not have; msgspec ignores them."""
    for kind in getattr(schema, "types", ()):  # a part that need not be there
        schema = kind if hasattr(kind, "fields") else schema
    fields = getattr(schema, "fields", None)
    if fields is None or not isinstance(document, dict):
        return
    types = {field.encode_name: field.type for field in fields}
    for name, value in document.items():
        if name not in types:
            yield f"{where}{name}"
        else:
            yield from _unknown_fields(value, types[name], f"{where}{name}.")
