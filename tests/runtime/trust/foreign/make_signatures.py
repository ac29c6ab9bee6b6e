"""Signs a bundle with `model-signing`, so that tests read signatures that c2t did not write.

`model-signing` 1.1.1 needs an environment of its own: `pip install model-signing==1.1.1 pyopenssl`.
The bundle is one of `format_1`, which is never written again: so this script needs no second run.
Keys are made here and thrown away; what is kept of each is a signature and the public key.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from model_signing.signing import Config

HERE = Path(__file__).parent
BUNDLE = HERE.parents[2] / "data" / "format_1" / "fp32"
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}


def main() -> None:
    """Write `CURVE.sig` and `CURVE.pem` beside this script."""
    for name, curve in CURVES.items():
        key = ec.generate_private_key(curve)
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (HERE / f"{name}.pem").write_bytes(pem)
        with tempfile.TemporaryDirectory() as folder:
            private = Path(folder) / "key.pem"
            private.write_bytes(
                key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
            signer = Config().use_elliptic_key_signer(private_key=private)
            signer.sign(BUNDLE, HERE / f"{name}.sig")


if __name__ == "__main__":
    main()
