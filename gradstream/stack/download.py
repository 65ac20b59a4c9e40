"""Fetching pinned files by their Maven coordinates: several at once, one bar, resumable.

jgo knows where Maven's repositories are (Central, or those that the user names in jgo's settings) and which local
repository Maven fills; the bytes are ours, since jgo writes straight to the final name and starts anew after a break.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradstream.console import download_progress, notes
from gradstream.errors import UnavailableError
from gradstream.stack.pins import Pin, sha256

if TYPE_CHECKING:
    import httpx2

CONNECTIONS = 6
CHUNK = 1 << 17
TRIES = 3


class _Fetch:
    """Threads that fill ``.part`` files from a common list, and tell one queue what happened."""

    def __init__(self, wanted: Sequence[Pin], folder: Path) -> None:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL

        settings = GlobalSettings.load()
        self.repositories = [*settings.repositories.values(), MAVEN_CENTRAL_URL]
        self.local = Path(settings.repo_cache)
        self.folder = folder
        self.todo: queue.SimpleQueue[Pin] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[tuple[Pin, int | Path | Exception]] = queue.SimpleQueue()
        self.stop = threading.Event()
        for pin in sorted(wanted, key=lambda pin: -pin.size):
            self.todo.put(pin)

    def start(self, connections: int) -> None:
        # Daemons: Ctrl-C must not wait for a connection that hangs. What they wrote stays in the part files.
        for _ in range(connections):
            threading.Thread(target=self._work, daemon=True, name="gradstream-download").start()

    def _work(self) -> None:
        import httpx2

        with httpx2.Client(follow_redirects=True, timeout=15.0) as client:
            while not self.stop.is_set():
                try:
                    pin = self.todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    self.events.put((pin, self._file(client, pin)))
                except Exception as error:  # noqa: BLE001  whatever it is, the caller reports it
                    self.events.put((pin, error))

    def _file(self, client: httpx2.Client, pin: Pin) -> Path:
        part = self.folder / f"{pin.filename}.part"
        known = self.local / pin.path
        if known.is_file() and sha256(known) == pin.sha256:
            shutil.copyfile(known, part)
            self.events.put((pin, pin.size))
            return part
        failure: Exception | None = None
        for repository in self.repositories * TRIES:
            if self.stop.is_set():
                break
            try:
                self._bytes(client, pin, f"{repository.rstrip('/')}/{pin.path}", part)
            except Exception as error:  # noqa: BLE001  the next repository or try may do better
                failure = error
            else:
                return part
        raise failure or ConnectionError("stopped")

    def _bytes(self, client: httpx2.Client, pin: Pin, address: str, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > pin.size:
            have = 0
        if have == pin.size:
            self.events.put((pin, have))
            return
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with client.stream("GET", address, headers=headers) as answer:
            answer.raise_for_status()
            resumed = answer.status_code == 206
            self.events.put((pin, have if resumed else 0))
            with part.open("ab" if resumed else "wb") as file:
                for chunk in answer.iter_raw(CHUNK):
                    if self.stop.is_set():
                        return
                    file.write(chunk)
                    self.events.put((pin, file.tell()))
        if part.stat().st_size < pin.size:
            raise ConnectionError("the connection broke off")


def download(wanted: Sequence[Pin], folder: Path) -> Iterator[tuple[Pin, Path]]:
    """Fetch files as ``NAME.part`` in ``folder``, each yielded when it has arrived; the caller verifies and renames.

    Raises:
        UnavailableError: ``DOWNLOAD_FAILED``, with the first file that could not be had and why.
    """
    if not wanted:
        return
    fetch = _Fetch(wanted, folder)
    total = sum(pin.size for pin in wanted)
    notes.print(f"Downloading Kafka and the registry: {total / 1e6:,.0f} MB, once.")
    arrived: dict[Pin, int] = {}
    left = len(wanted)
    try:
        with download_progress() as bar:
            task = bar.add_task(f"{len(wanted)} files", total=total)
            fetch.start(min(CONNECTIONS, len(wanted)))
            while left:
                pin, news = fetch.events.get()
                if isinstance(news, int):
                    arrived[pin] = news
                    bar.update(task, completed=sum(arrived.values()))
                elif isinstance(news, Path):
                    left -= 1
                    yield pin, news
                else:
                    raise _failure(pin, news, folder) from news
    finally:
        fetch.stop.set()


def _failure(pin: Pin, error: Exception, folder: Path) -> UnavailableError:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UnavailableError(
        "DOWNLOAD_FAILED",
        f"{pin.coordinates} could not be fetched from Maven's repository ({cause}); check the "
        f"network or HTTPS_PROXY and run gradstream up again (it goes on where it stopped), or copy the files of a "
        f"machine that has them into {folder}",
    )
