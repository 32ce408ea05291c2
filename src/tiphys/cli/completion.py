"""``tiphys completion``: the script that a shell needs to complete commands and options."""

from __future__ import annotations

import click

INSTALL = {
    "bash": 'eval "$(tiphys completion bash)"       # in ~/.bashrc',
    "zsh": 'eval "$(tiphys completion zsh)"        # in ~/.zshrc',
    "fish": "tiphys completion fish | source        # in ~/.config/fish/config.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(sorted(INSTALL)))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(tiphys completion bash)"
    zsh:   eval "$(tiphys completion zsh)"
    fish:  tiphys completion fish | source
    """
    from click.shell_completion import get_completion_class

    from tiphys.cli.main import group

    kind = get_completion_class(shell)
    assert kind is not None, shell
    print(kind(group(), {}, "tiphys", "_TIPHYS_COMPLETE").source())
