"""Who may ask: the certificate for TLS, and users by name and password (HTTP's Basic authentication).

A users file has one user a line, ``NAME:$scrypt$ln=14,r=8,p=5$SALT$HASH``, as ``gradstream engine --hash-password NAME``
prints it; salt and hash are base64 without padding. Lines that are empty or begin with ``#`` count for nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gradstream.engine.server.replies import generic_error
from gradstream.engine.server.requests import RequestError
from gradstream.errors import ConfigError, UnavailableError

_NAME = re.compile(r"[^\s:#][^\s:]*")
_LINE = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_LONGEST = 1024  # characters of a name and password together
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Hashed:
    """A password as scrypt (RFC 7914) leaves it; n = 2**log_n."""

    log_n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def is_of(self, password: str) -> bool:
        return hmac.compare_digest(self.hash, self._of(password, len(self.hash)))

    def _of(self, password: str, size: int) -> bytes:
        n = 1 << self.log_n
        memory = 128 * self.r * (n + self.p) + (1 << 20)
        return hashlib.scrypt(
            password.encode(), salt=self.salt, n=n, r=self.r, p=self.p, maxmem=memory, dklen=size
        )

    @classmethod
    def new(cls, password: str) -> Hashed:
        """With a salt of its own; it takes 16 MiB and about 0.2 s to try one password."""
        salted = cls(14, 8, 5, secrets.token_bytes(16), b"")
        return cls(14, 8, 5, salted.salt, salted._of(password, 32))

    @classmethod
    def parse(cls, text: str) -> Hashed:
        """From ``$scrypt$ln=…,r=…,p=…$SALT$HASH``.

        Raises:
            ValueError: it is no such text, or would take more than 256 MiB.
        """
        found = _LINE.fullmatch(text)
        if not found:
            raise ValueError("no $scrypt$ hash")
        log_n, r, p = (int(of) for of in found.groups()[:3])
        if not (1 <= log_n <= 21 and r >= 1 and 1 <= p <= 64 and r << log_n <= 1 << 21):
            raise ValueError("ln, r or p is out of range")
        salt, hash_ = (_unpadded(of) for of in found.groups()[3:])
        if len(hash_) < 16:
            raise ValueError("the hash has fewer than 16 bytes")
        return cls(log_n, r, p, salt, hash_)

    def __str__(self) -> str:
        salt, hash_ = (base64.b64encode(of).decode().rstrip("=") for of in (self.salt, self.hash))
        return f"$scrypt$ln={self.log_n},r={self.r},p={self.p}${salt}${hash_}"


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


class Users:
    """Lets users in by their password.

    To try a password costs time and memory on purpose, so one is tried at a time, off the event loop, and who was let in
    is remembered under a key that dies with the process.

    Args:
        realm: told to those who are not let in.
    """

    def __init__(self, users: Mapping[str, Hashed], realm: str) -> None:
        self._users = dict(users)
        self._realm = realm
        self._pool = ThreadPoolExecutor(1, "passwords")
        self._secret = secrets.token_bytes(32)
        self._known: set[bytes] = set()
        self._nobody = Hashed(14, 8, 5, secrets.token_bytes(16), bytes(32))

    async def check(self, headers: Mapping[str, str]) -> None:
        """Lets a request pass.

        Raises:
            RequestError: 401.
        """
        header = headers.get("authorization", "")
        given = _name_and_password(header)
        if given is None:
            raise self._refusal()
        seal = hmac.digest(self._secret, header.encode(), "sha256")
        if seal in self._known:
            return
        name, password = given
        # An unknown name takes as long as a wrong password, and does not tell that it is unknown.
        hashed = self._users.get(name, self._nobody)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._pool, hashed.is_of, password):
            raise self._refusal()
        if len(self._known) < _REMEMBERED:
            self._known.add(seal)

    def _refusal(self) -> RequestError:
        return RequestError(
            401,
            generic_error(40100, "Unauthorized: give a user's name and password"),
            headers=(("WWW-Authenticate", f'Basic realm="{self._realm}", charset="UTF-8"'),),
        )


def _name_and_password(header: str) -> tuple[str, str] | None:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic" or len(rest) > 2 * _LONGEST:
        return None
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon and len(text) <= _LONGEST else None


def user_line(name: str, password: str) -> str:
    """A line for a users file.

    Raises:
        ConfigError: BAD_USER, a name or password that cannot be sent.
    """
    if not _NAME.fullmatch(name) or len(name) + len(password) >= _LONGEST or not password:
        raise ConfigError(
            "BAD_USER",
            f"user {name[:80]!r}: a name has no blank, colon or leading #, a password at least one character, and both "
            f"fewer than {_LONGEST}",
        )
    return f"{name}:{Hashed.new(password)}"


def read_users(path: Path) -> dict[str, Hashed]:
    """The users of a file.

    Raises:
        UnavailableError: NO_FILE; ConfigError: BAD_USERS.
    """
    found: dict[str, Hashed] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.strip().partition(":")
        try:
            found[name] = Hashed.parse(hashed)
        except ValueError as error:
            raise ConfigError(
                "BAD_USERS",
                f"{path}:{number} is no user ({error}); gradstream engine --hash-password NAME prints such a line",
            ) from None
    if not found:
        raise ConfigError("BAD_USERS", f"{path} has no user, so nobody could use the engine")
    return found


def tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/2 before HTTP/1.1.

    Args:
        certificate: PEM, the server's own first, then what leads to its root; key: PEM, without a password.

    Raises:
        UnavailableError: NO_FILE; ConfigError: BAD_CERTIFICATE.
    """
    for path in (certificate, key):
        _text(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        # A key with a password would have OpenSSL ask for it on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or error
        raise ConfigError(
            "BAD_CERTIFICATE",
            f"{certificate} and {key} are no certificate with its key in PEM, the key without a password ({why})",
        ) from None
    return context


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UnavailableError("NO_FILE", f"{path} cannot be read: {why}") from None
