"""``gradstream backends``: what there is to compute with here, and what to type for what is missing.

Each backend is asked in a process of its own: importing a framework takes seconds, some of them cannot live beside each
other, and a broken one must not hide the rest.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, entry_points, version

from rich.table import Table
from rich.text import Text

from gradstream import command
from gradstream.console import notes, results
from trainers.backends import BACKENDS, ENTRY_POINTS, available, get, names

ABOUT = """Show the backends that train models, those of plug-ins included: their versions, the
devices that they find here (gradstream train --device), the precisions that they
compute in (--dtype), and what to type to install what is missing."""
AT_ONCE = 2  # processes, since importing a framework keeps a core busy
SECONDS = 120.0  # that a backend may take to answer
ASK = "import sys; from trainers.backends.__main__ import answer; answer(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a backend.

    Attributes:
        version: of the package that it stands on, or of the plug-in.
        devices: names as in ``--device``, and what each is called.
        install: what to type where it is missing.
        error: why it cannot be used though it is installed.
    """

    name: str
    installed: bool
    version: str = ""
    devices: dict[str, str] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    install: str = ""
    error: str = ""


def main(argv: list[str]) -> int:
    parser = command.parser("backends", ABOUT)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(argv)
    found = {name: described(name) for name in names()}
    waiting = [name for name, each in found.items() if each.installed]
    with notes.status(_asking(waiting)) as line:
        for each in asked(found[name] for name in waiting):
            found[each.name] = each
            waiting.remove(each.name)
            line.update(_asking(waiting))
    if given.json:
        for each in found.values():
            sys.stdout.write(json.dumps(asdict(each)) + "\n")
    else:
        results.print(table(list(found.values())))
    return 0


def _asking(waiting: list[str]) -> str:
    return f"asking {', '.join(waiting)} for devices"


def described(name: str) -> Found:
    """What can be said without importing the backend."""
    if (entry := BACKENDS.get(name)) is None:
        plug_in = next(iter(entry_points(group=ENTRY_POINTS, name=name)))
        return Found(name, True, plug_in.dist.version if plug_in.dist else "")
    if entry.needs is None:
        return Found(name, True, platform.python_version())
    if name not in available():
        return Found(name, False, install=entry.install)
    try:
        return Found(name, True, version(entry.needs), install=entry.install)
    except PackageNotFoundError:  # a package of another name brings the module
        return Found(name, True, install=entry.install)


def asked(backends: Iterator[Found]) -> Iterator[Found]:
    """Each with its devices and precisions, as they answer."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in as_completed([pool.submit(_ask, each) for each in backends]):
            yield done.result()


def _ask(backend: Found) -> Found:
    command_line = [sys.executable, "-c", ASK, backend.name]
    try:
        done = subprocess.run(
            command_line, capture_output=True, text=True, timeout=SECONDS, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return replace(backend, error=f"no answer in {SECONDS:.0f} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or [f"ended with {error.returncode}"]
        return replace(backend, error=last[0])
    except (ValueError, IndexError):
        return replace(backend, error="its answer cannot be read")
    return replace(backend, devices=found["devices"], dtypes=tuple(found["dtypes"]))


def answer(name: str) -> None:
    """In the process of one backend: its devices and precisions on the last line."""
    kind = get(name)
    found = {"devices": kind.devices(), "dtypes": kind.dtypes}
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def table(found: list[Found]) -> Table:
    """A row a backend and a line a device; what is missing says in their place how to install it."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    made.add_column("backend", no_wrap=True)
    made.add_column("version", no_wrap=True)
    made.add_column("devices", overflow="fold")
    made.add_column("precisions")
    for each in found:
        if not each.installed:
            made.add_row(Text(each.name, "dim"), Text("missing", "dim"), Text(each.install))
        elif each.error:
            made.add_row(each.name, each.version, Text(f"cannot be used: {each.error}", "red"))
        else:
            devices = "\n".join(
                f"{device} {what}".rstrip() for device, what in each.devices.items()
            )
            made.add_row(each.name, each.version, Text(devices), ", ".join(each.dtypes))
    return made


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
