"""What valgrind looks at: a reader that fetches, seeks, meets an end and closes, in a group and without; then a mistake.

python -m tests.wire.valgrind_child TOPIC RECORDS GROUP LOG

LOG is valgrind's; its length before the mistake is printed, so that the mistake can be told from what came before.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numba

from gradstream.config import Services
from gradstream.wire import gather, librdkafka_reader
from gradstream.wire.reader import Reader, open_log_reader, open_reader


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def look(message: int) -> int:
    return gather._word(message, gather.OFFSET)


def read(reader: Reader, count: int) -> None:
    while count > 0:
        records = reader.fetch(64, 1.0)
        count -= len(records)
        if len(records):
            records.value.validate(full=True)
            records.key.validate(full=True)
            assert len(records.headers(len(records) - 1)) == 1


def main(topic: str, count: int, group: str, log: Path) -> None:
    services, at = Services.find(), (topic, 0)
    look.compile("(int64,)")
    librdkafka_reader.CHUNK_BYTES = 2000  # so that some messages wait
    with open_log_reader(services, {at: 0}, client="librdkafka", headers=True) as reader:
        read(reader, count)
        reader.seek({at: 0})
        read(reader, count // 2)
        reader.seek({at: 5})
        read(reader, 10)
    with open_reader(
        services, [topic], group, client="librdkafka", headers=True, statistics=0.1
    ) as reader:
        held: Any = reader._held  # type: ignore[attr-defined]
        while not held:
            reader.fetch(64, 1.0)
        gone = held.next(1)[0]
        while not reader.topic_ids:
            reader.fetch(1, 0.1)
        reader.group_metadata()
    assert held.got == held.given_back
    print(log.stat().st_size if log.exists() else 0, flush=True)
    if log.exists():
        look(gone)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
