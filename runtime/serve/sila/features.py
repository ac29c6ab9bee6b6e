"""The server's features: read from their definitions, with what runs their commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from sila.framework import Feature
from sila.server import (
    ObservableProperty,
    UnobservableCommand,
    UnobservableProperty,
)

import c2t
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.genes.organism import bundle_species
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila.commands.analyse_now import AnalyseNow
from c2t.runtime.serve.sila.commands.boxed import BoxedCommand, HeldBytes
from c2t.runtime.serve.sila.commands.describe_cells import DescribeCells
from c2t.runtime.serve.sila.commands.describe_file import DescribeFile
from c2t.runtime.serve.sila.commands.describe_now import DescribeNow, PromptCommand
from c2t.runtime.serve.sila.commands.get_results import GetResults
from c2t.runtime.serve.sila.commands.submit import Submitter
from c2t.runtime.serve.sila.errors import DefinedErrors
from c2t.runtime.serve.sila.options import RunLimits
from c2t.runtime.serve.sila.runs import Runs

DESCRIPTION_NAME = "CellDescription.sila.xml"
VECTORS_NAME = "CellVectors.sila.xml"
QUESTIONS_NAME = "CellQuestions.sila.xml"
CANCEL_NAME = "CancelController.sila.xml"
INTENDED_USE = (
    "Research, and non-critical use in which a qualified person reviews every text. "
    "The model is frozen and writes without sampling."
)


def read_feature(name: str) -> Feature:
    """A feature from its definition in this folder; its commands do nothing yet."""
    definition = files(__package__).joinpath(name).read_text(encoding="utf-8")
    context = {
        "unobservable_command_factory": PromptCommand,
        "observable_command_factory": BoxedCommand,
        "unobservable_property_factory": UnobservableProperty,
        "observable_property_factory": ObservableProperty,
    }
    return Feature.from_definition(definition, context)


def cell_features(
    room: EngineRoom, jobs: Jobs, runs: Runs, limits: RunLimits
) -> tuple[Feature, Feature, Feature]:
    """The features Cell Description, Cell Vectors and Cell Questions.

    All are there whatever the bundle can do: a command that it cannot is refused.
    """
    held = HeldBytes(limits.held_bytes)
    analyse = AnalyseNow(room, held=held)
    vectors, questions = read_feature(VECTORS_NAME), read_feature(QUESTIONS_NAME)
    _set_commands(vectors, analyse.of_vectors(DefinedErrors(vectors)))
    _set_commands(questions, analyse.of_questions(DefinedErrors(questions)))
    return _description_feature(room, jobs, runs, limits, held, analyse), vectors, questions


def _description_feature(
    room: EngineRoom,
    jobs: Jobs,
    runs: Runs,
    limits: RunLimits,
    held: HeldBytes,
    analyse: AnalyseNow,
) -> Feature:
    feature = read_feature(DESCRIPTION_NAME)
    errors = DefinedErrors(feature)
    submitter = Submitter(room, held)
    observable: dict[str, DescribeCells | DescribeFile] = {
        "DescribeCells": DescribeCells(submitter, runs, errors=errors, limits=limits),
        "DescribeFile": DescribeFile(jobs, runs, errors=errors, limits=limits, held=held),
    }
    for name, runner in observable.items():
        command = feature.commands[name]
        assert isinstance(command, BoxedCommand)
        command.function, command.follow = runner.run, runner.follow
        command.lifetime = limits.lifetime
    prompt: dict[str, Callable[..., Any]] = {
        **analyse.of_descriptions(errors),
        "DescribeNow": DescribeNow(submitter, errors=errors).run,
        "GetResults": GetResults(jobs, runs, errors=errors).run,
    }
    _set_commands(feature, prompt)
    for name, value in _properties(room).items():
        _set_property(feature, name, value)
    return feature


def cancel_feature(runs: Runs) -> Feature:
    """SiLA's own feature Cancel Controller."""
    feature = read_feature(CANCEL_NAME)

    def cancel(*, metadata: dict[Any, Any], **parameters: Any) -> None:
        name = parameters["CommandExecutionUUID"]
        run = runs.find(name)
        if run is None or run.ended is not None:
            message = f"no command that runs has the UUID {name}"
            raise feature.errors["InvalidCommandExecutionUUID"](message)
        run.cancel()

    def cancel_all(*, metadata: dict[Any, Any]) -> None:
        for run in runs.running:
            run.cancel()

    for name, function in (("CancelCommand", cancel), ("CancelAll", cancel_all)):
        command = feature.commands[name]
        assert isinstance(command, UnobservableCommand)
        command.function = function
    return feature


def _properties(room: EngineRoom) -> dict[str, str | list[str]]:
    bundle = room.model.bundle
    return {
        "BundleName": bundle.manifest.name,
        "BundleDigest": bundle.digest,
        "Engine": room.model.engine_label,
        "Version": c2t.__version__,
        "Species": _species(bundle),
        "Tasks": list(bundle.manifest.tasks),
        "IntendedUse": INTENDED_USE,
    }


def _species(bundle: Bundle) -> str:
    sentence = bundle.manifest.gene_sentence
    if sentence is not None:  # it may have no table of genes
        return ", ".join(sentence.organisms.values())
    species = bundle_species(bundle.genes)
    return "not known" if species is None else species.latin or species.name


def _set_commands(feature: Feature, functions: Mapping[str, Callable[..., Any]]) -> None:
    for name, function in functions.items():
        asked = feature.commands[name]
        assert isinstance(asked, PromptCommand)
        asked.function = function


def _set_property(feature: Feature, name: str, value: str | list[str]) -> None:
    stated = feature.properties[name]
    assert isinstance(stated, UnobservableProperty)
    stated.function = lambda *, metadata: {name: value}
