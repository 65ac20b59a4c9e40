"""``gradstream engine``: the KSQL server as a process."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradstream import __version__, command
from gradstream.config import Services
from gradstream.engine.rows.json_text import to_json
from gradstream.engine.server.http import LOOPBACK, Listener, Reply, Request, error_reply, refuse
from gradstream.engine.server.replies import health, server_info
from gradstream.errors import ConfigError, GradstreamError, RetryError, UsageError

if TYPE_CHECKING:
    from gradstream.engine.server.rest import Rest
    from gradstream.engine.server.runtime import Engine

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


def main(argv: Sequence[str]) -> int:
    parser = command.parser("engine", "Run the KSQL engine; it speaks ksqlDB's REST API.")
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8088",
        metavar="HOST:PORT",
        help="loopback only, unless --allow-host; port 0: any",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        type=_name,
        metavar="NAME",
        help="a name, besides those of loopback, under which clients may reach the engine, and leave to listen on "
        "other addresses; it has no authentication, so only in a network of your own, such as compose's",
    )
    parser.add_argument(
        "--service-id",
        default="default_",
        metavar="ID",
        help="engines with different ids on one Kafka share nothing (default: %(default)s)",
    )
    parser.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a server property, such as ksql.logging.processing.rows.include=true",
    )
    command.add_services(parser)
    options = parser.parse_args(list(argv))
    names = frozenset(options.allow_host)
    host, port = listen_address(options.listen, names)
    properties = dict(_property(text) for text in options.property)
    server = Server(command.services(options), options.service_id, properties, host, port, names)
    return asyncio.run(server.run())


def listen_address(text: str, allowed: frozenset[str] = frozenset()) -> tuple[str, int]:
    """Host and port to listen on.

    Args:
        allowed: names that clients may use besides those of loopback.

    Raises:
        UsageError: not HOST:PORT; ConfigError: not a loopback address, and no other name is allowed.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or int(port) > 65535:
        raise UsageError("USAGE", f"--listen {text!r} is not HOST:PORT with a port up to 65535")
    if host not in LOOPBACK and not allowed:
        raise ConfigError(
            "NOT_LOOPBACK",
            f"--listen {host}: the engine has no authentication yet, so it listens on 127.0.0.1 only; put a proxy with "
            "TLS and authentication in front of it, or, in a network of your own, name it: --allow-host NAME",
        )
    return host, int(port)


def _name(text: str) -> str:
    """A host's name or address as a Host header has it, without the port."""
    name = text.lower().removeprefix("[").removesuffix("]")
    if not _NAME.fullmatch(name):
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError:
            raise UsageError(
                "USAGE",
                f"--allow-host {text!r} is no name of a host; give one, without scheme and port",
            ) from None
    return name


def _property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("USAGE", f"--property {text!r} is not NAME=VALUE")
    return name, value


class Server:
    """Engine and listener as one process, until a signal or a fatal error."""

    def __init__(
        self,
        services: Services,
        service_id: str,
        properties: dict[str, str],
        host: str,
        port: int,
        names: frozenset[str] = frozenset(),
    ) -> None:
        self.services, self.service_id, self.properties = services, service_id, properties
        self.failure: GradstreamError | None = None
        self.engine: Engine | None = None
        self.rest: Rest | None = None
        self.listener = Listener(self._answer_early, host, port, names=LOOPBACK | names)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    async def run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._ended.set)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        address = await self._listen()
        # A thread that dies with the process: a broker that hangs must not hold up Ctrl-C.
        threading.Thread(target=self._start, args=(address,), daemon=True).start()
        await self._ended.wait()
        await self.listener.stop()
        if self.rest and self.engine:
            self.rest.close()
            await self._loop.run_in_executor(None, self.engine.stop)
        if self.failure:
            raise self.failure
        return 0

    async def _listen(self) -> str:
        listener = self.listener
        try:
            port = await listener.start()
        except OSError as error:
            raise ConfigError(
                "PORT_IN_USE",
                f"cannot listen on {listener.host}:{listener.port} ({error.strerror}); "
                "give another with --listen HOST:PORT",
            ) from None
        return f"{listener.host}:{port}"

    async def _answer_early(self, request: Request) -> Reply:
        """What can be said while the engine is loaded."""
        state = "INITIALIZING"
        if request.path == "/info":
            return Reply(body=to_json(server_info(__version__, "", self.service_id, state)))
        if request.path == "/healthcheck":
            return Reply(body=to_json(health({"metastore": False}, state)))
        return error_reply(refuse(50302, "KSQL is not yet ready to serve requests."))

    def _start(self, address: str) -> None:
        try:
            # Compiled codecs and the Kafka client take a second to load, and the port answers meanwhile.
            with command.loading():
                from gradstream.engine.server.rest import Rest
                from gradstream.engine.server.runtime import Engine

            engine = Engine(self.services, self.service_id, self.properties, on_fatal=self._fatal)
            self.engine, self.rest = engine, Rest(engine)
            self.listener.handler = self.rest
            engine.start(address)
        except GradstreamError as error:
            self._end_with(error)
        except Exception as error:  # noqa: BLE001  shown as one line, with a traceback on --debug
            self._end_with(GradstreamError("BUG", f"{type(error).__name__}: {error}"))
        else:
            where = f"http://{self.listener.host}:{self.listener.port}"
            sys.stderr.write(f"engine ready at {where}, service id {self.service_id}\n")
            sys.stderr.flush()

    def _end_with(self, error: GradstreamError) -> None:
        self.failure = error
        if self._loop and self._ended:
            self._loop.call_soon_threadsafe(self._ended.set)

    def _fatal(self, why: str) -> None:
        """From any thread: another engine has taken over, so this one must go."""
        self._end_with(RetryError("FENCED", why))


if __name__ == "__main__":
    command.run(lambda argv: main(argv))
