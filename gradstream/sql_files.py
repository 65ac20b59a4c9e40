"""Where the KSQL files lie: found by path, since ``import ksql`` would find another project's package.

In a checkout they are in ``ksql/`` at the top; in an installed wheel the same files are in ``gradstream/sql/``.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE / "sql", _HERE.parent / "ksql")


def sql_file(name: str) -> Path:
    """The path of one of our KSQL files, such as ``regression`` or ``regression.sql``.

    Raises:
        FileNotFoundError: there is no such file; the message lists those that there are.
    """
    wanted = name if name.endswith(".sql") else f"{name}.sql"
    for place in _PLACES:
        if (path := place / wanted).is_file():
            return path
    found = sorted(path.name for place in _PLACES for path in place.glob("*.sql"))
    raise FileNotFoundError(f"no KSQL file {wanted!r}; there are {', '.join(found) or 'none'}")
