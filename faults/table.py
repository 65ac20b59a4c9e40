"""What a call of the laboratory comes to, as a table, and each fault in one line."""

from __future__ import annotations

import statistics

from rich.table import Table

from faults.record import Account
from gradstream.console import notes, results


def table(accounts: list[Account]) -> Table:
    """One row a scenario."""
    made = Table(title="what was tried, and what it cost", title_justify="left")
    made.add_column("scenario", no_wrap=True)
    for name in ("tried", "as meant", "failed", "lost", "twice", "torn", "hash", "restart s"):
        made.add_column(name, justify="right")
    made.add_column("", no_wrap=True)
    for account in accounts:
        made.add_row(account.scenario, *cells(account), verdict(account))
    return made


def cells(account: Account) -> list[str]:
    """Counts; runs at the expected hash, of how many; median and longest restart."""
    same, runs = account.hashes
    restarts = account.restarts
    return [
        f"{len(account.attempts)}/{account.planned}",
        str(account.counted),
        str(len(account.failed)),
        *(
            str(sum(getattr(each, kind) for each in account.endings)) if runs else "–"
            for kind in ("lost", "repeated", "torn")
        ),
        f"{same}/{runs}" if runs else "–",
        f"{statistics.median(restarts):.1f} ≤{max(restarts):.1f}" if restarts else "–",
    ]


def verdict(account: Account) -> str:
    if account.faults:
        return "[red]failed[/]"
    if not account.counted:
        return "[yellow]nothing shown[/]"
    return "[green]passed[/]" if account.counted >= account.planned else "[green]passed so far[/]"


def show(accounts: list[Account]) -> None:
    """The table, then what went wrong."""
    if not accounts:
        return
    results.print(table(accounts))
    for account in accounts:
        for fault in account.faults[:20]:
            notes.print(f"{account.scenario}: {fault}", markup=False, soft_wrap=True)
        if len(account.faults) > 20:
            notes.print(f"{account.scenario}: and {len(account.faults) - 20} more", markup=False)
