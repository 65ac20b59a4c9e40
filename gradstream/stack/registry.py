"""Apicurio Registry as one process: Confluent's API, an H2 file, loopback only."""

from __future__ import annotations

from gradstream.stack.folders import Folders
from gradstream.stack.jars import Programs
from gradstream.stack.java import java
from gradstream.stack.ports import HOST

NAME = "registry"
PATH = "/apis/ccompat/v7"


def command(folders: Folders, programs: Programs, port: int) -> list[str]:
    """The registry's command line; the database makes itself at the first start."""
    flags = (
        f"-Dquarkus.http.host={HOST}",
        f"-Dquarkus.http.port={port}",
        # Health and metrics, which would listen on every address; nobody asks there, so any free port will do.
        f"-Dquarkus.management.host={HOST}",
        "-Dquarkus.management.port=0",
        "-Dapicurio.storage.kind=sql",
        "-Dapicurio.storage.sql.kind=h2",
        f"-Dapicurio.datasource.url=jdbc:h2:file:{folders.registry_data / 'registry'}",
        "-Dquarkus.http.access-log.enabled=false",  # a line for each request would fill the disk in time
        "-Dquarkus.banner.enabled=false",
    )
    return [
        *java(folders, programs, NAME, "192m", flags),
        "-jar",
        str(programs.registry / "quarkus-run.jar"),
    ]
