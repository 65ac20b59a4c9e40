"""Write ``pins.toml`` anew: for the day when Kafka or the registry move to another version.

    python -m gradstream.stack.pin

jgo resolves Kafka's dependencies as Maven would; every file is fetched, hashed, and written down. Look at the
difference before you commit it: from then on these sums are what we trust.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import jgo
from jgo.maven import MavenContext

from gradstream.command import run
from gradstream.console import notes
from gradstream.stack.pins import PINS, sha256, tree_sum

if TYPE_CHECKING:
    from jgo.maven import Artifact

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Kafka logs through slf4j 1.7 and brings log4j-core; this joins the two. It is resolved apart: its BOM would
# otherwise change the versions of Kafka's own dependencies.
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
# Command-line tools, which the stack has no need of and container images have: one jar, the rest is Kafka's own.
TOOLS = ("org.apache.kafka", "kafka-tools", "4.3.1")
REGISTRY = ("io.apicurio", "apicurio-registry-app", "3.3.3")

HEAD = """\
# What the local stack runs, written by `python -m gradstream.stack.pin`. No file runs unless its size and SHA-256 are
# those below; `tree` is the sum over an archive's unpacked files.
"""


def main(argv: list[str]) -> int:
    """Resolve, fetch, hash, write. Takes no flags."""
    context = MavenContext()
    kafka = jgo.resolve(KAFKA)
    kafka.append(context.project(*LOGGING[:2]).at_version(LOGGING[2]).artifact())
    registry = context.project(*REGISTRY[:2]).at_version(REGISTRY[2]).artifact("all", "tar.gz")
    lines = [HEAD]
    for artifact in sorted(kafka, key=str):
        lines += _lines("kafka", artifact)
    lines += _lines("registry", registry)
    lines += _lines("tools", context.project(*TOOLS[:2]).at_version(TOOLS[2]).artifact())
    PINS.write_text("\n".join(lines))
    notes.print(f"{len(kafka) + 2} files pinned in {PINS}")
    return 0


def _lines(program: str, artifact: Artifact) -> list[str]:
    file = artifact.resolve()
    lines = [
        f"[[{program}]]",
        f'group = "{artifact.groupId}"',
        f'artifact = "{artifact.artifactId}"',
        f'version = "{artifact.version}"',
        f"size = {file.stat().st_size}",
        f'sha256 = "{sha256(file)}"',
    ]
    if artifact.classifier:
        lines.append(f'classifier = "{artifact.classifier}"')
    if artifact.packaging != "jar":
        lines += [f'extension = "{artifact.packaging}"', f'tree = "{_unpacked(file)}"']
    return [*lines, ""]


def _unpacked(archive: Path) -> str:
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
        return tree_sum(Path(scratch))


if __name__ == "__main__":
    run(main)
