"""A TCP proxy in front of a server, which does what networks do: delay, cut, fall silent, lose a reply.

It runs in a thread with an event loop of its own, so plain tests and other processes can use it::

    with Proxy(server.url) as proxy:
        link = Link(proxy.url)
        proxy.drop_replies(1, b"task_submit's sha")   # executed, but the caller never hears
        proxy.partition(); proxy.heal()               # bytes wait, then flow on
        proxy.vanish()                                # half-open: connections that exist now stay silent for ever
        proxy.cut()                                   # all connections are closed
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from urllib.parse import unquote, urlsplit

CHUNK = 64 * 1024
Judge = Callable[["Line", bytes], bool]


class Line:
    """One connection through the proxy, both its halves."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers = (client, server)
        self.silent = False
        self.doomed = False  # its next reply is swallowed, then it is cut

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """See above. All methods may be called from any thread.

    Parameters:
        url: the server behind it: ``unix://PATH`` or ``redis://HOST:PORT``.
        seed: of the random choices that ``drop_rate`` makes.
    """

    def __init__(self, url: str, seed: int = 0) -> None:
        parts = urlsplit(url)
        self._path = unquote(parts.path) if parts.scheme == "unix" else None
        self._host, self._port = parts.hostname, parts.port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._listening: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._open = asyncio.Event()  # cleared while partitioned
        self._random = random.Random(seed)
        self._drops = 0
        self._match = b""
        self.port = 0
        self.delay = 0.0
        """Seconds that each chunk is held back, in each direction."""
        self.drop_rate = 0.0
        """The share of replies that are swallowed, and their connections cut."""
        self.dropped = 0
        """Replies that were swallowed."""
        self.connections = 0
        """Connections that were ever made."""

    # -- life -------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where clients find it; the same for its whole life."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._thread.start()
        self._call(self._listen)
        self._do(self._open.set)

    def stop(self) -> None:
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- faults -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close all connections; new ones are served."""
        self._do(self._cut_all)

    def vanish(self) -> None:
        """The connections that there are stay open and silent for ever; new ones are served."""

        self._do(self._silence_all)

    def partition(self) -> None:
        """Nothing gets through, in either direction, and nobody is told; until ``heal``."""
        self._do(self._open.clear)

    def heal(self) -> None:
        """What waited flows on; connections are accepted again."""
        self._do(self._open.set)
        self._call(self._listen)

    def refuse(self) -> None:
        """Close all connections and refuse new ones, until ``heal``."""
        self._call(self._deafen)
        self.cut()

    def drop_replies(self, count: int, match: bytes = b"") -> None:
        """The next ``count`` requests that contain ``match`` are executed; their replies are swallowed, and their
        connections cut."""

        self._match = match
        self._drops = count

    # -- inside -----------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, make: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(make(), self._loop).result(10)

    def _do(self, function: Callable[[], object]) -> None:
        async def in_loop() -> None:
            function()

        self._call(in_loop)

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listening.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def _cut_all(self) -> None:
        for line in list(self._lines):
            line.cut()

    def _silence_all(self) -> None:
        for line in self._lines:
            line.silent = True

    async def _stop(self) -> None:
        await self._deafen()
        self._cut_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self._path is not None:
                from_server, to_server = await asyncio.open_unix_connection(self._path)
            else:
                from_server, to_server = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        line = Line(writer, to_server)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as halves:
                halves.create_task(self._pass_on(line, reader, to_server, self._request))
                halves.create_task(self._pass_on(line, from_server, writer, self._reply))
        except* OSError:
            pass
        finally:
            self._lines.discard(line)
            line.cut()

    async def _pass_on(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge: Judge
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._open.wait()
                if line.silent:
                    continue
                if not judge(line, data):
                    break
                writer.write(data)
                await writer.drain()
        if not line.silent:  # who vanished doesn't say goodbye either
            line.cut()

    def _request(self, line: Line, data: bytes) -> bool:
        if self._drops and self._match in data:
            self._drops -= 1
            line.doomed = True
        line.doomed |= self._random.random() < self.drop_rate
        return True

    def _reply(self, line: Line, data: bytes) -> bool:
        self.dropped += line.doomed
        return not line.doomed
