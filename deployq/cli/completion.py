"""`deployq completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_DEPLOYQ_COMPLETE"


class ColonBash(BashComplete):
    """bash takes `task-api:q4_k_m` and `--targets=laptop` for three words each.

    Its words are put together again, and of a suggestion only what stands behind the last colon is
    given back: that is the word that bash replaces.
    """

    cut = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the one that is being typed."""
        before, last = super().get_completion_args()
        words: list[str] = []
        glue = False
        for word in [*before, last]:
            if word == "=":
                continue
            if words and (glue or word == ":"):
                words[-1] += word
            else:
                words.append(word)
            glue = word == ":"
        whole = words.pop() if last not in ("", "=") or glue else ""
        self.cut = whole[: whole.rfind(":") + 1] if glue or ":" in whole else ""
        return words, whole

    def format_completion(self, item: CompletionItem) -> str:
        """`type,value` without what bash holds for words before."""
        return super().format_completion(
            CompletionItem(item.value.removeprefix(self.cut), type=item.type)
        )


add_completion_class(ColonBash)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete deployq's commands, options and names.

    Names of models, targets and tags come from deployq.toml and deployq.lock; no server is asked.

    \b
    Examples:
      eval "$(deployq completion bash)"        # into ~/.bashrc
      eval "$(deployq completion zsh)"         # into ~/.zshrc, after compinit
      deployq completion fish > ~/.config/fish/completions/deployq.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "deployq", VARIABLE).source(), nl=False)
