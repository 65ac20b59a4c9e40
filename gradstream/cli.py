"""The switchboard: a word on the command line names a module, which is imported only then."""

from __future__ import annotations

import sys
from importlib import import_module

from gradstream import __version__
from gradstream.command import loading, run
from gradstream.errors import UsageError

# word: (module with main(argv), arguments put before the user's, one line of help)
COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "demo": ("demo.__main__", (), "run the whole pipeline and show the result"),
    "up": ("gradstream.stack.__main__", ("up",), "start Kafka, schema registry and KSQL engine"),
    "down": ("gradstream.stack.__main__", ("down",), "stop them; the data stays"),
    "status": ("gradstream.stack.__main__", ("status",), "what runs, where, since when"),
    "produce": ("producers.__main__", (), "put records into a topic"),
    "sql": ("gradstream.shell.apply", (), "apply a file of KSQL statements"),
    "ksql": ("gradstream.shell.ksql", (), "type KSQL statements: a shell with completion"),
    "train": ("trainers.__main__", (), "train a model on a topic"),
    "backends": ("trainers.backends.__main__", (), "what computes here, and on which devices"),
    "weights": ("trainers.weights", (), "show published weights as a table"),
    "lineage": ("trainers.lineage", (), "which records, SQL and settings made weights"),
    "rebuild": ("trainers.rebuild", (), "learn weights once more from the log, and compare"),
    "dlq": ("trainers.dlq.__main__", (), "dead letters: list, show, and replay after a fix"),
    "bench": ("benchmarks.__main__", (), "measure this machine: bench backends compares them"),
    "chaos": ("faults.__main__", (), "kill everything in turn, and count what it costs"),
    "engine": ("gradstream.engine.__main__", (), "run the KSQL engine by itself"),
    "qtt": ("gradstream.engine.qtt", (), "run query translation tests on the engine"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {word:{width}}  {help_}" for word, (_, _, help_) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gradstream COMMAND [flags]     (gradstream COMMAND --help tells the flags)",
            "",
            *lines,
        ]
    )


def dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage() + "\n")
        return 0
    word, *rest = argv
    if word in ("-V", "--version"):
        sys.stdout.write(f"gradstream {__version__}\n")
        return 0
    if word not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "gradstream --help lists the commands"
        raise UsageError("USAGE", f"no command {word!r}; {hint}")
    module, before, _ = COMMANDS[word]
    with loading():
        command = import_module(module)
    code: int = command.main([*before, *rest])
    return code


def main() -> None:
    run(dispatch)


if __name__ == "__main__":
    main()
