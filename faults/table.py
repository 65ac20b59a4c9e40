"""What a call of the laboratory comes to, as a table, and each fault in one line."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from faults.record import Account
from gradstream.console import notes, results

COLUMNS = ("tried", "as meant", "lost", "twice", "torn", "hash", "restart s")
SHOWN = 20  # faults of a scenario


def table(accounts: list[Account]) -> Table:
    """One row a scenario, and one for each of its subjects where it has several."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("scenario", no_wrap=True)
    for name in COLUMNS:
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    for account in accounts:
        made.add_row(account.scenario, *cells(account), verdict(account))
        parts = list(account.by_subject())
        if len(parts) > 1:
            for part in parts:
                made.add_row(f"  {part.scenario}", *cells(part), verdict(part), style="dim")
    return made


def cells(account: Account) -> Iterator[str]:
    """Attempts, and those in which happened what was to happen, of how many; what was lost, trained twice and torn; runs at
    the expected hash, of how many; median and longest restart.
    """
    same, runs = account.hashes
    restarts = account.restarts
    yield str(len(account.attempts))
    yield f"{account.counted}/{account.planned}" if account.planned else str(account.counted)
    for kind in ("lost", "repeated", "torn"):
        yield str(sum(getattr(each, kind) for each in account.endings)) if runs else "–"
    yield f"{same}/{runs}" if runs else "–"
    yield f"{statistics.median(restarts):.1f} ≤ {max(restarts):.1f}" if restarts else "–"


def verdict(account: Account) -> str:
    if account.faults:
        failed = len(account.failed)
        return f"[red]{failed} failed[/]" if failed else "[red]broken off[/]"
    if not account.finished or account.counted < account.planned:
        return "[yellow]so far[/]" if account.counted else "[yellow]nothing yet[/]"
    return "[green]passed[/]"


def show(accounts: list[Account]) -> None:
    """The table, then what went wrong."""
    if not accounts:
        return
    results.print(table(accounts))
    for account in accounts:
        for fault in account.faults[:SHOWN]:
            notes.print(f"{account.scenario}: {fault}", markup=False, soft_wrap=True)
        if (more := len(account.faults) - SHOWN) > 0:
            notes.print(f"{account.scenario}: and {more} more", markup=False)
