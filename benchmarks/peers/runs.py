"""One run of one peer, in a fresh process of its environment."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import effort, topics
from benchmarks.peers import environments
from benchmarks.peers.catalogue import OWN, Peer
from benchmarks.peers.feeds import Feed
from benchmarks.peers.programs.task import Task
from benchmarks.process import ONE_THREAD, running
from gradstream.config import Services
from gradstream.wire.kafka import ensure_topics
from trainers.preflight import WEIGHTS_CONFIG

START = "benchmarks.peers.programs.start"
# A foreign environment sees of us the package benchmarks and nothing else, not even what lies beside it.
FOREIGN = (
    "import sys, types; ours = types.ModuleType('benchmarks'); ours.__path__ = [sys.argv.pop(1)]; "
    f"sys.modules['benchmarks'] = ours; from {START} import main; main(sys.argv[1:])"
)
QUICK_STEPS = 40  # between commits of gradstream, where all records are through in less than EVERY
PATIENCE = 90.0  # seconds for starting and warming up, beyond those of the clock


def run(peer: Peer, feed: Feed, services: Services, seconds: float) -> dict[str, Any]:
    """The answer of programs.task.Clock; ``failed``, with the process's last words, where there is none."""
    given = {**asdict(feed), "libraries": list(peer.libraries), "seconds": seconds}
    weights_topic = topics.name("weights")
    ensure_topics(services, {weights_topic: 1}, WEIGHTS_CONFIG)
    options = {**peer.options, "weights_topic": weights_topic}
    if effort.NOW.quick:
        options["steps"] = QUICK_STEPS
    task = Task(
        program=peer.program,
        bootstrap=services.bootstrap_servers,
        registry=services.schema_registry_url,
        options=options,
        **given,
    )
    words = command(peer, json.dumps(asdict(task)))
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + PATIENCE,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer in {seconds + PATIENCE:.0f} s"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
        answer["records"]
    except (ValueError, KeyError, TypeError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": f"ended with {done.returncode}: {said[-1] if said else 'no words'}"}
    return answer


def command(peer: Peer, task: str) -> list[str]:
    if peer.environment == OWN:
        return running(START, task)
    ours = str(Path(__file__).parents[1])
    return [str(environments.python(peer.environment)), "-c", FOREIGN, ours, task]


def environment() -> dict[str, str]:
    """Ours, with one thread for NumPy; and what a process has compiled the next one finds."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, **ONE_THREAD}
