"""What a trusted key refuses."""

from __future__ import annotations

import pytest

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.system.errors import TrustError


def refused(folder, public, match, **options):
    with pytest.raises(TrustError, match=match) as caught:
        open_bundle(folder, trust=public, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint
