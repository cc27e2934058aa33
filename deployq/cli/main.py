"""The `deployq` command: the lazy group of verbs, and the one place where errors become words."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployq import __version__
from deployq.cli.complain import complain
from deployq.cli.signals import Ended, ended_by_signals
from deployq.cli.streams import take_everything
from deployq.entrypoints import COMMAND_GROUP, entry_points
from deployq.errors import DeployqError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from deployq.plugins import PluginInfo

COMPLETING = "_DEPLOYQ_COMPLETE"
# Objects that are made until the garbage is looked for: a command makes many records and drops few,
# and Python's 700 would have it look through them again and again, a fiftieth of its time.
COLLECTED_AFTER = 50_000

# verb -> (module, one line for --help). The only lazy imports of the project: a verb's module is
# imported when that verb is called, so that `--help` and `--version` start at once.
VERBS: dict[str, tuple[str, str]] = {
    "push": ("push", "Plan, quantize, register and verify a model on its targets."),
    "plan": ("plan", "Show which quant fits which target, and why; builds nothing."),
    "list": ("list", "List the tags that deployq made, and those of the server."),
    "show": ("show", "Show what a tag is made of."),
    "quality": ("quality", "Judge quants of a model against its own full precision."),
    "recommend": ("recommend", "Find the smallest quant per target that is not worse."),
    "report": ("report", "Write a run as one HTML page, or as Markdown, JSON or JUnit XML."),
    "compare": ("compare", "Show what got better or worse from one run to another."),
    "baseline": ("baseline", "Record the full-precision answers, or carry them elsewhere."),
    "verify": ("verify", "Run a suite of prompts against tags."),
    "measure": ("measure", "Measure quants on a text: perplexity and KL divergence."),
    "bench": ("bench", "Show size, quality, speed and memory of quants on this machine."),
    "status": ("status", "Show what changed since the tags were pushed."),
    "history": ("history", "Show what a tag was before."),
    "diff": ("diff", "Show what differs between two tags or generations."),
    "rollback": ("rollback", "Give tags the content that they had before."),
    "parity": ("parity", "Compare a tag's prompts with those of the model's own chat template."),
    "diagnose": ("diagnose", "Tell whose fault it is that a tag fails: quant, template, model ..."),
    "remove": ("remove", "Remove tags from the server."),
    "prune": (
        "prune",
        "Remove leftovers: staged tags, old generations, orphaned blobs, artifacts.",
    ),
    "lock": ("lock", "Merge two branches' deployq.lock; a merge driver for git."),
    "cache": ("cache", "List the built artifacts; check or remove them."),
    "serve": ("serve", "Keep the configured server up in the foreground."),
    "profile": ("profile", "Show what memory this machine has, and the machines known by name."),
    "guide": ("guide", "Show which size of model fits which machine."),
    "inspect": ("inspect", "Show what a model is: architecture, tokenizer, types of its tensors."),
    "init": ("init", "Write a deployq.toml for what is in this folder."),
    "config": ("config", "Show every setting and where it came from."),
    "doctor": ("doctor", "Check what is here, what is missing, and how to get it."),
    "plugins": ("plugins", "List the plugins and what they bring."),
    "tools": ("tools", "Find or build llama.cpp's tools."),
    "completion": ("completion", "Print what bash, zsh or fish needs to complete deployq."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *sorted(_plugin_commands(ctx, listing=True))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in VERBS:
            module = importlib.import_module(f"deployq.cli.{VERBS[cmd_name][0]}")
            command = module.command
        elif found := _plugin_commands(ctx).get(cmd_name):
            command = _commands().load_command(found)
        else:
            return None
        return command if isinstance(command, click.Command) else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin so, without an import of any of them; then the options."""
        completing = importlib.import_module("deployq.cli.completing")
        lines = {verb: line for verb, (_, line) in VERBS.items()}
        brought = _plugin_commands(ctx, listing=True)
        lines |= {name: found.module for name, found in sorted(brought.items())}
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*completing.verbs(lines, incomplete), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their lines; nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])
        if brought := _plugin_commands(ctx, listing=True):
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, found.module) for name, found in brought.items()])


def _plugin_commands(ctx: click.Context, *, listing: bool = False) -> dict[str, PluginInfo]:
    """The commands that plugins bring, by name.

    Only the files are looked at first: what chooses and guards plugins takes longer to import than
    all the rest of `--help`.
    """
    if not entry_points(COMMAND_GROUP):
        return {}
    found: dict[str, PluginInfo] = _commands().plugin_commands(ctx, VERBS, listing=listing)
    return found


def _commands() -> Any:
    return importlib.import_module("deployq.cli.commands")


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: deployq doctor",
)
@click.version_option(__version__, prog_name="deployq", message="%(prog)s %(version)s")
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Use this deployq.toml instead of the nearest one.",
)
@click.option("-q", "--quiet", is_flag=True, help="No talk and no progress on stderr.")
@click.option(
    "--only-builtin", is_flag=True, is_eager=True, help="Load no plugins but deployq's own."
)
@click.pass_context
def cli(ctx: click.Context, config_file: Path | None, quiet: bool, only_builtin: bool) -> None:
    """From a fine-tuned model to Ollama tags that fit your machines and are proven to work.

    \b
    Examples:
      deployq push task-api --targets laptop,4090
      deployq plan model-f16.gguf --memory 24GB --kind vram --context 8192
    """
    ctx.obj = {"config_file": config_file, "quiet": quiet, "only_builtin": only_builtin}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: the only boundary where errors become exit codes."""
    take_everything()
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code of design: 0 done ... 130 interrupted."""
    gc.set_threshold(COLLECTED_AFTER)
    if COMPLETING in os.environ:
        importlib.import_module("deployq.cli.completion")  # how bash hands its words over
    try:
        with ended_by_signals():
            result = cli.main(args=argv, prog_name="deployq", standalone_mode=False)
            sys.stdout.flush()
    except DeployqError as exc:
        complain(exc.message, exc.hint)
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort) as exc:
        return _interrupted(exc)
    return result if isinstance(result, int) else 0


def _interrupted(exc: BaseException) -> int:
    """Say what ended the command, end what it had started in threads; gives the exit code."""
    importlib.import_module("deployq.proc").stop_all()
    ended = exc if isinstance(exc, Ended) else exc.__cause__  # Click raises Abort from it
    if isinstance(ended, Ended):
        click.echo(f"ended by {ended.signal_name}", err=True)
        return ended.exit_code
    click.echo("interrupted", err=True)
    return 130
