"""``python -m gradstream.wire``: compile the loops of codecs and reader once; later starts load them from disk."""

from __future__ import annotations

import sys

from gradstream import command
from gradstream.wire import codec_avro, delimited_columns, gather, hand_over


def main(argv: list[str]) -> int:
    command.parser("wire", "Compile the codecs' loops and keep them on disk.").parse_args(argv)
    codec_avro.compile_all()
    delimited_columns.compile_all()
    gather.compile_all()
    hand_over.compile_all()
    return 0


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
