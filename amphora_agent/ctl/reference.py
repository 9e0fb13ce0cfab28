"""Made from the parser: the reference as Markdown, the manual page, and what bash, zsh and fish complete by. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from amphora_agent.ctl.parser import DESCRIPTION, Parser

PROGRAM = "amphoractl"
_ENVIRONMENT = (
    ("NO_COLOR", "no colours, whatever it is set to"),
    ("VISUAL, EDITOR", "the editor of `amphoractl edit`; default: vi"),
)
_EXITS = (
    (0, "done, or no difference"),
    (1, "a difference (diff, apply --dry-run), something found (doctor), or not come in time (wait)"),
    (2, "wrong usage"),
    (3, "refused by the agent, or a fault"),
    (4, "the agent cannot be reached"),
    (5, "a conflict: another change came first, or a controller owns it"),
    (130, "interrupted by Ctrl-C"),
)


@dataclass(frozen=True, slots=True)
class Argument:
    """An option with its flags, or a positional argument without any; `value` is what stands for its value."""

    flags: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    text: str
    is_common: bool = False

    @property
    def title(self) -> str:
        """How it is written."""
        names = ", ".join(self.flags)
        return f"{names} {self.value}".strip()


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its arguments and what it does; `path` is how it is called, without the program."""

    path: tuple[str, ...]
    text: str
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]

    @property
    def own(self) -> tuple[Argument, ...]:
        """Its arguments without those that all commands have."""
        return tuple(each for each in self.arguments if not each.is_common)

    def walk(self) -> Iterator[Command]:
        """Yield the command and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def outline(parser: Parser, path: tuple[str, ...] = (), text: str = DESCRIPTION) -> Command:
    """Return what a parser accepts. argparse has no public way to ask it."""
    arguments: list[Argument] = []
    children: list[Command] = []
    common = {action.dest for group in parser._action_groups[2:] for action in group._group_actions}  # noqa: SLF001
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            children += [outline(child, (*path, name), texts[name]) for name, child in action.choices.items()]
        elif action.dest != "help":
            arguments.append(_argument(action, is_common=action.dest in common))
    return Command(path, text, tuple(arguments), tuple(children))


def _argument(action: argparse.Action, *, is_common: bool) -> Argument:
    choices = tuple(str(each) for each in action.choices or ())
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.nargs == 0:
        value = ""
    elif action.nargs == "?":
        value = f"[{value}]"
    if choices and not isinstance(action.metavar, str):
        value = "|".join(choices) if action.nargs != "?" else f"[{'|'.join(choices)}]"
    return Argument(tuple(action.option_strings), value, choices, action.help or "", is_common)


# Markdown


def markdown(root: Command) -> str:
    """Return docs/amphoractl.md."""
    lines = [
        "# amphoractl",
        "",
        f"{DESCRIPTION} On the machine it needs root and no certificates; from elsewhere `--url`, `--cert` and `--ca`.",
        "A load balancer is described in `docs/api-2.0.md`. This page is made by `amphoractl reference markdown`.",
        "",
        "| command | |",
        "|---|---|",
        *(f"| `{PROGRAM} {' '.join(each.path)}` | {each.text} |" for each in _leaves(root)),
        "",
        "## Where the agent is, and how to answer",
        "",
        "These stand before or after any command.",
        "",
        *_items(each for each in root.arguments if each.is_common),
        "",
        "On a terminal the output has colours; piped, it is plain columns, never cut. With `--json` it is JSON, errors",
        "included.",
        "",
        "| environment | |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in _ENVIRONMENT),
        "",
        "| exit code | |",
        "|---|---|",
        *(f"| {code} | {text} |" for code, text in _EXITS),
    ]
    for each in _leaves(root):
        lines += ["", f"## {PROGRAM} {_usage(each)}", "", f"{_sentence(each.text)}"]
        if each.own:
            lines += ["", *_items(each.own)]
    return "\n".join(lines) + "\n"


def _leaves(root: Command) -> Iterator[Command]:
    return (each for each in root.walk() if not each.children)


def _items(arguments: Iterable[Argument]) -> Iterator[str]:
    for each in arguments:
        yield f"- `{each.title}`" + (f": {each.text}" if each.text else "")


def _usage(command: Command) -> str:
    positional = [each.value for each in command.own if not each.flags]
    optional = [f"[{each.title}]" for each in command.own if each.flags]
    return " ".join((*command.path, *positional, *optional))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# The manual page


def manual(root: Command) -> str:
    """Return amphoractl(1). Source: man-pages(7), groff_man(7)."""
    lines = [
        '.\\" Made by `amphoractl reference man`.',
        ".TH AMPHORACTL 1",
        ".SH NAME",
        "amphoractl \\- look at an amphora and change its load balancers",
        ".SH SYNOPSIS",
        ".B amphoractl",
        ".RI [ OPTIONS ]",
        ".I COMMAND",
        ".RI [ ARGUMENTS ]",
        ".SH DESCRIPTION",
        "Speaks to the amphora agent's API 2.0, over its UNIX socket on the machine itself or over mutual TLS.",
        ".B doctor",
        "and",
        ".B bundle",
        "look at the machine and need no agent;",
        ".B validate",
        "needs neither.",
        ".SH OPTIONS",
        *_roff_items(each for each in root.arguments if each.is_common),
        ".SH COMMANDS",
    ]
    for each in _leaves(root):
        lines += [f".SS {_roff(_usage(each))}", _roff(_sentence(each.text)), *_roff_items(each.own)]
    lines += [".SH EXIT STATUS"]
    for code, text in _EXITS:
        lines += [".TP", f".B {code}", _roff(text)]
    lines += [".SH ENVIRONMENT"]
    for name, text in _ENVIRONMENT:
        lines += [".TP", f".B {name}", _roff(text.replace("`", ""))]
    lines += [".SH SEE ALSO", ".BR amphora-agent (8),", ".BR amphora-agent.conf (5)"]
    return "\n".join(lines) + "\n"


def _roff_items(arguments: Iterable[Argument]) -> Iterator[str]:
    for each in arguments:
        yield ".TP"
        yield f".B {_roff(each.title)}"
        yield _roff(each.text or each.value)


def _roff(text: str) -> str:
    """Return text that groff prints as it is; a line must not begin with its control characters."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


