"""A marker that is up: kept alive while its process works, and looked after when names change."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from deployq.errors import ServerError
from deployq.tags.journal import Swap
from deployq.tags.markers import HEARTBEAT_SECONDS, Marker, Seen, find_markers, raise_marker
from deployq.tags.records import TagRecord, find_tag
from deployq.tags.registry import take_away
from deployq.tags.server import Server

# Who enters and sees that somebody is in takes their marker down within a moment.
_MOMENT_SECONDS = 10.0
_LOOK_SECONDS = 0.1


class Hold:
    """The marker of this process on a server.

    Args:
        server: where it is raised; asked from a thread of the hold's own, too.
        marker: what it says.
    """

    def __init__(self, server: Server, marker: Marker) -> None:
        self._server = server
        self._marker = marker
        self._guard = threading.Lock()
        self._down = threading.Event()
        # What is on the server only while this process works: its marker, and what it staged.
        self.passing = [marker.name]

    @property
    def id(self) -> str:
        """What the names of everything that is staged under this hold end in."""
        return self._marker.id

    @property
    def model(self) -> str:
        return self._marker.model

    def up(self, *, entered: bool) -> None:
        """Raise the marker, as one that asks or as one that has entered.

        Raises:
            ServerError: the server does not take it.
        """
        self._marker = replace(self._marker, entered=entered)
        raise_marker(self._server, self._marker)

    def keep(self) -> None:
        """Write it again and again, from now until `lower`."""
        threading.Thread(target=self._beat, name=f"marker {self.id}", daemon=True).start()

    def others(self, *, entered: bool = False) -> list[Seen]:
        """The markers of the same model that other processes have up, and are alive.

        Args:
            entered: only of those that have entered.
        """
        found = [seen for seen in self._all(self._server.tags()) if seen.is_alive]
        return [seen for seen in found if seen.has_entered or not entered]

    def lower(self) -> bool:
        """Take down the marker, and what else is left; gives whether nothing is left.

        A marker that says which names are half changed stays, and what they are copied from.
        """
        self._down.set()
        with self._guard, suppress(ServerError):
            if not self._marker.swaps:
                held = self._server.tags()
                for name in reversed(self.passing):
                    take_away(self._server, name, held)
                return True
        return False

    # ------------------------------------------------------------ while names are changed

    def begin(self, swaps: Sequence[Swap]) -> None:
        """Say on the server what is about to change, if this process may still change it.

        Raises:
            ServerError: another process took over, as nothing was heard of this one for too long;
                or the server can't be asked.
        """
        with self._guard:
            self._require_up()
            marker = replace(self._marker, swaps=tuple(swaps))
            try:
                raise_marker(self._server, marker)
                self._require_alone()
            except BaseException:
                with suppress(ServerError):  # nothing was changed, so there is nothing to put right
                    self._server.delete(str(marker.name))
                raise
            self._marker = marker

    def end(self, *, done: bool) -> None:
        """Say that no name is half changed any more.

        Args:
            done: all of them were changed, else none. That none was, is seen from the names: it is
                said with the next sign of life, as a server with a full disk would cut the marker.

        Raises:
            ServerError: it can't be said now; whoever comes next finds that it is so.
        """
        with self._guard:
            self._marker = replace(self._marker, swaps=())
            if done:
                raise_marker(self._server, self._marker)

    def _require_up(self) -> None:
        held = self._server.tags()
        if find_tag(held, self._marker.name) is None:
            others = [seen for seen in self._all(held) if seen.is_alive]
            raise self._lost(others)

    def _require_alone(self) -> None:
        deadline = time.monotonic() + _MOMENT_SECONDS
        while others := self.others(entered=True):
            if time.monotonic() > deadline:
                raise self._lost(others)
            time.sleep(_LOOK_SECONDS)

    def _lost(self, others: Sequence[Seen]) -> ServerError:
        by = f" and {others[0]} took over" if others else ""
        return ServerError(
            f"{self._server.url}: the marker of this {self._marker.doing} is gone{by}: "
            f"was this machine asleep? No tag of {self.model} was changed",
            hint="repeat the command: what is built and uploaded already is used again",
        )

    def _all(self, held: Sequence[TagRecord]) -> list[Seen]:
        found = find_markers(self._server, held, self.model)
        return [seen for seen in found if seen.id != self.id]

    # ------------------------------------------------------------ the thread

    def _beat(self) -> None:
        while not self._down.wait(HEARTBEAT_SECONDS):
            with self._guard:
                # While names are changed the marker must not be written: a server that dies in
                # the middle of it would leave nothing of what it says.
                if self._down.is_set() or self._marker.swaps:
                    continue
                with suppress(ServerError):  # the next one may go through
                    if find_tag(self._server.tags(), self._marker.name) is None:
                        return  # taken for dead; `begin` will find that out
                    raise_marker(self._server, self._marker)
