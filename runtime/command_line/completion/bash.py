"""Completion for bash: one function over tables of the commands' options.

Paths are left to readline, which knows tildes, quotes and spaces.
"""

from __future__ import annotations

from collections.abc import Iterator

from c2t.runtime.command_line.command_tree import Command, Takes

# How the script calls what is no list of words.
_KINDS = {Takes.file: "FILE", Takes.folder: "FOLDER", Takes.text: "TEXT"}
_FUNCTION = r"""
_c2t() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local command="" places=0 takes commands options i=1
    # An equals sign is a word of its own: `--engine=cpu` are three.
    [ "$word" = "=" ] && word=""
    [ "$before" = "=" ] && before=${COMP_WORDS[COMP_CWORD-2]}
    while [ "$i" -lt "$COMP_CWORD" ]; do
        _c2t_words "$command"
        case ${COMP_WORDS[i]} in
        -*)
            _c2t_takes "$command ${COMP_WORDS[i]}"
            [ "${COMP_WORDS[i+1]}" = "=" ] && i=$((i + 1))
            [ -n "$takes" ] && i=$((i + 1))
            ;;
        *)
            case " $commands " in
            *" ${COMP_WORDS[i]} "*) command="${command:+$command }${COMP_WORDS[i]}" ;;
            *) places=$((places + 1)) ;;
            esac
            ;;
        esac
        i=$((i + 1))
    done
    _c2t_words "$command"
    _c2t_takes "$command $before"
    case $word in
    -*) takes=${takes:-$options} ;;
    *)
        takes=${takes:-$commands}
        [ -z "$takes" ] && _c2t_takes "$command $places"
        ;;
    esac
    COMPREPLY=()
    case $takes in
    FILE) ;; # names of files are readline's: `complete -o default`
    FOLDER) compopt +o default +o bashdefault -o dirnames ;;
    TEXT | "") compopt +o default +o bashdefault ;;
    *)
        compopt +o default +o bashdefault
        COMPREPLY=($(compgen -W "$takes" -- "$word"))
        ;;
    esac
}
complete -o default -o bashdefault -F _c2t c2t
"""


def bash_script(tree: Command, head: str) -> str:
    """The script.

    Args:
        tree: The whole command line.
        head: A line of comment.
    """
    return "\n".join([f"# {head}", *_words(tree), *_takes(tree)]) + _FUNCTION


def _key(command: Command, what: object) -> str:
    return f'"{" ".join(command.words[1:])} {what}"'


def _words(tree: Command) -> Iterator[str]:
    """A function that sets `commands` and `options` to those of a command."""
    yield "_c2t_words() {\n    case $1 in"
    for command in tree.walk():
        commands = " ".join(below.name for below in command.commands)
        options = " ".join(
            name for option in command.options for name in (*option.names, *option.off)
        )
        words = " ".join(command.words[1:])
        yield f'    "{words}") commands="{commands}" options="{options}" ;;'
    yield "    esac\n}"


def _takes(tree: Command) -> Iterator[str]:
    """A function that sets `takes` to what may follow an option, or stand at a place."""
    keys: dict[str, list[str]] = {}
    for command in tree.walk():
        for option in command.options:
            if option.takes is not Takes.nothing:
                what = _KINDS.get(option.takes, " ".join(option.choices))
                keys.setdefault(what, []).extend(_key(command, name) for name in option.names)
        for place, argument in enumerate(command.arguments):
            what = _KINDS[argument.takes]
            keys.setdefault(what, []).append(_key(command, place))
    yield "_c2t_takes() {\n    case $1 in"
    for what, patterns in keys.items():
        yield "    " + " | \\\n        ".join(patterns) + f') takes="{what}" ;;'
    yield '    *) takes="" ;;\n    esac\n}'
