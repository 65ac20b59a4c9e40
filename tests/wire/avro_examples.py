"""Schemas that hold every type between them, each with a record: what is damaged byte by byte and piece by piece."""

from __future__ import annotations

from typing import Any

from tests.wire.avro_judge import Avro, Branch


def record(*fields: tuple[str, Avro]) -> Avro:
    return {
        "type": "record",
        "name": "R",
        "fields": [dict(zip(("name", "type"), one, strict=True)) for one in fields],
    }


def decimal(precision: int, scale: int) -> Avro:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


INNER = {
    "type": "record",
    "name": "I",
    "fields": [{"name": "x", "type": "float"}, {"name": "s", "type": ["null", "string"]}],
}
FIXED = {"type": "fixed", "name": "F", "size": 5}
MONEY = {
    "type": "fixed",
    "name": "M",
    "size": 7,
    "logicalType": "decimal",
    "precision": 12,
    "scale": 3,
}
SMALL = {
    "type": "fixed",
    "name": "S",
    "size": 2,
    "logicalType": "decimal",
    "precision": 4,
    "scale": 1,
}
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}
# Each: a schema, and a record of it.
FLAT: list[tuple[Avro, Any]] = [
    (
        record(*((f"x{i}", "double") for i in range(11))),
        {f"x{i}": i / 7 for i in range(11)},
    ),
    (
        record(*((f"v{i}", ["null", "double"]) for i in range(6)), ("k", ["null", "string"]), ("w", ["double", "null"])),
        {**{f"v{i}": i / 3 for i in range(6)}, "k": "0.30000000000000004", "w": None},
    ),
    (
        record(("b", "boolean"), ("i", "int"), ("l", ["null", "long"]), ("f", ["float", "null"]), ("s", "string"),
               ("y", "bytes"), ("e", ENUM), ("z", FIXED), ("n", "null"), ("d", "double")),
        {"b": True, "i": -3, "l": 2**40, "f": 1.5, "s": "1e5", "y": b"abc", "e": "B", "z": b"12345", "n": None, "d": 2.0},
    ),
    (
        record(("m", decimal(9, 2)), ("o", ["null", decimal(38, 10)]), ("q", MONEY), ("t", {"type": "int", "logicalType": "date"}),
               ("u", {"type": "long", "logicalType": "timestamp-micros"}), ("p", ["null", INNER]), ("r", "I")),
        {"m": b"\x04\xd2", "o": b"\xff\x01", "q": b"\0" * 6 + b"\x07", "t": 19_000, "u": 10**15, "p": {"x": 0.5, "s": "ä"},
         "r": {"x": -0.0, "s": None}},
    ),
    (
        record(("c", {"type": "int", "logicalType": "time-millis"}), ("k", ["null", {"type": "long", "logicalType": "time-micros"}]),
               ("d", "double")),
        {"c": 86_399_999, "k": 5, "d": 0.5},
    ),
]  # fmt: skip
NESTED: list[tuple[Avro, Any]] = [
    (
        record(("a", {"type": "array", "items": "double"}), ("d", "double"), ("m", {"type": "map", "values": "long"})),
        {"a": [1.0, 2.0], "d": 3.0, "m": {"k": 1, "ü": -2}},
    ),
    (
        record(("l", {"type": "array", "items": ["null", "int"]}), ("o", ["null", {"type": "array", "items": "float"}]),
               ("t", {"type": "array", "items": "string"}), ("i", "long")),
        {"l": [1, -2, 3], "o": [0.5], "t": ["x"], "i": 5},
    ),
    (
        record(("u", ["null", "int", "double"]), ("v", ["string", "null", "boolean", "bytes", SMALL]),
               ("i", "int")),
        {"u": Branch(1, 7), "v": Branch(0, "text"), "i": 5},
    ),
    (
        record(("a", ["null", {"type": "array", "items": ["null", {"type": "map", "values": ["string", "null"]}]}]),
               ("b", {"type": "array", "items": {**INNER, "fields": [*INNER["fields"], {"name": "t", "type": decimal(6, 2)}]}}),
               ("i", "double")),
        {"a": [None, {"k": "v", "": None}], "b": [{"x": 1.0, "s": "ß", "t": b"\x0c"}], "i": 5.0},
    ),
]  # fmt: skip
