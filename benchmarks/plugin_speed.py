"""What plugins cost a command: `python -m benchmarks.plugin_speed [RUNS]`.

Twenty plugins are installed, each of which takes 0.1 s to import. A command that needs none must
not notice: what it imports to be able to load plugins, and what the plugins add, is under 30 ms
together; neither must `--help`. Beside it, in the process: finding them, and loading deployq's own.
The runs with and without plugins take turns, CPU time is what counts (the machine may have other
things to do), and the least of each.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from deployq.plugins import Choice, load_plugins
from deployq.plugins.found import find_installed
from tests.plugin_folders import install

LIMIT_SECONDS = 0.030
PLUGINS = 20
SLOW = (
    "import time\ntime.sleep(0.1)\nfrom deployq import hookimpl\n"
    "@hookimpl\ndef deployq_checks():\n    return []\n"
)
IMPORT = (
    "import deployq.config, time; began = time.process_time(); import deployq.plugins; "
    "print(time.process_time() - began)"
)
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "config --json": ("config", "--json"),
    "cache --json": ("cache", "--json"),
    "--help": ("--help",),
}


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as name:
        site = Path(name) / "site"
        for number in range(PLUGINS):
            install(site, f"slow-{number}", SLOW)
        added = {command: _added(Path(name), site, command, runs) for command in COMMANDS}
        sys.path.insert(0, str(site))
        found = _best(lambda: find_installed(Choice()), runs)
        sys.path.remove(str(site))
    imported = min(float(_said(IMPORT)) for _ in range(runs))
    loaded = _best(lambda: load_plugins(Choice(only_builtin=True)).found, runs)
    for command, seconds in added.items():
        print(f"{command:14} {PLUGINS} plugins add {1000 * seconds:6.1f} ms")
    print(f"importing what loads plugins: {1000 * imported:.1f} ms")
    print(f"finding {PLUGINS} plugins among what is installed: {1000 * found:.1f} ms")
    print(f"loading deployq's own four, imported before: {1000 * loaded:.1f} ms")
    return int(max(added.values()) + imported > LIMIT_SECONDS)


def _said(program: str) -> str:
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _added(folder: Path, site: Path, command: str, runs: int) -> float:
    """Seconds that the plugins add to a command."""
    argv = [sys.executable, "-m", "deployq", *COMMANDS[command]]
    bare = {**os.environ, "HOME": str(folder)}
    full = {**bare, "PYTHONPATH": str(site)}
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * runs):
        env = full if number % 2 else bare
        before = _child_seconds()
        subprocess.run(argv, env=env, cwd=folder, check=True, capture_output=True)
        taken[bool(number % 2)].append(_child_seconds() - before)
    return min(taken[True]) - min(taken[False])


def _child_seconds() -> float:
    """CPU time of the processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _best(work: object, runs: int) -> float:
    assert callable(work)
    taken = []
    for _ in range(runs):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


if __name__ == "__main__":
    sys.exit(main())
