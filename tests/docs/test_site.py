"""What the site says is true of the code: schemas, names, commands, metrics, figures, messages."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from site_schemas import validate

import c2t

ROOT = Path(c2t.__file__).parent
SITE = ROOT / "docs" / "site"
DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="module", autouse=True)
def _scripts() -> Iterator[None]:
    """The scripts of the site import each other by their names."""
    sys.path.insert(0, str(SITE))
    yield
    sys.path.remove(str(SITE))


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def read(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


BUNDLES = sorted(path.parent for path in DATA.rglob("manifest.json"))


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_schemas_fit_real_bundles(bundle: Path) -> None:
    validate(bundle / "manifest.json", "manifest")
    for name in ("golden", "golden-vectors", "fields", "unsure", "calibration"):
        path = bundle / f"{name.replace('-', '_')}.json"
        if path.exists():
            validate(path, name)


def test_rules_of_the_demonstration_fit() -> None:
    from c2t.runtime.fields.paper import PAPER_RULES

    validate(ROOT / "examples" / "demo" / "checkpoint" / "unsure.json", "unsure")
    validate(msgspec.json.decode(msgspec.json.encode(PAPER_RULES)), "fields")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("format_version",), "1"),
        (("generation", "num_beams"), 1.5),
        (("prompt", "prefix_ids", 0), "x"),
        (("files", "genes.npz", "sha256"), None),
        (("surprise",), 1),
        (("decoder", "surprise"), 1),
    ],
)
def test_the_schema_refuses_other_manifests(where: tuple[Any, ...], value: object) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = read(DATA / "tiny_bundle" / "manifest.json")
    inner = document
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "manifest")


def test_the_schema_misses_what_is_not_there() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = read(DATA / "tiny_bundle" / "manifest.json")
    del document["prompt"]["suffix_ids"]
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "manifest")
    document = read(DATA / "tiny_bundle" / "manifest.json")
    del document["files"]
    with pytest.raises(jsonschema.ValidationError, match="'files' is a required property"):
        validate(document, "manifest")


def test_a_line_of_a_trail_fits(tmp_path: Path) -> None:
    from c2t.runtime.audit.line import Action
    from c2t.runtime.audit.trail import AuditTrail

    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 4, encoding="ascii")
    key.chmod(0o600)
    with AuditTrail.open(tmp_path / "trail", key=key, head=tmp_path / "head") as trail:
        trail.record(Action.start)
    (line,) = (tmp_path / "trail").read_bytes().splitlines()
    document = msgspec.json.decode(line)
    del document["mac"]
    validate(document, "audit")


def test_every_public_name_is_on_a_page() -> None:
    from reference_api import api_pages

    pages = api_pages()
    said = "".join(pages.values())
    for module, inside in (("c2t", c2t), ("c2t.tl", c2t.tl), ("c2t.pl", c2t.pl)):
        for name in inside.__all__:
            if not name.startswith("_") and f"{module}.{name}" not in ("c2t.tl", "c2t.pl"):
                assert re.search(rf":: {re.escape(module)}\.{name}$", said, re.MULTILINE), name


def test_every_command_and_option_is_on_a_page() -> None:
    import typer.main
    from reference_commands import command_pages

    from c2t.cli import app

    pages = command_pages()
    commands = dict(typer.main.get_command(app).commands)
    commands |= {f"audit-{name}": of for name, of in commands.pop("audit").commands.items()}
    for name, command in commands.items():
        page = pages[f"reference/commands/{name}.md"]
        for parameter in command.params:
            for option in parameter.opts if not getattr(parameter, "hidden", False) else ():
                assert option in page or parameter.param_type_name == "argument", (name, option)


def test_every_metric_is_on_a_page() -> None:
    pytest.importorskip("prometheus_client", reason="c2t[serve] is not installed")
    from reference_service import service_pages

    from c2t.runtime.serve.http.metrics import Metrics

    page = service_pages()["reference/service/metrics.md"]
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in page


def test_figures_come_from_results() -> None:
    from figures import FigureError, checked, current

    old = "all <!--=demo_describe.json drafts/cells as n-->1<!--/--> cells"
    assert checked(current(old)) == "all 2,117 cells"
    with pytest.raises(FigureError, match=r"is 2,117, and the page has '1': run"):
        checked(old)
    assert checked("of <!--=int8_1b.json bytes/int8 as GB 2-->1.35 GB<!--/-->") == "of 1.35 GB"
    for wrong in ("nothing.json a", "int8_1b.json bytes/int2", "int8_1b.json versions/c2t"):
        with pytest.raises(FigureError):
            current(f"a <!--={wrong} as n-->1<!--/-->")
    with pytest.raises(FigureError, match="begins with a figure"):
        current("a\n<!--=int8_1b.json bytes/int8 as GB 2-->1.35 GB<!--/-->")
    with pytest.raises(FigureError, match="is not written as"):
        current("a <!--=int8_1b.json bytes/int8 | GB 2-->1.35 GB<!--/-->")


def test_pages_have_the_figures_of_the_results() -> None:
    from figures import checked, pages

    changed = {path.name for path in pages() if checked(read_text(path)) != read_text(path)}
    assert {"benchmarks.md", "int8.md", "service.md", "confidence.md"} <= changed


def test_links_lead_somewhere() -> None:
    from links import LinkError, site_links

    page = "docs/how-to/service.md"
    link = "see [`capi/`](../../capi), [C](../../capi/README.md#x), [a](fields.md)"
    assert site_links(link, page, "how-to/service.md") == (
        "see `capi`, [C](capi.md#x), [a](fields.md)"
    )
    fenced = "```text\n[x](nowhere)\n```\n"
    assert site_links(fenced, page, "how-to/service.md") == fenced
    for nowhere in ("../../nowhere.py", "nowhere.md", "../reference/messages.md"):
        with pytest.raises(LinkError):
            site_links(f"[x]({nowhere})", page, "how-to/service.md")


def test_every_link_of_a_committed_page_leads_to_a_file() -> None:
    from figures import pages
    from links import site_links

    for path in pages():
        place = path.relative_to(ROOT).as_posix()
        site_links(read_text(path), place, place)


def test_pages_made_from_code_are_reached_by_links_to_that_code() -> None:
    import inspect

    from links import ABOUT_CODE, MADE_FROM, site_links
    from reference_api import api_pages
    from reference_commands import command_pages
    from reference_formats import FORMATS, format_pages
    from reference_messages import message_page
    from reference_outputs import output_page

    link = "[its fields](../../runtime/audit/line.py)"
    page = "explanation/security.md"
    assert site_links(link, f"docs/{page}", page) == "[its fields](../reference/formats/audit.md)"
    link = "[code](../runtime/audit/line.py)"
    said = site_links(link, ABOUT_CODE, "architecture.md")
    assert said == "code (`runtime/audit/line.py`)"
    made = {**api_pages(), **command_pages(), **format_pages(), **message_page(), **output_page()}
    for file, target in MADE_FROM.items():
        assert (ROOT / file).is_file()
        assert target in made or target.startswith("reference/service/")
    pages = {target: ROOT / file for file, target in MADE_FROM.items()}
    for form in FORMATS:
        if path := pages.get(f"reference/formats/{form.name}.md"):
            assert path == Path(inspect.getfile(form.kind))


def test_pages_in_lists_are_in_the_tree_of_pages() -> None:
    from links import toctree

    text = "- [`a`](a.md), [B c](../b.md): d\n  and [e](e.md)\n\n[f](f.md)\n"
    tree = "```{toctree}\n:hidden:\n\na <a.md>\nB c <../b.md>\ne <e.md>\n```\n"
    assert toctree(text) == f"{text}\n{tree}"


def test_pages_that_messages_name_are_there() -> None:
    from reference_messages import PARTS, messages_by_part

    from c2t.runtime.command_line.help_pages import page_titles

    there = set(page_titles())
    assert there == {path.stem for path in (ROOT / "docs" / "how-to").glob("*.md")} - {"index"}
    assert {part.page for part in PARTS.values()} <= there
    said = [m.hint for messages in messages_by_part().values() for m in messages]
    named = re.findall(r"c2t help ([a-z0-9-]+)", "\n".join(said))
    assert len(named) > 10
    assert set(named) <= there
    assert not [hint for hint in said if "docs/" in hint or ".md" in hint]
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "cli.py"]:
        for command in re.findall(r"`c2t help ([a-z0-9]+)`", read_text(path)):
            assert command in there, (path, command)
    for path in (p for part in PARTS for p in (ROOT / part).rglob("*.py")):
        for command in re.findall(r"`c2t help ([a-z0-9-]+)`", read_text(path)):
            assert command in there, (path, command)


def test_messages_have_problem_and_hint() -> None:
    from reference_messages import messages_by_part

    found = messages_by_part()
    said = {(m.problem, m.hint) for messages in found.values() for m in messages}
    assert ("no such file: …", "check the path") in said
    assert len(said) > 500
    assert {"Files of cells", "Bundles", "Exporting", "The service"} <= set(found)
