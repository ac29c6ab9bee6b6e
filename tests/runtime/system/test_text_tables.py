"""Text tables: aligned, without a space at the end of a line."""

from __future__ import annotations

from c2t.runtime.system.text_tables import Section, gigabytes, render, table, visible


def test_sections_align_names_and_lines() -> None:
    text = render([Section("a", [("x", "1"), ("long", "2\n3")]), Section("b", [("", "free")])])
    assert text == "a\n  x     1\n  long  2\n        3\n\nb\n  free\n"


def test_table_aligns_columns() -> None:
    text = table(("stage", "seconds", ""), [("read", "0.1", ""), ("prefill", "12.0", "slow")])
    assert text == "stage    seconds\nread     0.1\nprefill  12.0     slow\n"


def test_amounts_of_memory() -> None:
    amounts = [gigabytes(n) for n in (12, 4_500, 7_000_000, 25_300_000_000)]
    assert amounts == ["12 B", "4.5 KB", "7.0 MB", "25.3 GB"]


def test_control_characters_are_shown_as_escapes() -> None:
    assert visible("a\x1b[2Jb\rc\td\x9bé\u202e\u2028") == r"a\x1b[2Jb\rc\td\x9bé\u202e\u2028"
    assert visible("one\ntwo") == "one\ntwo"
    text = render([Section("bundle", [("name\x1b", "fine\r\n\x1b[31mwarning: no\x85x")])])
    assert text == "bundle\n  name\\x1b  fine\\r\n" + " " * 12 + "\\x1b[31mwarning: no\\x85x\n"
    assert table(("a\nb",), [("\x07",)]) == "a b\n\\x07\n"
