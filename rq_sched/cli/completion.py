"""``rq-sched completion``: the script by which a shell completes our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rq_sched.cli.options import command


@command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    bash   rq-sched completion bash > ~/.local/share/bash-completion/completions/rq-sched
    zsh    rq-sched completion zsh > ~/.zfunc/_rq-sched     (a folder of your fpath)
    fish   rq-sched completion fish > ~/.config/fish/completions/rq-sched.fish
    """
    from rq_sched.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click brings all three
    click.echo(kind(cli, {}, "rq-sched", "_RQ_SCHED_COMPLETE").source())
