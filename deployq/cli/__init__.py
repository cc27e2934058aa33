"""The command line: parse, call, show. One file per verb, imported when it is called."""

from deployq.cli.main import main

__all__ = ["main"]
