"""Schemas of the registry, asked for with nothing but HTTP."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

ANSWER = 10.0  # seconds


class Registry:
    """Reads subjects.

    Args:
        url: of the registry, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._open = build_opener(ProxyHandler({})).open  # what is local needs no proxy

    def schemas(self, subject: str) -> dict[int, Any]:
        """The Avro schemas of a subject by id, oldest first; none where there is no such subject."""
        at = f"/subjects/{quote(subject, safe='')}/versions"
        found = {}
        for version in self._get(at) or []:
            told = self._get(f"{at}/{version}")
            if told and told.get("schemaType", "AVRO") == "AVRO":
                found[int(told["id"])] = json.loads(told["schema"])
        return found

    def _get(self, path: str) -> Any:
        asked = Request(self._url + path, headers={"Accept": "application/json"})  # noqa: S310  the user's own URL
        try:
            with self._open(asked, timeout=ANSWER) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code == 404:
                return None
            raise
