"""One private server for all commands that want it at the same time.

The first command starts a supervisor, a process of its own; every command holds a shared lock on
`users.lock` while it works; the supervisor ends itself and the server when nobody holds it any
more. So a command that is killed leaves no server behind, and a second command finds the first
one's server. What lies in the folder:

    users.lock      held (shared) by every command that uses the server
    start.lock      held while a command looks for the server or starts it
    serve.lock      held by the supervisor as long as it lives: who holds it is alive
    runtime.json    where the server answers
    serve.log       what supervisor and server said
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deployq import BackendError, ConfigError, DiskError, Endpoint, ServerTimeout, proc
from deployq.tools import NEEDS_MEND, Tool
from deployq_runtimes.locks import is_locked, locked
from deployq_runtimes.probe import last_lines, version_at

START_SECONDS = 60.0
LOCK_SECONDS = 90.0
_POLL_SECONDS = 0.02
_LAUNCH_SECONDS = 30.0


@dataclass(frozen=True)
class Address:
    """What the supervisor writes once its server answers; `pid` is the supervisor's own."""

    url: str
    port: int
    pid: int

    def write(self, folder: Path) -> None:
        temporary = folder / f"runtime.{self.pid}.tmp"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(folder / "runtime.json")


@dataclass(frozen=True)
class Launch:
    """How to start a server: the runtime's name and the supervisor's further arguments.

    Args:
        engine: the llama-server that will run the models; None where there is none to be found.
    """

    runtime: str
    arguments: Sequence[str]
    engine: Tool | None = None
    start_seconds: float = START_SECONDS

    @property
    def note(self) -> str:
        mend = self.engine.smoke.mend if self.engine else ""
        if not mend:
            return ""
        return f"the {self.runtime} runtime runs its models with {mend}: {NEEDS_MEND}"


def read_address(folder: Path) -> Address | None:
    """What `runtime.json` says; None where there is none, or only half of one."""
    try:
        return Address(**json.loads((folder / "runtime.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def shared_server(folder: Path, launch: Launch, port: int = 0) -> Iterator[Endpoint]:
    """The endpoint of the folder's server, started if it doesn't run; inside the block it stays.

    Args:
        folder: where the server keeps its models, locks and log; made if it isn't there.
        port: the port to listen on, 0 for any free one.

    Raises:
        BackendError: the server died while starting; with its own last words.
        ServerTimeout: it did not answer in time.
        ConfigError: it runs already, on another port than asked for.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DiskError(f"cannot make the folder {folder}: {exc.strerror}") from exc
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                locked(folder / "users.lock", shared=True, timeout_seconds=LOCK_SECONDS)
            )
            with locked(folder / "start.lock", timeout_seconds=LOCK_SECONDS):
                endpoint = _running(folder, launch, port)
        except TimeoutError as exc:
            raise ServerTimeout(f"the {launch.runtime} runtime is busy: {exc}") from exc
        yield endpoint


def _running(folder: Path, launch: Launch, port: int) -> Endpoint:
    deadline = time.monotonic() + launch.start_seconds
    started = False
    while True:
        if not is_locked(folder / "serve.lock"):
            if started:
                raise BackendError(_died(folder, launch))
            _start(folder, launch, port)
            started = True
        address = read_address(folder)
        version = version_at(address.url) if address else None
        if address and version:
            _same_port(address, port, folder)
            return Endpoint(address.url, launch.runtime, version, folder / "models", launch.note)
        if time.monotonic() > deadline:
            raise ServerTimeout(
                f"the {launch.runtime} runtime in {folder} did not answer within "
                f"{launch.start_seconds:g} s:\n{last_lines(folder / 'serve.log')}"
            )
        time.sleep(_POLL_SECONDS)


def _start(folder: Path, launch: Launch, port: int) -> None:
    """Run the supervisor; it goes to the background once it holds `serve.lock`."""
    (folder / "runtime.json").unlink(missing_ok=True)
    argv = [sys.executable, "-P", "-m", "deployq_runtimes.supervisor", launch.runtime]
    argv += [str(folder), str(port), *launch.arguments]
    # what the engine needs around it, the server hands on
    env = launch.engine.smoke.env if launch.engine else None
    proc.run(argv, env=env, timeout_seconds=_LAUNCH_SECONDS)


def _died(folder: Path, launch: Launch) -> str:
    said = last_lines(folder / "serve.log") or "it printed nothing"
    return f"the {launch.runtime} runtime in {folder} ended while starting:\n{said}"


def _same_port(address: Address, port: int, folder: Path) -> None:
    if port not in (0, address.port):
        raise ConfigError(
            f"the server of {folder} already listens on port {address.port}, not {port}",
            hint="end the command that uses it, or leave the port out",
        )
