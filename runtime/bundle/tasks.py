"""What bundles can do, by the names of the commands: the one place that decides it.

A manifest lists its tasks. What its parts cannot do is refused when it is opened
(`c2t.runtime.bundle.manifest_check`), and a command asks `Manifest.need_task` before its work.
"""

from __future__ import annotations

DESCRIBE, ANNOTATE, EXPLAIN, EMBED, SEARCH, ASK = TASKS = (
    *("describe", "annotate", "explain"),
    *("embed", "search", "ask"),
)
# What a bundle without the field can do.
CELL2TEXT_TASKS = (DESCRIBE, ANNOTATE, EXPLAIN, EMBED)
# What a task needs: "encoder", "decoder", "joint space" or its "text tower".
NEEDS = {
    DESCRIBE: ("decoder",),
    ANNOTATE: (),  # by a decoder, or by the text tower of a joint space
    EXPLAIN: ("encoder", "decoder"),
    EMBED: ("encoder",),
    SEARCH: ("encoder", "joint space", "text tower"),
    ASK: ("decoder",),
}


def tasks_said(tasks: tuple[str, ...]) -> str:
    """Tasks as a part of a sentence: "describe, annotate and ask"."""
    if len(tasks) < 2:
        return "".join(tasks) or "nothing that this version of c2t knows"
    return f"{', '.join(tasks[:-1])} and {tasks[-1]}"
