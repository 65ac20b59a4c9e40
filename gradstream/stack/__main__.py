"""``gradstream up``, ``gradstream down`` and ``gradstream status``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import timedelta

from rich.table import Table

from gradstream.command import parser, run
from gradstream.config import home
from gradstream.console import notes, results
from gradstream.errors import GradstreamError, UsageError
from gradstream.stack.local import LocalStack, Status

UP = """Start Kafka, schema registry and KSQL engine on this machine, in the background.

Kafka keeps streams of records in topics; the schema registry keeps what fields the records have; the KSQL
engine runs SQL over them. The first start downloads Kafka and the registry, once. Stdout gets the addresses,
for other programs; gradstream's own commands find them. Data and logs are in ~/.gradstream, or where
GRADSTREAM_HOME says; downloads in your cache folder, or where GRADSTREAM_CACHE says."""


def main(argv: list[str]) -> int:
    """The first word is the command."""
    commands = {"up": up, "down": down, "status": status}
    if not argv or argv[0] not in commands:
        raise UsageError("USAGE", "say gradstream up, gradstream down or gradstream status")
    return commands[argv[0]](argv[1:])


def up(argv: list[str]) -> int:
    """Start the stack and leave it running; print the addresses as lines for a shell's environment."""
    flags = parser("up", UP)
    for service in ("kafka", "registry", "ksql"):
        flags.add_argument(
            f"--{service}-port",
            type=int,
            metavar="PORT",
            help="default: the one of the last time, else a free one",
        )
    flags.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait until all are ready (default: 60)",
    )
    flags.add_argument("--no-engine", action="store_true", help="without the KSQL engine")
    given = flags.parse_args(argv)
    if not given.timeout > 0:
        raise UsageError("BAD_TIMEOUT", f"--timeout {given.timeout:g}: give seconds above 0")
    stack = LocalStack(
        kafka_port=given.kafka_port,
        registry_port=given.registry_port,
        ksql_port=given.ksql_port,
        with_engine=not given.no_engine,
        timeout=given.timeout,
    )
    began = time.monotonic()
    try:
        started = stack.up()
    except GradstreamError as error:
        for log in getattr(error, "__notes__", []):
            notes.print(log, style="dim", markup=False)
        raise
    if started:
        seconds = time.monotonic() - began
        notes.print(f"Ready after {seconds:.1f} s; all commands find it; gradstream down stops it.")
    else:
        notes.print(f"Runs already in {home()}.")
    for name, address in asdict(stack.services).items():
        if name == "ksql_url" and given.no_engine:
            continue
        results.print(f"GRADSTREAM_{name.upper()}={address}", soft_wrap=True)
    return 0


def down(argv: list[str]) -> int:
    """Stop the stack; delete its data if told and confirmed."""
    flags = parser(
        "down", "Stop the local stack. Topics, schemas and offsets stay for the next up."
    )
    flags.add_argument(
        "--delete-data", action="store_true", help="delete all topics, schemas and offsets, too"
    )
    flags.add_argument("--yes", action="store_true", help="don't ask before deleting")
    given = flags.parse_args(argv)
    if given.delete_data and not given.yes:
        _confirm()
    with notes.status("Stopping ..."):
        stopped = LocalStack().down(delete_data=given.delete_data)
    notes.print(f"Stopped {stopped} services." if stopped else f"Nothing runs in {home()}.")
    if given.delete_data:
        notes.print("Its data is deleted.")
    return 0


def status(argv: list[str]) -> int:
    """Show what runs; 0 when all is well, 69 otherwise."""
    flags = parser("status", "Show the local stack's services. Exits with 0 if all run, else 69.")
    flags.add_argument("--json", action="store_true", help="as JSON, for programs")
    given = flags.parse_args(argv)
    rows = LocalStack().status()
    if given.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    elif rows:
        results.print(_table(rows))
        notes.print(f"data and logs: {home()}", markup=False, soft_wrap=True)
    else:
        notes.print(f"Nothing runs in {home()}; gradstream up starts it.")
    return 0 if rows and all(row.healthy for row in rows) else 69


def _table(rows: list[Status]) -> Table:
    total = sum(row.memory or 0 for row in rows)
    # Without lines: 80 columns must hold a whole address.
    table = Table(show_footer=True, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("service", "address", "pid"):
        table.add_column(title, overflow="fold")
    table.add_column("memory", f"{total / 2**20:,.0f} MiB", justify="right")
    table.add_column("uptime", justify="right")
    table.add_column("healthy")
    for row in rows:
        table.add_row(
            row.service,
            row.address,
            str(row.pid or "–"),
            f"{row.memory / 2**20:,.0f} MiB" if row.memory is not None else "–",
            str(timedelta(seconds=int(row.uptime))) if row.uptime is not None else "–",
            "[green]yes[/]" if row.healthy else "[red]no[/]",
        )
    return table


def _confirm() -> None:
    question = f"Delete all topics, schemas and offsets in {home()}?"
    if not sys.stdin.isatty():
        raise UsageError("NOT_CONFIRMED", f"{question} Say so with --yes")
    if notes.input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("NOT_CONFIRMED", "nothing was stopped or deleted")


if __name__ == "__main__":
    run(main)
