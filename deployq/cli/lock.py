"""`deployq lock`: what git needs to merge two branches' deployq.lock."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import proc
from deployq.cli.shared import session_of
from deployq.errors import ConfigError, LockfileError
from deployq.files import write_whole
from deployq.tags.lockfile import Lockfile
from deployq.tags.lockmerge import Merged, merge_lockfiles


@click.group()
def command() -> None:
    """Merge deployq.lock."""


@command.command("merge")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
def merge_(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Take what both branches pushed; of a tag that both pushed, the later push counts.

    As a merge driver git calls it with three FILES, %O %A %B, and takes the second as the result.
    Without FILES it mends the conflict that a merge has just left in deployq.lock.

    \b
    Examples:
      deployq lock merge
      git config merge.deployq.driver "deployq lock merge %O %A %B"
      echo "deployq.lock merge=deployq" >> .gitattributes
    """
    if files:
        if len(files) != 3:
            raise ConfigError(
                f"{len(files)} files: a merge takes three, %O %A %B",
                hint="deployq lock merge, without files, mends the conflict of a merge",
            )
        merged = merge_lockfiles(*(_read(file, file.read_text("utf-8")) for file in files))
        write_whole(files[1], merged.lockfile.dumps())
        _tell(merged)
        return
    with session_of(ctx) as session:
        path = session.lockfile.absolute()
    merged = merge_lockfiles(*_conflicting(path))
    write_whole(path, merged.lockfile.dumps())
    _tell(merged)
    click.echo(f"{path.name} has both sides: git add {path.name}", err=True)


def _conflicting(path: Path) -> tuple[Lockfile, Lockfile, Lockfile]:
    """What the two branches come from, ours and theirs, as git keeps them until the conflict ends.

    Raises:
        LockfileError: git knows of no conflict in it.
    """
    sides = []
    for stage in (1, 2, 3):
        argv = ("git", "show", f":{stage}:./{path.name}")
        shown = proc.run(argv, cwd=path.parent, check=False)
        sides.append(_read(path, shown.stdout) if shown.returncode == 0 else None)
    base, ours, theirs = sides
    if ours is None or theirs is None:
        raise LockfileError(
            f"git has no conflict in {path}", hint="git status says what a merge left"
        )
    return base or Lockfile(), ours, theirs  # without a base, both branches added the file


def _read(path: Path, text: str) -> Lockfile:
    return Lockfile.loads(text, path.name) if text.strip() else Lockfile()


def _tell(merged: Merged) -> None:
    for note in merged.notes:
        click.echo(note, err=True)
