"""Engines as processes of their own, on free ports and under service ids that no other test has."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.failpoints import VARIABLE
from gradstream.shell.client import KsqlClient

ROOT = Path(__file__).parents[2]


class EngineProcess:
    """``python -m gradstream.engine``; ``start()`` again after ``kill()`` is a restart."""

    def __init__(self, services: Services, folder: Path, *flags: str) -> None:
        self.services = services
        self.service_id = f"test{uuid.uuid4().hex[:8]}_"
        self.flags = flags
        self.log = folder / f"{self.service_id}.log"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.client = KsqlClient("http://127.0.0.1:1")

    def start(self, failpoint: str = "") -> KsqlClient:
        """Returns when it is ready."""
        before = self.said()
        process = self.launch(failpoint)
        deadline = time.monotonic() + 60
        while "engine ready at " not in (said := self.said()[len(before) :]):
            assert process.poll() is None, f"engine ended: {said}"
            assert time.monotonic() < deadline, f"engine not ready: {said}"
            time.sleep(0.02)
        self.url = said.split("engine ready at ")[1].split(",")[0]
        self.client = KsqlClient(self.url)
        return self.client

    def launch(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Returns at once; with a failpoint it may never become ready."""
        command = [
            *(sys.executable, "-m", "gradstream.engine", "--listen", "127.0.0.1:0"),
            *("--service-id", self.service_id, *self.flags),
            *("--bootstrap-servers", self.services.bootstrap_servers),
            *("--schema-registry-url", self.services.schema_registry_url),
        ]
        environment = {**os.environ, VARIABLE: failpoint}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=environment)
        return self.process

    def said(self) -> str:
        """All that it has written on its standard error so far, earlier runs included."""
        return self.log.read_text() if self.log.exists() else ""

    def dies_at(self, failpoint: str) -> None:
        """Starts it, and returns when it has killed itself there."""
        process = self.launch(failpoint)
        assert process.wait(60) == -signal.SIGKILL, self.said()

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            with contextlib.suppress(GradstreamError):
                self.client.execute("TERMINATE ALL;")
            self.kill(signal.SIGTERM)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "engine")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="session")
def start_engine(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., EngineProcess]]:
    """Makes engines; all end with the run."""
    folder = tmp_path_factory.mktemp("engines")
    made: list[EngineProcess] = []

    def start(*flags: str) -> EngineProcess:
        engine = EngineProcess(services, folder, *flags)
        made.append(engine)
        engine.start()
        return engine

    yield start
    for engine in made:
        engine.close()


@pytest.fixture(scope="session")
def engine(start_engine: Callable[..., EngineProcess]) -> EngineProcess:
    """One engine that tests share; names in it must be unique."""
    return start_engine()


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., bool]:
    """Waits for a condition."""
    return eventually
