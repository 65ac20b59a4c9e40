"""Schemas by id and by subject, from any registry that speaks Confluent's API.

Spoken over httpx2 directly rather than through confluent-kafka's client: that one takes half a second to import
(it brings OAuth and JOSE), retries without an overall deadline, and tells "is down" from "does not know the id" only
by the text of its errors. Here every question has one deadline, and only the registry's own 404 counts as unknown:
neither an outage nor a wrong URL may send good records to the dead letters.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from gradstream.errors import ConfigError, DataError, UnavailableError

TIMEOUT = 8.0  # seconds for one question, retries included
ATTEMPTS = 3
UNKNOWN_FOR = 5.0  # seconds for which "unknown" is believed: a replica may learn of a schema late
MOST_UNKNOWN = 10_000
LARGEST_ANSWER = 16 * 2**20
DEEPEST_REFERENCE = 16
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
# The registry's own words for "there is no such subject, version, schema"; any other 404 is not a registry's.
NO_SUCH = frozenset({40401, 40402, 40403})


@dataclass(frozen=True, slots=True)
class Schema:
    """One registered schema.

    Attributes:
        id: what stands in front of every value written with it.
        type: AVRO, JSON or PROTOBUF.
        text: the schema as it was registered.
        references: texts of the schemas whose names this one uses, those that others need first.
    """

    id: int
    type: str
    text: str
    references: tuple[str, ...] = ()


class UnknownSchema(DataError):  # noqa: N818  named for what happened
    """No schema, subject or version of that name or number."""


class Registry:
    """A schema registry; answers are kept, since a schema never changes under its id.

    Args:
        url: base URL; a user name and password in it are sent as basic authentication and never shown.

    Every method may raise UnavailableError when the registry cannot be asked (within 8 s), ConfigError when it
    refuses the credentials.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = httpx2.URL(url.rstrip("/"))
        except (httpx2.InvalidURL, ValueError, TypeError):
            raise _bad_url() from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise _bad_url()
        self._auth = (parsed.username, parsed.password) if parsed.userinfo else None
        self.url = str(parsed.copy_with(userinfo=b""))
        self._client: httpx2.Client | None = None
        self._schemas: dict[int, Schema] = {}
        self._registered: dict[tuple[str, str], int] = {}
        self._members: set[tuple[str, int]] = set()
        self._unknown: dict[tuple[str | None, int], float] = {}

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def check(self, timeout: float = TIMEOUT) -> None:
        """Return if the registry answers within ``timeout`` seconds.

        Raises:
            UnavailableError: REGISTRY_UNREACHABLE, or REGISTRY_ERROR when what answers is no registry.
        """
        self._ask("GET", "/schemas/types", timeout=timeout)

    def schema(self, schema_id: int) -> Schema:
        """The schema of that id, its references resolved.

        Raises:
            UnknownSchema: UNKNOWN_SCHEMA_ID.
        """
        if (found := self._schemas.get(schema_id)) is not None:
            return found
        if self._recently_unknown(None, schema_id):
            raise UnknownSchema("UNKNOWN_SCHEMA_ID", f"{self.url} has no schema {schema_id}")
        try:
            answer = _object(self._ask("GET", f"/schemas/ids/{schema_id}"), "schema")
        except UnknownSchema:
            self._note_unknown(None, schema_id)
            raise
        kind = str(answer.get("schemaType") or "AVRO")
        references = self._references(answer, DEEPEST_REFERENCE)
        found = Schema(schema_id, kind, str(answer["schema"]), tuple(dict.fromkeys(references)))
        self._schemas[schema_id] = found
        return found

    def remember(self, schema: Schema) -> None:
        """Know a schema without asking, as when it came with the program."""
        self._schemas[schema.id] = schema

    def register(self, subject: str, text: str) -> int:
        """The id of an Avro schema under a subject, as a new version unless it is one already.

        Raises:
            DataError: INCOMPATIBLE_SCHEMA with the registry's reason, or INVALID_SCHEMA.
        """
        if (known := self._registered.get((subject, text))) is not None:
            return known
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = _object(self._ask("POST", path, {"schema": text}), "id")
        schema_id = int(answer["id"])
        self._registered[subject, text] = schema_id
        self._members.add((subject, schema_id))
        return schema_id

    def latest(self, subject: str) -> tuple[int, int, str]:
        """(id, version, text) of a subject's newest schema.

        Raises:
            UnknownSchema: UNKNOWN_SUBJECT.
        """
        path = f"/subjects/{quote(subject, safe='')}/versions/latest"
        answer = _object(self._ask("GET", path), "id", "version", "schema")
        return int(answer["id"]), int(answer["version"]), str(answer["schema"])

    def subjects(self) -> list[str]:
        """All subjects, sorted."""
        answer = self._ask("GET", "/subjects")
        return sorted(map(str, answer)) if isinstance(answer, list) else []

    def has(self, subject: str, schema_id: int) -> bool:
        """Whether the schema is one of the subject's versions; a no is asked again after some seconds."""
        if (subject, schema_id) in self._members:
            return True
        if self._recently_unknown(subject, schema_id):
            return False
        try:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}/versions")
        except UnknownSchema:
            answer = []
        # Other JSON says nothing about the schema, so it must not make good records bad.
        if not isinstance(answer, list):
            raise _nonsense("list of subjects and versions")
        for place in answer:
            self._members.add((str(_object(place, "subject")["subject"]), schema_id))
        if (subject, schema_id) in self._members:
            return True
        self._note_unknown(subject, schema_id)
        return False

    def _note_unknown(self, subject: str | None, schema_id: int) -> None:
        if len(self._unknown) >= MOST_UNKNOWN:  # noise on a topic must not fill the memory
            self._unknown.clear()
        self._unknown[subject, schema_id] = time.monotonic()

    def _recently_unknown(self, subject: str | None, schema_id: int) -> bool:
        asked = self._unknown.get((subject, schema_id))
        return asked is not None and time.monotonic() - asked < UNKNOWN_FOR

    def _references(self, answer: dict[str, Any], depth: int) -> list[str]:
        """Texts that a schema refers to, depth first."""
        texts: list[str] = []
        for reference in answer.get("references") or ():
            if depth == 0:
                raise DataError("TOO_DEEP", "schema references are nested too deeply or in a ring")
            subject, version = quote(str(reference["subject"]), safe=""), int(reference["version"])
            found = _object(self._ask("GET", f"/subjects/{subject}/versions/{version}"), "schema")
            texts += [*self._references(found, depth - 1), str(found["schema"])]
        return texts

    def _ask(
        self, method: str, path: str, body: object = None, *, timeout: float = TIMEOUT
    ) -> object:
        """One question, asked again after a broken connection or a server's error, within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.1
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, answer = self._send(method, path, body, deadline)
            except (httpx2.TransportError, TimeoutError) as error:
                failure = self._unreachable(error)
            else:
                if status < 500 and status != 429:
                    return self._judged(method, path, status, answer)
                failure = self._broken(method, path, f"status {status}", answer)
            if attempt == ATTEMPTS or deadline - time.monotonic() < 2 * pause:
                break
            time.sleep(pause)
            pause *= 4
        raise failure

    def _send(self, method: str, path: str, body: object, deadline: float) -> tuple[int, bytes]:
        """Status and body; each single wait takes at most half of what is left, so that all fit."""
        if self._client is None:
            headers = {"Accept": f"{CONTENT_TYPE}, application/json", "Content-Type": CONTENT_TYPE}
            self._client = httpx2.Client(auth=self._auth, headers=headers)
        content = None if body is None else json.dumps(body).encode()
        wait = max((deadline - time.monotonic()) / 2, 0.05)
        with self._client.stream(
            method, self.url + path, content=content, timeout=wait
        ) as response:
            parts: list[bytes] = []
            for part in response.iter_bytes():
                parts.append(part)
                if time.monotonic() > deadline:
                    raise TimeoutError("answers too slowly")
                if sum(map(len, parts)) > LARGEST_ANSWER:
                    break  # cut, so it will not be JSON
            return response.status_code, b"".join(parts)

    def _judged(self, method: str, path: str, status: int, body: bytes) -> object:
        """The answer of a question that the registry understood, or the error that its status means."""
        if status in (401, 403):
            raise ConfigError(
                "REGISTRY_DENIED",
                f"{self.url} answered {status}; give a user name and password in the URL's "
                "http://user:password@host form, through GRADSTREAM_SCHEMA_REGISTRY_URL",
            )
        try:
            answer: object = json.loads(body)
        except ValueError:
            raise self._broken(method, path, f"status {status}, not JSON", b"") from None
        if 200 <= status < 300:
            return answer
        said = answer.get("message") if isinstance(answer, dict) else None
        code = answer.get("error_code") if isinstance(answer, dict) else None
        if status == 404 and code in NO_SUCH:
            word = "UNKNOWN_SCHEMA_ID" if path.startswith("/schemas/ids/") else "UNKNOWN_SUBJECT"
            raise UnknownSchema(word, f"{said or path} (registry {self.url})")
        if status == 409:
            raise DataError(
                "INCOMPATIBLE_SCHEMA",
                f"{path.split('/')[2]}: {said or body.decode(errors='replace')[:200]}",
            )
        if status == 422 and method == "POST":
            raise DataError(
                "INVALID_SCHEMA",
                f"{path.split('/')[2]}: {said or body.decode(errors='replace')[:200]}",
            )
        raise self._broken(method, path, f"status {status}", body)

    def _unreachable(self, error: Exception) -> UnavailableError:
        why = str(error) or type(error).__name__
        return UnavailableError(
            "REGISTRY_UNREACHABLE",
            f"no answer from the schema registry at {self.url} ({why}); start it with `gradstream up` "
            "or give its address with --schema-registry-url",
        )

    def _broken(self, method: str, path: str, what: str, body: bytes) -> UnavailableError:
        said = f": {body[:200].decode(errors='replace')}" if body else ""
        return UnavailableError(
            "REGISTRY_ERROR",
            f"{self.url} answered {method} {path} with {what}{said}; check that the URL is a schema "
            "registry's base, with its path",
        )


def _object(answer: object, *keys: str) -> dict[str, Any]:
    """A JSON object with these keys, as every answer about one schema is."""
    if not isinstance(answer, dict) or any(key not in answer for key in keys):
        raise _nonsense(f"object with {' and '.join(keys)}")
    return answer


def _nonsense(expected: str) -> UnavailableError:
    return UnavailableError(
        "REGISTRY_ERROR", f"the schema registry's answer is no {expected}; check its URL"
    )


def _bad_url() -> ConfigError:
    # The text itself is not repeated: it may hold a password.
    return ConfigError(
        "BAD_REGISTRY_URL", "the schema registry's URL is not of the form http://host:port[/path]"
    )
