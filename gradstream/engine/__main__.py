"""``gradstream engine``: the KSQL server as a process."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import ipaddress
import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from gradstream import __version__, command
from gradstream.config import Services
from gradstream.engine.rows.json_text import to_json
from gradstream.engine.server.http import LOOPBACK, Listener
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.replies import health, server_info
from gradstream.engine.server.requests import Handler, Reply, Request, error_reply, refuse
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
        help="port 0: any; another host than loopback's takes TLS and users, or --insecure-listen",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        type=_name,
        metavar="NAME",
        help="a name, besides those of loopback, under which clients may reach the engine",
    )
    guard = parser.add_argument_group("TLS and users")
    guard.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    guard.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    guard.add_argument(
        "--users",
        type=Path,
        metavar="FILE",
        help="who may use the engine: lines that --hash-password prints",
    )
    guard.add_argument(
        "--hash-password",
        metavar="NAME",
        help="ask for a password (or read a line of standard input), print NAME's line for --users, and end",
    )
    guard.add_argument(
        "--insecure-listen",
        action="store_true",
        help="leave to listen beyond loopback without TLS or users: in a network of your own only, such as compose's",
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
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"what a client may take: {', '.join(of.name for of in fields(Limits))}",
    )
    command.add_services(parser)
    options = parser.parse_args(list(argv))
    if options.hash_password is not None:
        return _hash_password(options.hash_password)
    host, port = listen_address(options.listen)
    limits = Limits().with_(options.limit)
    listener = Listener(
        answer_early(options.service_id),
        host,
        port,
        limits,
        names=LOOPBACK | frozenset(options.allow_host),
    )
    _guard(listener, options)
    properties = dict(_property(text) for text in options.property)
    server = Server(command.services(options), options.service_id, properties, listener)
    # Numba would load it, 15 MiB, to have linear algebra in compiled code; the engine's has none.
    with command.without("scipy"):
        return asyncio.run(server.run())


def _hash_password(name: str) -> int:
    from gradstream.engine.server.access import user_line

    if sys.stdin.isatty():
        import getpass

        password = getpass.getpass()
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    sys.stdout.write(f"{user_line(name, password)}\n")
    return 0


def _guard(listener: Listener, options: argparse.Namespace) -> None:
    """Gives the listener its TLS and users.

    Raises:
        UsageError: a certificate without a key, or a key without one.
        ConfigError: NOT_LOOPBACK, or what access.py raises.
    """
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("USAGE", "--tls-cert and --tls-key go together; give both")
    if options.tls_cert or options.users:
        from gradstream.engine.server import access

        if options.tls_cert:
            listener.tls = access.tls(options.tls_cert, options.tls_key)
        if options.users:
            listener.users = access.Users(access.read_users(options.users), options.service_id)
    guarded = listener.tls is not None and listener.users is not None
    if not (listener.host in LOOPBACK or guarded or options.insecure_listen):
        raise ConfigError(
            "NOT_LOOPBACK",
            f"--listen {listener.host}: beyond loopback the engine asks for TLS and users: give --tls-cert, --tls-key and "
            "--users; or, in a network of your own that nobody else reaches, --insecure-listen",
        )


def listen_address(text: str) -> tuple[str, int]:
    """Host and port to listen on.

    Raises:
        UsageError: not HOST:PORT.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or int(port) > 65535:
        raise UsageError("USAGE", f"--listen {text!r} is not HOST:PORT with a port up to 65535")
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


def answer_early(service_id: str) -> Handler:
    """What can be said while the engine is loaded."""
    state = "INITIALIZING"

    async def answer(request: Request) -> Reply:
        if request.path == "/info":
            return Reply(body=to_json(server_info(__version__, "", service_id, state)))
        if request.path == "/healthcheck":
            return Reply(body=to_json(health({"metastore": False}, state)))
        return error_reply(refuse(50302, "KSQL is not yet ready to serve requests."))

    return answer


class Server:
    """Engine and listener as one process, until a signal or a fatal error."""

    def __init__(
        self,
        services: Services,
        service_id: str,
        properties: dict[str, str],
        listener: Listener,
    ) -> None:
        self.services, self.service_id, self.properties = services, service_id, properties
        self.listener = listener
        self.failure: GradstreamError | None = None
        self.engine: Engine | None = None
        self.rest: Rest | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    async def run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._ended.set)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        await self._listen()
        # A thread that dies with the process: a broker that hangs must not hold up Ctrl-C.
        threading.Thread(target=self._start, daemon=True).start()
        await self._ended.wait()
        await self.listener.stop()
        if self.rest and self.engine:
            self.rest.close()
            await self._loop.run_in_executor(None, self.engine.stop)
        if self.failure:
            raise self.failure
        return 0

    async def _listen(self) -> None:
        listener = self.listener
        try:
            await listener.start()
        except OSError as error:
            raise ConfigError(
                "PORT_IN_USE",
                f"cannot listen on {listener.host}:{listener.port} ({error.strerror}); "
                "give another with --listen HOST:PORT",
            ) from None

    def _start(self) -> None:
        try:
            # Compiled codecs and the Kafka client take a second to load, and the port answers meanwhile.
            with command.loading():
                from gradstream.engine.server import quiet
                from gradstream.engine.server.rest import Rest
                from gradstream.engine.server.runtime import Engine

            limits = self.listener.limits
            engine = Engine(
                self.services,
                self.service_id,
                self.properties,
                on_fatal=self._fatal,
                limits=limits,
            )
            self.engine, self.rest = engine, Rest(engine, limits)
            self.listener.handler = self.rest
            engine.start(self.listener.url)
            quiet.watch()
        except GradstreamError as error:
            self._end_with(error)
        except Exception as error:  # noqa: BLE001  shown as one line, with a traceback on --debug
            self._end_with(GradstreamError("BUG", f"{type(error).__name__}: {error}"))
        else:
            where, who = self.listener.url, self.service_id
            sys.stderr.write(f"engine ready at {where}, service id {who}\n")
            sys.stderr.flush()

    def _end_with(self, error: GradstreamError) -> None:
        self.failure = error
        if self._loop and self._ended:
            self._loop.call_soon_threadsafe(self._ended.set)

    def _fatal(self, why: str) -> None:
        """From any thread: another engine has taken over, so this one must go."""
        self._end_with(RetryError("FENCED", why))


if __name__ == "__main__":
    faulthandler.enable()  # native code that crashes is to say where, in the log
    command.run(lambda argv: main(argv))
