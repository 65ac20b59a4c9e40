"""A server that is not there, told in one line by whichever HTTP library of the package ksql met it."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import httpx2
import requests

from gradstream.errors import UnavailableError

_LOST = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError, http.client.HTTPException)
_TIMES = (httpx2.TimeoutException, requests.exceptions.Timeout)


class ServerGoneError(UnavailableError, requests.exceptions.ConnectionError):
    """No server at the address, or no longer; also what scripts for ksql catch, requests' error and an OSError."""


@contextmanager
def named(url: str) -> Iterator[None]:
    """Has errors of the connection name the server and say what to type.

    Raises:
        ServerGoneError: KSQL_UNREACHABLE, KSQL_LOST in the middle of an answer, KSQL_TIMEOUT.
    """
    try:
        yield
    except (ServerGoneError, urllib.error.HTTPError):
        raise
    except (*_LOST, ConnectionResetError) as error:
        raise ServerGoneError(
            "KSQL_LOST",
            f"the KSQL server at {url} went away in the middle of its answer ({_why(error)}); "
            "when it runs again, ask again",
        ) from None
    except (*_TIMES, TimeoutError) as error:
        raise ServerGoneError(
            "KSQL_TIMEOUT",
            f"{url} did not answer in time ({_why(error)}); try again, or give KSQLAPI a longer timeout=",
        ) from None
    except (
        httpx2.TransportError,
        requests.exceptions.ConnectionError,
        urllib.error.URLError,
        ConnectionError,
    ) as error:
        raise ServerGoneError(
            "KSQL_UNREACHABLE",
            f"no KSQL server at {url} ({_why(error)}); start one with 'gradstream up' or 'docker compose up', "
            "or correct the address",
        ) from None


def ksql_error(message: object, code: int | None = None, stack: object = None) -> Exception:
    """The package's own error."""
    kind: Any = import_module("ksql.errors").KSQLError
    made: Exception = kind(message, code, stack)
    return made


def _why(error: BaseException) -> str:
    """The reason at the bottom, which requests and urllib wrap in the names of their own classes."""
    inner = error
    while inner.__context__ is not None:
        inner = inner.__context__
    return getattr(inner, "strerror", None) or str(error) or type(error).__name__
