"""A bundle that answers questions as one that describes cells: by its answers to one question.

One decision: only the manifest in memory is another. So whatever works on descriptions, such as
calibrating and evaluating, works on answers, and the files stay what they are.
"""

from __future__ import annotations

import copy

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import ASK, DESCRIBE
from c2t.runtime.bundle.template import template_fields
from c2t.runtime.describe.question import Question
from c2t.runtime.system.errors import C2TError, TaskError


def asked_bundle(bundle: Bundle, question: str) -> Bundle:
    """The bundle with a question of its own, which each cell is described by.

    Args:
        bundle: One that answers questions.
        question: To every cell.

    Raises:
        BundleError: It cannot answer questions.
        C2TError: An empty or too long question, or a prompt that needs labels beside it.
    """
    manifest = bundle.manifest
    if "labels" in template_fields(manifest.template):
        problem = f"the prompt of {bundle.path} lists labels beside its question"
        raise C2TError(problem, hint="put questions with labels to it by `c2t ask --labels`")
    Question(text=question).check(bundle)
    tasks = manifest.tasks if DESCRIBE in manifest.tasks else (*manifest.tasks, DESCRIBE)
    asked = copy.copy(bundle)
    asked.forget()  # prompts that were made for another question
    asked.manifest = manifest.replace(question=question, tasks=tasks)
    return asked


def check_describes(bundle: Bundle) -> None:
    """Refuse a bundle that writes no descriptions: an answer needs a question.

    Raises:
        TaskError: It does not.
    """
    tasks = bundle.manifest.tasks
    if ASK in tasks and DESCRIBE not in tasks:
        problem = f"{bundle.path} cannot describe: it answers questions, and none is given"
        raise TaskError(problem, hint='ask it one: --question "What cell is this?"')
    bundle.manifest.need_task(DESCRIBE)
