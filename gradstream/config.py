"""Where the services are and where our files live: flags, then environment, then the local stack."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from gradstream.errors import ConfigError


def home() -> Path:
    """Folder of the local stack's data, logs and downloads: ``GRADSTREAM_HOME``, else one in the user's home."""
    return Path(os.environ.get("GRADSTREAM_HOME") or Path.home() / ".gradstream").absolute()


def stack_file() -> Path:
    """Where a running local stack writes its three addresses and process ids (see gradstream.stack)."""
    return home() / "stack.json"


@dataclass(frozen=True, slots=True)
class Services:
    """The three addresses through which everything is reached.

    Attributes:
        bootstrap_servers: Kafka's ``host:port[,host:port…]``.
        schema_registry_url: base URL of a registry that speaks Confluent's API.
        ksql_url: base URL of a server that speaks ksqlDB's REST API.
    """

    bootstrap_servers: str
    schema_registry_url: str
    ksql_url: str

    @classmethod
    def find(
        cls,
        bootstrap_servers: str | None = None,
        schema_registry_url: str | None = None,
        ksql_url: str | None = None,
    ) -> Services:
        """Each address from the argument, else ``GRADSTREAM_*`` of that name, else the running local stack, else
        the usual port on this machine.

        Raises:
            ConfigError: an address is given but empty.
        """
        local = _running_stack()

        def pick(name: str, given: str | None, usual: str) -> str:
            for source, value in (
                (f"--{name.replace('_', '-')}", given),
                (f"GRADSTREAM_{name.upper()}", os.environ.get(f"GRADSTREAM_{name.upper()}")),
            ):
                if value is not None:
                    if not value.strip():
                        raise ConfigError(
                            "EMPTY_ADDRESS", f"{source} is empty; give an address like {usual}"
                        )
                    return value.strip().rstrip("/")
            return local.get(name, usual)

        return cls(
            pick("bootstrap_servers", bootstrap_servers, "127.0.0.1:9092"),
            pick("schema_registry_url", schema_registry_url, "http://127.0.0.1:8081"),
            pick("ksql_url", ksql_url, "http://127.0.0.1:8088"),
        )


def _running_stack() -> dict[str, str]:
    try:
        found = json.loads(stack_file().read_text())
    except (OSError, ValueError):
        return {}
    return {key: str(found[key]) for key in Services.__dataclass_fields__ if key in found}