# Completion


def bash(root: Command) -> str:
    """Return what bash completes by: commands and options; anything else is a file's name."""
    cases = "\n".join(f'        "{_key(each)}") candidates="{" ".join(_words(each))}" ;;' for each in root.walk())
    return f"""# bash completion of {PROGRAM}
_{PROGRAM}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" command="" candidates="" number
    for ((number = 1; number < COMP_CWORD; number++)); do
        case "$command ${{COMP_WORDS[number]}}" in
            {"|".join(_patterns(root))}) command="$command ${{COMP_WORDS[number]}}" ;;
        esac
    done
    case "$command" in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$candidates" -- "$current")
}}
complete -o bashdefault -o default -F _{PROGRAM} {PROGRAM}
"""


def zsh(root: Command) -> str:
    """Return what zsh completes by."""
    cases = "\n".join(f'        "{_key(each)}") candidates=({" ".join(_words(each))}) ;;' for each in root.walk())
    return f"""#compdef {PROGRAM}
_{PROGRAM}() {{
    local command="" word
    local -a candidates
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$command $word" in
            {"|".join(_patterns(root))}) command="$command $word" ;;
        esac
    done
    case "$command" in
{cases}
    esac
    compadd -a candidates
    _files
}}
compdef _{PROGRAM} {PROGRAM}
"""


def fish(root: Command) -> str:
    """Return what fish completes by."""
    below = (line for each in root.walk() if each.path for line in _fish_lines(root, each))
    common = (f"complete -c {PROGRAM}{_fish_flags(each)} -d {_quoted(each.text)}" for each in root.arguments)
    return "\n".join((f"# fish completion of {PROGRAM}", *common, *below)) + "\n"


def _fish_lines(root: Command, command: Command) -> Iterator[str]:
    *above, name = command.path
    siblings = " ".join(child.path[-1] for child in _parent(root, command).children)
    condition = f"not __fish_seen_subcommand_from {siblings}"
    if above:
        condition = f"__fish_seen_subcommand_from {above[0]}; and {condition}"
    start = f"complete -c {PROGRAM} -n "
    yield f"{start}{_quoted(condition)} -a {name} -d {_quoted(command.text)}"
    seen = _quoted("; and ".join(f"__fish_seen_subcommand_from {part}" for part in command.path))
    for argument in command.own:
        if argument.flags:
            yield f"{start}{seen}{_fish_flags(argument)} -d {_quoted(argument.text)}"
        yield from (f"{start}{seen} -a {choice}" for choice in argument.choices if not argument.flags)


def _fish_flags(argument: Argument) -> str:
    flags = "".join(f" -l {each[2:]}" if each.startswith("--") else f" -s {each[1:]}" for each in argument.flags)
    return f"{flags} -r" if argument.value and not argument.value.startswith("[") else flags


def _parent(root: Command, command: Command) -> Command:
    return next(each for each in root.walk() if command in each.children)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _key(command: Command) -> str:
    return "".join(f" {each}" for each in command.path)


def _patterns(root: Command) -> list[str]:
    return [f'"{_key(each)}"' for each in root.walk() if each.path]


def _words(command: Command) -> Iterator[str]:
    for child in command.children:
        yield child.path[-1]
    for argument in command.arguments:
        yield from argument.flags or argument.choices
    yield "--help"
