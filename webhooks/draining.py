"""The end of the web process, and of nobody's request: what was asked before it ends is answered.

uvicorn alone closes its socket with the connections that wait in it, and every connection whose request is still on its
way: an idle one that is used again at this moment, and a new one that has not been read.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn

from webhooks.connections import BoundedProtocol

FIRST_INHERITED = 3
"""The file descriptor of the first socket that systemd hands over."""
ACCEPTED_MAX = 10_000

log = structlog.get_logger()


def inherited_sockets() -> list[socket.socket]:
    """The listening sockets that systemd, or whoever started this process, has opened for it: LISTEN_FDS and
    LISTEN_PID, as sd_listen_fds(3) has them. They outlive the process: a connection waits in them for the next one.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=FIRST_INHERITED + number) for number in range(count)]


class DrainingServer(uvicorn.Server):
    """A server that on SIGTERM answers everything that has reached it, each with `Connection: close`.

    Idle connections are closed after the time that they have in any case (5 s): proxies that keep to docs/proxy.md have
    closed them before. On SIGINT, which somebody types, they are closed at once. `at_end` is called when all is
    answered, since uvicorn then ends the process by the signal that came: nothing after `start` is reached.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: type[BoundedProtocol],
        *,
        sockets: list[socket.socket],
        at_end: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._sockets = sockets
        self._at_end = at_end
        self._patient = True

    def start(self) -> None:
        """Serve until a signal comes."""
        for each in self._sockets:
            log.info("listening on an inherited socket", address=str(each.getsockname()))
        self.run(sockets=self._sockets or None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As of uvicorn."""
        self._patient = sig != signal.SIGINT
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As of uvicorn."""
        if self._patient:
            if not self._sockets:
                await self._accept_the_last()
            self._protocol.of_server.draining = True
        await super().shutdown(sockets)
        self._at_end()

    async def _accept_the_last(self) -> None:
        """Close our own sockets, after accepting the connections that wait in them: closing would reset those."""
        listening = [
            socket.socket(fileno=os.dup(each.fileno())) for server in self.servers for each in server.sockets
        ]
        for server in self.servers:
            server.close()
        accepted: list[socket.socket] = []
        for each in listening:
            each.setblocking(False)
            while len(accepted) < ACCEPTED_MAX:
                try:
                    accepted.append(each.accept()[0])
                except OSError:
                    break
            each.close()
        loop = asyncio.get_running_loop()
        for new in accepted:
            new.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._connection, new)

    def _connection(self) -> BoundedProtocol:
        return self._protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
