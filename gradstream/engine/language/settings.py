"""The WITH clause: which settings there are, what they mean, which contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gradstream.engine.catalog import Format, WindowedKey
from gradstream.engine.language import tree
from gradstream.engine.language.analyze import nearest
from gradstream.errors import SqlError

FORMATS = ("AVRO", "DELIMITED", "JSON", "KAFKA", "NONE")
REFUSED_FORMATS = ("PROTOBUF", "PROTOBUF_NOSR", "JSON_SR")
_TEXTS = (
    "KAFKA_TOPIC",
    "FORMAT",
    "KEY_FORMAT",
    "VALUE_FORMAT",
    "TIMESTAMP",
    "TIMESTAMP_FORMAT",
    "KEY_DELIMITER",
    "VALUE_DELIMITER",
    "KEY_SCHEMA_FULL_NAME",
    "VALUE_SCHEMA_FULL_NAME",
    "VALUE_AVRO_SCHEMA_FULL_NAME",
    "WINDOW_TYPE",
    "WINDOW_SIZE",
    "CLEANUP_POLICY",
    "SOURCED_BY_CONNECTOR",
)
_NUMBERS = ("PARTITIONS", "REPLICAS", "RETENTION_MS", "KEY_SCHEMA_ID", "VALUE_SCHEMA_ID")
_FLAGS = ("WRAP_SINGLE_VALUE",)
_DELIMITERS = {"TAB": "\t", "SPACE": " "}


@dataclass(frozen=True, slots=True)
class Settings:
    """A WITH clause, read and checked for itself; what is absent is None."""

    topic: str | None = None
    key_format: str | None = None
    value_format: str | None = None
    partitions: int | None = None
    replicas: int | None = None
    retention_ms: int | None = None
    timestamp: str | None = None
    timestamp_format: str | None = None
    key_delimiter: str | None = None
    value_delimiter: str | None = None
    key_full_name: str | None = None
    value_full_name: str | None = None
    key_schema_id: int | None = None
    value_schema_id: int | None = None
    wrap_single: bool | None = None
    window_type: str | None = None
    window_size: str | None = None


def _bad(message: str) -> SqlError:
    return SqlError("BAD_SETTING", message)


def read_settings(given: Mapping[str, tree.Setting]) -> Settings:
    """
    Raises:
        SqlError: BAD_SETTING or UNSUPPORTED.
    """
    unknown = [name for name in given if name not in (*_TEXTS, *_NUMBERS, *_FLAGS)]
    if unknown:
        close = nearest(unknown[0], (*_TEXTS, *_NUMBERS, *_FLAGS))
        raise _bad(
            f"Failed to prepare statement: Invalid config variable(s) in the WITH clause: {','.join(unknown)}.{close}"
        )
    texts = {name: _text(given[name], name) for name in _TEXTS if name in given}
    numbers = {name: _number(given[name], name) for name in _NUMBERS if name in given}
    both = texts.get("FORMAT")
    for part in ("KEY", "VALUE"):
        if both is not None and f"{part}_FORMAT" in texts:
            raise _bad(
                f"Cannot supply both '{part}_FORMAT' and 'FORMAT' properties, as 'FORMAT' sets both key and value "
                "formats. Either use just 'FORMAT', or use 'KEY_FORMAT' and 'VALUE_FORMAT'."
            )
    full_name = texts.get("VALUE_SCHEMA_FULL_NAME", texts.get("VALUE_AVRO_SCHEMA_FULL_NAME"))
    return Settings(
        topic=texts.get("KAFKA_TOPIC"),
        key_format=_format(texts.get("KEY_FORMAT", both)),
        value_format=_format(texts.get("VALUE_FORMAT", both)),
        partitions=numbers.get("PARTITIONS"),
        replicas=numbers.get("REPLICAS"),
        retention_ms=numbers.get("RETENTION_MS"),
        timestamp=texts.get("TIMESTAMP"),
        timestamp_format=texts.get("TIMESTAMP_FORMAT"),
        key_delimiter=_delimiter(texts, "KEY_DELIMITER"),
        value_delimiter=_delimiter(texts, "VALUE_DELIMITER"),
        key_full_name=texts.get("KEY_SCHEMA_FULL_NAME"),
        value_full_name=full_name,
        key_schema_id=numbers.get("KEY_SCHEMA_ID"),
        value_schema_id=numbers.get("VALUE_SCHEMA_ID"),
        wrap_single=_flag(given["WRAP_SINGLE_VALUE"]) if "WRAP_SINGLE_VALUE" in given else None,
        window_type=texts.get("WINDOW_TYPE"),
        window_size=texts.get("WINDOW_SIZE"),
    )


def read_window(kind: str | None, size: str | None) -> WindowedKey | None:
    """The windows that WINDOW_TYPE and WINDOW_SIZE tell of.

    Raises:
        SqlError: BAD_SETTING.
    """
    if kind is None:
        if size is None:
            return None
        raise _bad("'WINDOW_SIZE' should not be set where there is no 'WINDOW_TYPE'.")
    match kind.strip().upper():
        case "SESSION":
            if size is not None:
                raise _bad("'WINDOW_SIZE' should not be set for SESSION windows.")
            return WindowedKey("SESSION")
        case "TUMBLING" | "HOPPING" as known:
            if size is None:
                raise _bad(
                    f"{known} windows require 'WINDOW_SIZE' to be provided in the WITH clause. "
                    "For example: 'WINDOW_SIZE'='10 SECONDS'"
                )
            return WindowedKey("TUMBLING" if known == "TUMBLING" else "HOPPING", _duration(size))
    raise _bad(
        f"Configuration WINDOW_TYPE is invalid: {kind}. Value must be one of: SESSION, TUMBLING, HOPPING"
    )


_UNITS = {"MILLISECOND": 1, "SECOND": 1000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}


def _duration(text: str) -> int:
    """Milliseconds of a text such as ``30 seconds``."""
    wrong = f"Configuration WINDOW_SIZE is invalid: Invalid duration: '{text}'. "
    words = text.split()
    if len(words) != 2:
        raise _bad(wrong + "Expected format: '<number> <unit>'")
    number, unit = words[0], words[1].upper()
    scale = _UNITS.get(unit.removesuffix("S"))
    if scale is None:
        raise _bad(wrong + f"Unknown time unit: '{unit}'")
    if not number.isdecimal():
        raise _bad(wrong + f"Invalid number: '{number}'")
    return int(number) * scale


def _text(value: tree.Setting, name: str) -> str:
    if value.kind != "STRING":
        raise _bad(
            f"Failed to prepare statement: Invalid value {value.value} for configuration {name}: "
            "Expected value to be a string"
        )
    return str(value.value)


def _number(value: tree.Setting, name: str) -> int:
    try:
        return int(str(value.value))
    except ValueError:
        raise _bad(
            f"Failed to prepare statement: Invalid value {value.value} for configuration {name}: Not a number of "
            "type INT"
        ) from None


def _flag(value: tree.Setting) -> bool:
    word = str(value.value).lower()
    if word not in ("true", "false"):
        raise _bad(
            f"Failed to prepare statement: Invalid value {value.value} for configuration WRAP_SINGLE_VALUE: "
            "Expected value to be either true or false"
        )
    return word == "true"


def _format(name: str | None) -> str | None:
    if name is None:
        return None
    upper = name.upper()
    if upper in REFUSED_FORMATS:
        raise SqlError("UNSUPPORTED", f"the format {upper} is not supported; use AVRO or JSON")
    if upper not in FORMATS:
        raise _bad(f"Unknown format: {upper}")
    return upper


def _delimiter(texts: Mapping[str, str], name: str) -> str | None:
    text = texts.get(name)
    if text is None:
        return None
    example = "\nExample valid value: ';'"
    start = f"Failed to prepare statement: Configuration {name} is invalid: "
    if text in _DELIMITERS:
        return _DELIMITERS[text]
    if not text.strip():
        raise _bad(
            f"{start}Delimiter cannot be empty, if you meant to have a tab or space for delimiter, please use the "
            f"special values 'TAB' or 'SPACE'{example}"
        )
    if len(text) != 1:
        raise _bad(
            f"{start}Invalid delimiter value: '{text}'. Delimiter must be a single character or TAB,SPACE{example}"
        )
    return text


def make_format(
    name: str,
    *,
    delimiter: str | None = None,
    full_name: str | None = None,
    schema_id: int | None = None,
    wrap_single: bool | None = None,
) -> Format:
    """A format with its own settings.

    Raises:
        SqlError: a setting that this format does not have.
    """
    if full_name is not None and name != "AVRO":
        raise _bad(f"{name} does not support the following configs: [fullSchemaName]")
    if full_name is not None and not full_name.strip():
        raise _bad("fullSchemaName cannot be empty. Format configuration: {fullSchemaName=}")
    if delimiter is not None and name != "DELIMITED":
        raise _bad(f"{name} does not support the following configs: [delimiter]")
    if schema_id is not None and name != "AVRO":
        raise _bad(f"{name} does not support the following configs: [schemaId]")
    if wrap_single and name in ("DELIMITED", "KAFKA", "NONE"):
        raise _bad(f"Format '{name}' does not support 'WRAP_SINGLE_VALUE' set to 'true'.")
    return Format(name, delimiter or ",", full_name, wrap_single, schema_id)
