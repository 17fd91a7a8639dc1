"""`onegen-hf completion SHELL`: prints a script that completes commands, options and choices in a shell."""

from __future__ import annotations

import importlib
import shlex
from argparse import Action, ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_builders.registry import CONVERTERS

from ..terminal.options import OptionParser, is_flag
from .main import COMMANDS

SHELLS = ("bash", "zsh", "fish")
INSTALL = {
    "bash": "onegen-hf completion bash > ~/.local/share/bash-completion/completions/onegen-hf",
    "zsh": "onegen-hf completion zsh > ~/.zfunc/_onegen-hf  (with fpath+=~/.zfunc before compinit in ~/.zshrc)",
    "fish": "onegen-hf completion fish > ~/.config/fish/completions/onegen-hf.fish",
}
_BASH = """\
# bash completion for onegen-hf; made by `onegen-hf completion bash`
_onegen_hf() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W {commands} -- "$current"))
        return
    fi
    case "$command $previous" in
{choices}
    esac
    case "$command" in
{options}
    esac
}}
complete -o bashdefault -o default -F _onegen_hf onegen-hf
"""
_ZSH = "#compdef onegen-hf\nautoload -U +X bashcompinit && bashcompinit\n{script}_onegen_hf 2>/dev/null\n"


@dataclass
class CompletionArguments:
    """Options of `onegen-hf completion`: none."""


def parser() -> OptionParser:
    """The options of the command."""
    installation = "; ".join(f"{shell}: {line}" for shell, line in INSTALL.items())
    return OptionParser(
        CompletionArguments,
        "onegen-hf completion",
        f"{{{','.join(SHELLS)}}}",
        "Print a script that completes commands, options and their choices.",
        epilog=f"To install it, {installation}.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    command = parser()
    names, _ = command.parse_with_texts(arguments)
    if len(names) != 1 or names[0] not in SHELLS:
        command.error(f"name one shell: {', '.join(SHELLS)}")
    print({"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[names[0]](), end="")


def options_of(command: str) -> list[Action]:
    """The options of a command, with their choices; `benchmark` has none of its own."""
    module = importlib.import_module(COMMANDS[command][0])
    if command == "build":
        parsers: list[ArgumentParser] = [module.parser(name) for name in (*CONVERTERS, module.FACTS)]
    else:
        parsers = [module.parser()] if hasattr(module, "parser") else []
    found = {option: action for made in parsers for action in made._actions for option in _shown(action)}
    return list(dict.fromkeys(found.values()))


def words_of(command: str) -> list[str]:
    """What may follow a command besides options."""
    module = importlib.import_module(COMMANDS[command][0])
    return {
        "build": [*CONVERTERS, getattr(module, "FACTS", "")],
        "push": list(getattr(module, "KINDS", ())),
        "completion": list(SHELLS),
    }.get(command, [])


def bash_script() -> str:
    """For bash, where completion of files stays as it is."""
    choices, options = [], []
    for command in COMMANDS:
        names = list(words_of(command))
        for action in options_of(command):
            names += _shown(action)
            pattern = "|".join(f'"{command} {name}"' for name in _shown(action))
            if action.choices is not None:
                words = shlex.quote(" ".join(map(str, action.choices)))
                choices.append(f'        {pattern}) COMPREPLY=($(compgen -W {words} -- "$current")); return ;;')
            elif not is_flag(action):
                choices.append(f"        {pattern}) return ;;")
        words = shlex.quote(" ".join(dict.fromkeys(names)))
        options.append(f'        {command}) COMPREPLY=($(compgen -W {words} -- "$current")) ;;')
    commands = shlex.quote(" ".join([*COMMANDS, "--help", "--version"]))
    return _BASH.format(commands=commands, choices="\n".join(choices), options="\n".join(options))


def zsh_script() -> str:
    """For zsh, which can run what is made for bash."""
    return _ZSH.format(script=bash_script())


def fish_script() -> str:
    """For fish, which shows the help beside each option."""
    return "\n".join(_fish_lines()) + "\n"


def _fish_lines() -> Iterator[str]:
    yield "# fish completion for onegen-hf; made by `onegen-hf completion fish`"
    for command, (_, text) in COMMANDS.items():
        first = "complete -c onegen-hf -n __fish_use_subcommand"
        yield f"{first} -a {command} -d {shlex.quote(text)}"
    for command in COMMANDS:
        after = f"complete -c onegen-hf -n '__fish_seen_subcommand_from {command}'"
        if words := words_of(command):
            yield f"{after} -a {shlex.quote(' '.join(words))}"
        for action in options_of(command):
            text = shlex.quote(" ".join((action.help or "").replace("%%", "%").split()))
            for name in _shown(action):
                kind = "" if is_flag(action) else " -r"
                if action.choices is not None:
                    kind = f" -x -a {shlex.quote(' '.join(map(str, action.choices)))}"
                yield f"{after} -l {name.removeprefix('--')}{kind} -d {text}"


def _shown(action: Action) -> list[str]:
    return [option for option in action.option_strings if option.startswith("--")]
