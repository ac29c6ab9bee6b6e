"""Writes `architecture.md` and `architecture.svg`, the page and the picture of the rooms.

Both are made from the code, so that they cannot go stale: the floors come from
`tests/test_import_floors.py`, the purpose of a room from the first line of its docstring, and the
imports from the sources. The journeys name functions; one that is gone is an error.
`tests/test_architecture.py` fails when what is committed differs from what this script writes.

Run `python docs/make_architecture.py` after a change of rooms, docstrings or imports.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from house_picture import House, draw_house
from rooms_from_code import FLOORS, ROOT, Room, Step, find_step, purpose_of, read_rooms


@dataclass(frozen=True)
class Journey:
    """What happens in one command, as the functions and classes that do it.

    Args:
        letter: Its mark in the picture.
        title: From what to what.
        command: The command that does it.
        note: What a reader should know before the steps.
        steps: Each "room:name" or "room:Class.method", in the order of the work.
    """

    letter: str
    title: str
    command: str
    note: str
    steps: tuple[str, ...]


JOURNEYS = (
    Journey(
        "A",
        "A file of cells becomes text",
        "c2t describe BUNDLE cells.h5ad -o descriptions.jsonl",
        "No step of this journey loads torch, transformers or onnx.",
        (
            "runtime.bundle:open_bundle",
            "runtime.cells:open_cells",
            "runtime.cells:choose_counts",
            "runtime.cells:match_genes",
            "runtime.engines:choose_engines",
            "runtime.describe:Describer.describe",
            "runtime.cells:CellReader.chunks",
            "kernels:rank_value_encode",
            "runtime.engines:OnnxRuntimeEncoder.encode",
            "kernels:embed_genes",
            "runtime.generation:PromptRunner",
            "runtime.generation:GreedySearch.run",
            "runtime.describe:text_confidence",
            "runtime.output:describe_to_files",
        ),
    ),
    Journey(
        "B",
        "A checkpoint becomes a bundle",
        "c2t export --geneformer DIR --llama DIR --checkpoint model.pt … -o BUNDLE",
        "All of it is written under a temporary name. The bundle appears when the checks passed.",
        (
            "export:export_bundle",
            "export.checkpoint:outline_checkpoint",
            "export.checkpoint:check_outline",
            "export.checkpoint:merge_lora",
            "export.checkpoint:build_part",
            "export.encoders:write_encoder_graph",
            "export.projectors:write_projector_graph",
            "export.decoders:write_cached_decoder",
            "export:write_tables",
            "export.parity:check_parity",
            "export:golden_cells",
            "runtime.bundle:write_manifest",
            "export:check_bundle",
        ),
    ),
    Journey(
        "C",
        "A bundle becomes an INT8 bundle",
        "c2t calibrate BUNDLE cells.h5ad -o BUNDLE-int8",
        "Writing and judging are repeated with more linears in float32 until the gate is passed.",
        (
            "calibration:calibrate_bundle",
            "calibration:check_calibration",
            "calibration:choose_cells",
            "calibration.ranges:TappedSystem",
            "calibration.quantise:make_plan",
            "calibration.quantise:search_smoothing",
            "calibration.quantise:threshold",
            "calibration:measure_divergence",
            "calibration.quantise:write_quantised_bundle",
            "calibration.evaluate:QualityGate.judge",
            "calibration.report:write_calibration_report",
            "calibration.quantise:complete_manifest",
        ),
    ),
    Journey(
        "D",
        "A program's request becomes text",
        "c2t serve BUNDLE",
        "Doors are thin: what they all share is the engine room. Files go the way of jobs.",
        (
            "runtime.serve:serve_bundle",
            "runtime.serve.http:make_app",
            "runtime.serve.sila:CellServer",
            "runtime.serve.stdio:SocketDoor",
            "runtime.serve.room:EngineRoom.describe",
            "runtime.cells:CountedCellReader.read",
            "runtime.describe:DescribeQueue.submit",
            "runtime.describe:Worker.run",
            "runtime.serve.room:Ticket.take",
            "runtime.serve.jobs:Jobs",
        ),
    ),
)


INTRODUCTION = """\
<!-- Written by docs/make_architecture.py from the code. Do not edit it: run the script again. -->
# Architecture

c2t is built like a house. A **room** is a folder with one purpose. Rooms lie on **floors**, and
imports point to lower floors only: rooms of one floor do not know each other. A test
(`tests/test_import_floors.py`) keeps it so.

![The rooms of c2t on their floors](architecture.svg)

The coloured marks are the steps of four journeys through the house.
"""


def page(rooms: Sequence[Room], journeys: Mapping[Journey, Sequence[Step]]) -> str:
    """The whole page, in Markdown."""
    parts = [INTRODUCTION]
    for journey, steps in journeys.items():
        parts.append(f"\n## {journey.letter}. {journey.title}\n\n    {journey.command}\n\n")
        parts.append(f"{journey.note}\n\n| step | in the code | what it does |\n|---|---|---|\n")
        for number, step in enumerate(steps, start=1):
            name = f"[`{step.name}`](../{step.path.as_posix()})"
            room = step.room.replace(".", "/")
            parts.append(f"| {journey.letter}{number} | {name}, {room} | {step.purpose} |\n")
    parts.append("\n## The rooms\n\nFrom the top floor down.\n")
    for number in reversed(range(len(FLOORS))):
        parts.append(f"\n### Floor {number}\n\n| room | purpose | imports |\n|---|---|---|\n")
        for room in (room for room in rooms if room.floor == number):
            link = room.path.as_posix()
            imports = ", ".join(name.replace(".", "/") for name in room.imports) or "nothing"
            parts.append(f"| [`{link}`](../{link}) | {room.purpose} | {imports} |\n")
            for folder, purpose in room.folders:
                parts.append(f"| ↳ [`{folder}`](../{link}/{folder}) | {purpose} | |\n")
    return "".join(parts)


def marks_of(room: str, journeys: Mapping[Journey, Sequence[Step]]) -> list[str]:
    """The steps in a room, successive ones together: "A1", "A3-5"."""
    marks = []
    for journey, steps in journeys.items():
        runs: list[list[int]] = []
        for number in (n for n, step in enumerate(steps, start=1) if step.room == room):
            if runs and runs[-1][-1] == number - 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        marks += [f"{journey.letter}{run[0]}" + f"-{run[-1]}" * (len(run) > 1) for run in runs]
    return marks


def main() -> None:
    """Write both files, into the folder that is given or beside this script."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    rooms = read_rooms()
    journeys = {journey: [find_step(step) for step in journey.steps] for journey in JOURNEYS}
    house = House(
        rooms=rooms,
        marks={room.name: marks_of(room.name, journeys) for room in rooms},
        legend={journey.letter: journey.title for journey in JOURNEYS},
        roof=f"cli.py: {purpose_of(ROOT / 'cli.py').removeprefix('The command line: ')}",
    )
    (folder / "architecture.md").write_text(page(rooms, journeys), encoding="utf-8")
    (folder / "architecture.svg").write_text(draw_house(house), encoding="utf-8")


if __name__ == "__main__":
    main()
