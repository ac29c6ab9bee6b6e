"""`c2t sign`: its options, and the signature that it puts into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.options import BundleArgument, ForceOption
from c2t.runtime.command_line.run import open_checked, say
from c2t.runtime.system.errors import TrustError


def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path, typer.Option(metavar="PRIVATE_KEY", help="PEM file of an elliptic curve's key.")
    ],
    force: ForceOption = False,
) -> None:
    """Sign a bundle, for those who trust your key.

    Compares the hash of every file, then writes model.sig into the bundle: OpenSSF Model Signing
    v1, as model-signing writes it. The password of an encrypted key is taken from C2T_KEY_PASSWORD.
    What `c2t build` made of a bundle is signed in the same way: name its folder.
    """
    from c2t.runtime.bundle.manifest import MANIFEST_NAME
    from c2t.runtime.engines.built.plan_set import PLANS_NAME
    from c2t.runtime.system.files import atomic_file, check_target
    from c2t.runtime.system.temporaries import remove_litter
    from c2t.runtime.trust.envelope import seal
    from c2t.runtime.trust.keys import SigningKey
    from c2t.runtime.trust.statement import SIGNATURE_NAME, write_statement

    signing = SigningKey.read(key)
    target = bundle / SIGNATURE_NAME
    if bundle.is_dir():
        remove_litter(
            check_target(target, force=force)
        )  # a killed run's, which is not the bundle's
    if (bundle / MANIFEST_NAME).exists() or not (bundle / PLANS_NAME).is_file():
        opened = open_checked(bundle, wholly=True)
        blocks_compared = any(entry.blocks for entry in opened.manifest.files.values())
        known = {name: entry.sha256 for name, entry in opened.manifest.files.items()}
        known[MANIFEST_NAME] = opened.digest
        files = _digests(bundle, known)
        opened.check_unchanged()
    else:
        files, blocks_compared = _digests(bundle, {}), False
    statement = write_statement(bundle.resolve().name, files, blocks_compared=blocks_compared)
    content = seal(statement, signing)
    with atomic_file(target, force=force) as temporary:
        temporary.write_bytes(content)
    say(f"wrote {target}: {len(files)} files, signed with the key {signing.fingerprint[:16]}")


def _digests(folder: Path, known: dict[str, str]) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name; those that are known are not hashed again.

    Raises:
        TrustError: A file that a bundle should not have, or that cannot be signed.
    """
    from c2t.runtime.bundle.hashes import sha256_of
    from c2t.runtime.trust.folder import FILES_MAX, folder_files

    digests = dict(known)
    for name in folder_files(folder):
        # model-signing leaves these out, whatever a signature says.
        if name.partition("/")[0] in (".git", ".github", ".gitattributes", ".gitignore"):
            problem = f"{folder / name} belongs to git, not to the bundle"
            raise TrustError(problem, hint="remove it, or sign a copy of the bundle without it")
        if not name.isprintable() or len(digests) > FILES_MAX:
            problem = f"{folder} has files that are not a bundle's, such as {name!r}"
            raise TrustError(problem, hint="move them away, and sign the bundle then")
        if name not in digests:
            digests[name] = sha256_of(folder / name)
    return digests
