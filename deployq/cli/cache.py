"""`deployq cache`: the artifacts that deployq keeps."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.shared import json_option, session_of, show_json
from deployq.errors import ConfigError
from deployq.pipeline.cache import cached_artifacts, half_built, remove_artifacts
from deployq.types import CachedArtifact, HalfBuilt
from deployq.units import format_bytes


@click.command()
@click.option(
    "--verify", is_flag=True, help="Hash every file; a damaged one is named, exit code 1."
)
@click.option("--remove", metavar="KEY", multiple=True, help="Remove an artifact; repeatable.")
@json_option
@click.pass_context
def command(ctx: click.Context, verify: bool, remove: tuple[str, ...], as_json: bool) -> None:
    """List the artifacts in the cache: size, quant, source, when used, the tags made of them.

    \b
    Examples:
      deployq cache
      deployq cache --verify
      deployq cache --remove 3f09ab12
    """
    if verify and remove:
        raise ConfigError("--verify and --remove are two things", hint="deployq cache --verify")
    with session_of(ctx) as session:
        if remove:
            removed = remove_artifacts(session, remove)
            for one, freed in removed:
                session.talk(f"removed {one.quant} {one.key[:12]}: {_freed(freed)}")
            document = [{"key": one.key, "freed_bytes": freed} for one, freed in removed]
            if as_json:
                show_json({"schema": 1, "removed": document})
            return
        found = cached_artifacts(session, verify=verify)
        total = format_bytes(sum(one.file_bytes for one in found))
        session.talk(f"{len(found)} artifacts, {total}, in {session.cache_dir}")
        for one in found:
            if one.damaged:
                session.talk(
                    f"{one.quant} {one.key[:12]} is damaged: {one.damaged}; {_mend_of(one)}"
                )
        unfinished = half_built(session)
        for half in unfinished:
            session.talk(
                f"{half.key[:12]} is half built, {format_bytes(half.n_bytes)}: {_whose(half)}"
            )
    if as_json:
        show_json(report.cache_document(found, unfinished))
    elif found:
        report.show(report.cache_table(found))
    ctx.exit(1 if verify and any(one.damaged for one in found) else 0)


def _mend_of(one: CachedArtifact) -> str:
    """What mends a damaged artifact."""
    if not one.tags:
        return f"no tag needs it: deployq cache --remove {one.key[:12]}"
    models = dict.fromkeys(tag.partition(":")[0] for tag in one.tags)
    return f"a push that needs it makes it again: deployq push {' or '.join(models)}"


def _whose(half: HalfBuilt) -> str:
    left = "a process that was killed left it; the next push removes it, or deployq prune"
    return "it is being made now" if half.alive else left


def _freed(n_bytes: int) -> str:
    still = "nothing freed yet, a server's store has the same file"
    return f"{format_bytes(n_bytes)} freed" if n_bytes else still
