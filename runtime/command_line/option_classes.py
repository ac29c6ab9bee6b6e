"""Options that several commands have together: written once, as the fields of a class.

One decision: a command names the class as one parameter. The command line, the manual pages and
the completions see the class's fields in its place, as they read signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import typer

_OF_TYPER = (typer.models.OptionInfo, typer.models.ArgumentInfo)


def option_fields(kind: type) -> list[inspect.Parameter]:
    """The fields of a class of options that are options of the command line, in their order.

    Args:
        kind: A dataclass whose options are annotated with `typer.Option` or `typer.Argument`;
            what is not, is no option.
    """
    hints = get_type_hints(kind, include_extras=True)
    return [
        parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(kind).parameters.items()
        if any(isinstance(what, _OF_TYPER) for what in getattr(hints[name], "__metadata__", ()))
    ]


def takes_option_classes(
    *, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command that has, for each parameter of a class of options, the class's fields.

    Args:
        without: Fields that this command leaves at their defaults and does not show.

    Returns:
        A decorator. What it decorates takes such parameters by keyword.
    """
    return lambda function: _spread(function, without)


def _spread(function: Callable[..., None], without: tuple[str, ...]) -> Callable[..., None]:
    classes: dict[str, type] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            classes[name] = parameter.annotation
            shown += [p for p in option_fields(parameter.annotation) if p.name not in without]
        else:
            shown.append(parameter)

    def command(*args: Any, **given: Any) -> None:
        for name, kind in classes.items():
            mine = [field.name for field in fields(kind) if field.name in given]
            given[name] = kind(**{word: given.pop(word) for word in mine})
        function(*args, **given)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__module__, command.__qualname__ = function.__module__, function.__qualname__
    # Typer looks at both. There is no `__wrapped__`, through which it would see the classes.
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return command
