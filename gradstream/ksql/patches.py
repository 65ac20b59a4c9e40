"""The package ksql 0.10.2, made to work: one function a fault, applied to the imported modules.

The files on disk stay as they are. Names that a script has imported before stay the same classes; what is changed are
their functions. Nothing here is done to another version.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from gradstream.errors import SqlError
from gradstream.ksql import http2, live, results, sticky, trouble
from gradstream.shell import script

SECONDS = 5.0  # to reach a broker


def apply() -> None:
    """Imports the package and cures it."""
    # hyper is broken since Python 3.10, where it is installed at all, and telnetlib is gone since 3.13. Both are lent
    # for the time of the import only, so that no other package finds our stand-ins.
    with _lent(
        hyper=_module("hyper", HTTPConnection=http2.HTTPConnection), telnetlib=_module("telnetlib")
    ):
        parts = {name: import_module(f"ksql.{name}") for name in _CURES}
    for name, cure in _CURES.items():
        cure(parts[name])
    # The README has `from ksql import FileUpload`, which the package does not export.
    import_module("ksql").FileUpload = parts["upload"].FileUpload  # type: ignore[attr-defined]


def _module(name: str, **content: object) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


@contextmanager
def _lent(**modules: ModuleType) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


# errors -------------------------------------------------------------------------------------------------


def _errors(errors: Any) -> None:
    # The message is kept in .msg; str() and tracebacks show the tuple of the arguments.
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, Exception):
            kind.__str__ = lambda self: getattr(self, "msg", "")  # type: ignore[method-assign]
    errors.KSQLError.message = property(lambda self: self.msg)
    errors.KSQLError.code = property(lambda self: self.error_code)


# builder ------------------------------------------------------------------------------------------------


def _builder(builder: Any) -> None:
    build = builder.CreateBuilder.build

    def build_with_key(
        self: Any,
        table_name: str,
        columns_type: Sequence[str] = (),
        topic: str | None = None,
        value_format: str = "JSON",
        key: str | None = None,
    ) -> Any:
        # WITH (KEY='x') was taken out of the language; a key is a mark on its column now.
        if key:
            word = "PRIMARY KEY" if self.table_type.lower() == "table" else "KEY"
            columns_type = [*_with_key(columns_type, key, word)]
        return build(self, table_name, columns_type, topic, value_format, None)

    builder.CreateBuilder.build = build_with_key


def _with_key(columns: Sequence[str], key: str, word: str) -> Iterator[str]:
    wanted = _stored(key)
    if wanted not in (names := [_stored(column.split(maxsplit=1)[0]) for column in columns]):
        raise ValueError(f"key {key!r} is none of the columns {', '.join(names)}")
    for name, column in zip(names, columns, strict=True):
        marked = column.upper().endswith(" KEY")
        yield f"{column} {word}" if name == wanted and not marked else column


def _stored(name: str) -> str:
    return name[1:-1] if name[:1] in '`"' else name.upper()


# api ----------------------------------------------------------------------------------------------------


def _api(api: Any) -> None:
    base = api.BaseAPI
    api.HTTPConnection = http2.HTTPConnection  # also where a repaired hyper was there before us
    base._validate_sql_string = staticmethod(_ended(base._validate_sql_string))
    base._raise_for_status = staticmethod(_or_empty(base._raise_for_status))
    base._request = _named_request(base._request)
    base.get_request = _named_get_request
    base.ksql = _remembering(base.ksql)
    base.query = _query_with(live.over_http1)
    base.query2 = _query_with(live.over_http2)


def _ended(validate: Callable[[str], str]) -> Callable[[str], str]:
    def validated(sql_string: str) -> str:
        # White space behind the semicolon, as any text in triple quotes has it, got a second one.
        return validate(sql_string.strip())

    return validated


def _or_empty(check: Callable[[Any, str], bool]) -> Callable[[Any, str], bool]:
    def checked(r: Any, response: str) -> bool:
        # SET and INSERT INTO … VALUES are answered by [], of which the first element was looked at: IndexError.
        return response.strip() == "[]" or check(r, response)

    return checked


def _named_request(request: Callable[..., Any]) -> Callable[..., Any]:
    def requested(
        self: Any,
        endpoint: str,
        method: str = "POST",
        sql_string: str = "",
        stream_properties: Mapping[str, object] | None = None,
        encoding: str = "utf-8",
    ) -> Any:
        # A server that is not there was a page of urllib's frames; and what SET left goes with each request.
        properties = sticky.with_properties(stream_properties)
        with trouble.named(self.url):
            return request(self, endpoint, method, sql_string, properties, encoding)

    return requested


def _named_get_request(self: Any, endpoint: str) -> Any:
    # No time-out at all, and requests' four nested errors instead of the address.
    import requests

    auth = (self.api_key, self.secret) if self.api_key or self.secret else None
    with trouble.named(self.url):
        return requests.get(endpoint, headers=self.headers, auth=auth, timeout=self.timeout)


def _remembering(ksql: Callable[..., Any]) -> Callable[..., Any]:
    def remembered(
        self: Any, ksql_string: str, stream_properties: Mapping[str, object] | None = None
    ) -> Any:
        # A SET ended with its own request and had no effect whatsoever.
        with trouble.named(self.url):
            answer = ksql(self, ksql_string, stream_properties)
        sticky.remember(ksql_string)
        return answer

    return remembered


def _query_with(lines: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    def query(
        self: Any,
        query_string: str,
        encoding: str = "utf-8",
        chunk_size: int = 128,
        stream_properties: Mapping[str, object] | None = None,
        idle_timeout: float | None = None,
    ) -> Iterator[str]:
        # Replaced as a whole: see live.py.
        text = self._validate_sql_string(query_string)
        properties = sticky.with_properties(stream_properties)
        return lines(self, text, encoding, chunk_size, properties, idle_timeout)

    return query


# client, utils, upload ----------------------------------------------------------------------------------


def _client(client: Any) -> None:
    def query(
        self: Any,
        query_string: str,
        encoding: str = "utf-8",
        chunk_size: int = 128,
        stream_properties: Mapping[str, object] | None = None,
        idle_timeout: float | None = None,
        use_http2: bool | None = None,
        return_objects: bool | None = None,
    ) -> Iterator[Any]:
        # return_objects was overlooked with use_http2.
        ask = self.sa.query2 if use_http2 else self.sa.query
        lines = ask(query_string, encoding, chunk_size, stream_properties, idle_timeout)
        with closing(lines):
            yield from results.process_query_result(lines, return_objects)

    client.KSQLAPI.query = query
    client.process_query_result = results.process_query_result


def _utils(utils: Any) -> None:
    # Header: names beyond [A-Z_], such as V1, and types with brackets were left out, so that rows got others' names.
    utils.parse_columns = results.parse_columns
    # Last line: `…]` without a line's end is no JSON; and an error in the middle of the rows was a KeyError.
    utils.process_row = results.process_row
    # Without return_objects it went on after the last line: StopIteration, thus RuntimeError.
    utils.process_query_result = results.process_query_result
    utils.get_stream_info = _get_stream_info
    utils.check_kafka_available = _check_kafka_available


def _get_stream_info(api_client: Any, stream_name: str) -> Any:
    # DESCRIBE EXTENDED x is written DESCRIBE x EXTENDED now. The old form is refused with 40001, as unknown streams
    # are, so drop_stream() took every stream for one without queries.
    refused: Any = import_module("ksql.errors").KSQLError
    try:
        return api_client.ksql(f"DESCRIBE {stream_name} EXTENDED;")[0]["sourceDescription"]
    except refused as error:
        if error.error_code == 40001:
            return None
        raise


def _check_kafka_available(bootstrap_servers: str) -> bool:
    # telnetlib is gone.
    host, _, port = bootstrap_servers.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _upload(upload: Any) -> None:
    def get_rules_list(self: Any, ksqlfile: str) -> Iterator[str]:
        # After the last statement the empty rest was refused, so that every upload ended in an error.
        text = Path(ksqlfile).read_text("utf-8")
        try:
            yield from (piece.text for piece in script.split(text))
        except SqlError:
            raise upload.InvalidQueryError(text[text.rfind(";") + 1 :].strip()) from None

    upload.FileUpload.get_rules_list = get_rules_list


_CURES: dict[str, Callable[[Any], None]] = {
    "errors": _errors,
    "builder": _builder,
    "api": _api,
    "client": _client,
    "utils": _utils,
    "upload": _upload,
}
