"""Parts of URLs as java.net.URI sees them."""

from __future__ import annotations

import re
import urllib.parse

from gradstream.engine.language.functions.registry import scalar

_URI = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?\Z",
    re.DOTALL,
)
_ILLEGAL = re.compile(r"[\x00-\x20\x7f<>\"{}|\\^`]|%(?![0-9A-Fa-f]{2})")


def _parts(url: str) -> dict[str, str | None]:
    match = _URI.match(url)
    if match is None or _ILLEGAL.search(url):
        raise ValueError(f"URL input has invalid syntax: {url}")
    return match.groupdict()


def _decoded(text: str | None) -> str | None:
    return None if text is None else urllib.parse.unquote(text)


def _host_port(url: str) -> tuple[str | None, int | None]:
    authority = _parts(url)["authority"]
    if not authority:
        return None, None
    host, colon, port = authority.rpartition("@")[2].rpartition(":")
    if not colon or not re.fullmatch(r"\d*", port):
        host, port = authority.rpartition("@")[2], ""
    return host or None, int(port) if port else None


@scalar("URL_EXTRACT_FRAGMENT", "STRING -> STRING", category="URL")
def url_extract_fragment(url: str) -> str | None:
    """Returns what follows the #."""
    return _decoded(_parts(url)["fragment"])


@scalar("URL_EXTRACT_HOST", "STRING -> STRING", category="URL")
def url_extract_host(url: str) -> str | None:
    """Returns the host."""
    return _host_port(url)[0]


@scalar("URL_EXTRACT_PATH", "STRING -> STRING", category="URL")
def url_extract_path(url: str) -> str | None:
    """Returns the path."""
    return _decoded(_parts(url)["path"])


@scalar("URL_EXTRACT_PORT", "STRING -> INTEGER", category="URL")
def url_extract_port(url: str) -> int | None:
    """Returns the port."""
    return _host_port(url)[1]


@scalar("URL_EXTRACT_PROTOCOL", "STRING -> STRING", category="URL")
def url_extract_protocol(url: str) -> str | None:
    """Returns the scheme."""
    return _parts(url)["scheme"]


@scalar("URL_EXTRACT_QUERY", "STRING -> STRING", category="URL")
def url_extract_query(url: str) -> str | None:
    """Returns what stands between ? and #."""
    return _decoded(_parts(url)["query"])


@scalar("URL_EXTRACT_PARAMETER", "STRING, STRING -> STRING", category="URL")
def url_extract_parameter(url: str, name: str) -> str | None:
    """Returns the value of a parameter of the query."""
    for pair in (_parts(url)["query"] or "").split("&"):
        key, _, value = pair.partition("=")
        if urllib.parse.unquote(key) == name:
            return urllib.parse.unquote(value)
    return None


@scalar("URL_ENCODE_PARAM", "STRING -> STRING", category="URL")
def url_encode_param(text: str) -> str:
    """Writes a text so that it can stand in a URL's query."""
    return urllib.parse.quote_plus(text, safe="*").replace("~", "%7E")


@scalar("URL_DECODE_PARAM", "STRING -> STRING", category="URL")
def url_decode_param(text: str) -> str:
    """Reads what URL_ENCODE_PARAM wrote."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"URL input has invalid syntax: {text}")
    return urllib.parse.unquote_plus(text)
