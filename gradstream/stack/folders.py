"""The stack's home folder: which file lies where. Only its owner can read it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from gradstream import config
from gradstream.errors import ConfigError

_SEPARATORS = ",:;$%\\\n"


@dataclass(frozen=True, slots=True)
class Folders:
    """Paths below one home; making the value makes no folder."""

    home: Path

    @property
    def stack_file(self) -> Path:
        """Addresses and processes of the running stack; there only while it runs."""
        return self.home / config.stack_file().name

    @property
    def ports_file(self) -> Path:
        """The ports of the last run, so that clients' addresses survive ``down`` and ``up``."""
        return self.home / "ports.json"

    @property
    def lock_file(self) -> Path:
        return self.home / "stack.lock"

    @property
    def broker_data(self) -> Path:
        return self.home / "kafka"

    @property
    def registry_data(self) -> Path:
        return self.home / "registry"

    @property
    def config(self) -> Path:
        return self.home / "config"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def scratch(self) -> Path:
        """The children's folder for temporary files."""
        return self.home / "tmp"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def output(self, name: str) -> Path:
        """What a service prints apart from its log."""
        return self.logs / f"{name}.out"

    def make(self) -> None:
        """Make what is missing, 0700; the broker makes its data folder itself, whole or not at all."""
        for folder in (self.home, self.registry_data, self.config, self.logs, self.scratch):
            make(folder)

    def delete_data(self) -> None:
        """Delete all that the stack has written, and nothing else that may lie in the home."""
        for folder in (
            self.broker_data,
            self.home / "kafka.new",
            self.registry_data,
            self.config,
            self.logs,
            self.scratch,
        ):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.ports_file, self.stack_file):
            file.unlink(missing_ok=True)


def make(folder: Path) -> None:
    """Make a folder that only its owner can enter.

    Raises:
        ConfigError: ``FOLDER_REFUSED``, with the system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            "FOLDER_REFUSED",
            f"{folder} cannot be used: {error.strerror}; name another with GRADSTREAM_HOME (data) or "
            "GRADSTREAM_CACHE (downloads)",
        ) from error


def usable(folder: Path) -> Path:
    """The folder, absolute, if Java, Kafka and H2 can all be told its name.

    Raises:
        ConfigError: ``BAD_FOLDER``, it has a character that one of them takes for a separator.
    """
    bad = set(str(folder.absolute())) & set(_SEPARATORS)
    if bad:
        raise ConfigError(
            "BAD_FOLDER",
            f"{folder} has {min(bad)!r} in its name, which Java or Kafka takes for a separator; name another "
            "with GRADSTREAM_HOME (data) or GRADSTREAM_CACHE (downloads)",
        )
    return folder.absolute()
