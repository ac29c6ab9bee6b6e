"""A name that stands twice in one object of JSON is refused, however it is written."""

from __future__ import annotations

import json
import random

import msgspec
import pytest

from c2t.runtime.serve.room import names_once
from c2t.runtime.serve.room.messages import DescribeRequest
from c2t.runtime.serve.room.names_once import check_request
from c2t.runtime.system.errors import CellFileError


def check(content: bytes) -> None:
    check_request(content, msgspec.json.decode(content, type=DescribeRequest))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'{"cells":[{"counts":{"A":1,"A":2}}]}', "A"),
        (b'{"cells":[{"counts":{"A":1,"\\u0041":2}}]}', "A"),
        (b'{ "cells" : [ { "counts" : { "A" : 1, "B" : 1, "A" : 1 } } ] }', "A"),
        (b'{"cells":[{"counts":{"A":1}},{"counts":{"B":1,"C":2,"B":1}}]}', "B"),
        (b'{"cells":[{"counts":{"A":1},"counts":{"B":1}}]}', "counts"),
        (b'{"cells":[{"id":"a","id":"b","counts":{"A":1}}]}', "id"),
        (b'{"cells":[{"counts":{"A":1}}],"cells":[{"counts":{"A":1}}]}', "cells"),
        (b'{"cells":[{"counts":{"A":1}}],"settings":{"drafts":false,"drafts":true}}', "drafts"),
        (b'{"cells":[{"id":"a:b","counts":{"c:d":1,"c:d":1}}]}', "c:d"),
        (b'{"cells":[{"id":"a\\u003ab","counts":{"CD3E":1,"CD3E":2}}]}', "CD3E"),
    ],
)
def test_a_name_that_stands_twice_is_refused(content: bytes, name: str) -> None:
    with pytest.raises(CellFileError) as caught:
        check(content)
    assert caught.value.problem == f"{name!r} stands twice in one object of the JSON"
    assert caught.value.hint


def test_names_that_stand_once_are_taken_whatever_they_hold() -> None:
    generator = random.Random(5)
    letters = 'A:{}",\\é[ '
    for _ in range(300):
        names = {"".join(generator.choices(letters, k=generator.randint(1, 6))) for _ in range(9)}
        cells = [{"counts": dict.fromkeys(names, 1.5)}, {"counts": {"A": 1}, "id": names.pop()}]
        request: dict = {"cells": cells}
        if generator.random() < 0.5:
            request["settings"] = {"drafts": generator.random() < 0.5}
        check(json.dumps(request, ensure_ascii=generator.random() < 0.5).encode())


def test_what_hosts_send_is_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_once.json, "loads", None)
    cells = [{"id": f"sample:{n}", "counts": {"CD3E": n, "TP53": 1}} for n in range(9)]
    check(json.dumps({"cells": cells}).encode())
    check(json.dumps({"cells": cells, "settings": {"num_beams": 2, "drafts": False}}).encode())
