"""Kafka, registry and ksqlDB by testcontainers: alone, as a stack, behind the fixtures; and what stands in their way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from docker.errors import NotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

from gradstream.errors import UnavailableError
from gradstream.shell.client import KsqlClient
from gradstream.testing import Pipeline
from gradstream.testing.containers import (
    ContainerStack,
    KafkaContainer,
    KsqlDBContainer,
    SchemaRegistryContainer,
    engine,
)
from gradstream.testing.containers.images import IMAGES, image, variable
from producers.regression import Regression
from tests.containers.conftest import real_images
from tests.engine.goldens import GOLDENS, answer

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_test"


@pytest.fixture(scope="module")
def images(standins: dict[str, str]) -> Iterator[dict[str, str]]:
    """Variables that name the images which are here."""
    found = {variable(role): standins[role.lower()] for role in IMAGES}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def stack(images: dict[str, str]) -> Iterator[ContainerStack]:
    with ContainerStack() as started:
        yield started


def test_images_are_those_of_the_compose_file(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = {role.upper(): name for role, name in real_images().items()}
    assert compose["KSQLDB"] == "confluentinc/ksqldb-server:0.29.0"
    for role, name in IMAGES.items():
        monkeypatch.delenv(variable(role), raising=False)
        assert image(role) == name == compose[role]
        monkeypatch.setenv(variable(role), "mine:1")
        assert image(role) == "mine:1"


def test_statements_and_a_trainer_run_on_the_stack(stack: ContainerStack) -> None:
    with Pipeline(stack.services) as pipeline:
        pipeline.sql("regression.sql")
        data = Regression("gaussian", 500, weights=(3.0, 2.0), empty_share=0.1)
        pipeline.produce("regression_source", data)
        result, records = pipeline.train("regression_training", "Y", exact=True, features=("X1",))
        assert np.allclose([result.weights["intercept"], result.weights["X1"]], [3, 2], atol=0.05)
        assert result.record is not None  # read back, so transactions work
        assert records[-1].sha256 == result.record.sha256
        assert 400 < len(pipeline.rows("regression_training")) < 500


def test_ksqldb_gives_the_known_answers(stack: ContainerStack) -> None:
    """Those that the engine gives in tests/engine; of ksqlDB itself where its image is here, else of the stand-in."""
    with KsqlClient(stack.services.ksql_url) as client:
        found = {golden.name: answer(client, golden, f"G{n}_") for n, golden in enumerate(GOLDENS)}
    assert found == {golden.name: golden.rows for golden in GOLDENS}


def test_a_second_ksqldb_runs_on_a_kafka_that_is_there(stack: ContainerStack) -> None:
    kafka, registry, first = stack.containers
    assert isinstance(kafka, KafkaContainer)
    assert isinstance(registry, SchemaRegistryContainer)
    own = {"KSQL_KSQL_SERVICE_ID": "second_"}
    with (
        KsqlDBContainer(
            kafka.inside, registry.inside, network=stack.network, alias="second", env=own
        ) as second,
        KsqlClient(second.url) as client,
    ):
        assert second.url != f"http://{first.address}"
        assert client.info()["ksqlServiceId"] == "second_"


def test_where_the_reaper_has_no_image_it_is_off(stack: ContainerStack) -> None:
    client = engine.connected()
    try:
        client.images.get(testcontainers_config.ryuk_image)
    except NotFound:
        assert testcontainers_config.ryuk_disabled
    finally:
        client.close()


@pytest.mark.usefixtures("docker")
def test_a_missing_image_is_one_line() -> None:
    with pytest.raises(UnavailableError, match=r"MISSING_IMAGE: .* docker pull .* GRADSTREAM_KAFKA_IMAGE") as error:  # fmt: skip
        KafkaContainer("gradstream.invalid/nothing:1").start()
    assert "\n" not in str(error.value)


def test_what_does_not_come_up_tells_its_log_and_leaves_nothing(images: dict[str, str]) -> None:
    def left() -> int:
        client = engine.connected()
        mine = {"label": f"{LABEL_SESSION_ID}={SESSION_ID}"}
        found = len(client.containers.list(all=True, filters=mine))
        client.close()
        return found

    before = left()
    with pytest.raises(UnavailableError, match=r"SERVICE_DIED: .* ended with exit code") as died:
        KsqlDBContainer("nowhere:9092", "http://nowhere:1", env={"KSQL_LISTENERS": "nonsense"}).start()  # fmt: skip
    assert "The end of its log:" in died.value.__notes__[0]
    with pytest.raises(UnavailableError, match=r"NOT_READY: .* did not answer within 1 s"):
        SchemaRegistryContainer("nowhere:9092", timeout=1).start()
    assert left() == before


def test_the_example_in_containers_runs(images: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "in_containers.py"],
        cwd=EXAMPLE, env={**os.environ, **images}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_workers_share_containers_that_the_main_process_removes(
    images: dict[str, str], tmp_path: Path
) -> None:
    project = shutil.copytree(EXAMPLE, tmp_path / "project")
    (project / "test_home.py").write_text(
        "from pathlib import Path\n"
        "def test_home(gradstream_services, pytestconfig):\n"
        "    home = Path(pytestconfig.workerinput['gradstream_home'])\n"
        "    Path('running.json').write_text((home / 'containers.json').read_text())\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "--gradstream-stack=containers", "-p", "no:cacheprovider"]  # fmt: skip
    done = subprocess.run(
        [*command, "--rootdir", str(project), "test_home.py", "test_payments.py"],
        cwd=project, env={**os.environ, **images}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    running = json.loads((project / "running.json").read_text())
    client = engine.connected()
    for gone in running["containers"]:
        with pytest.raises(NotFound):
            client.containers.get(gone)
    with pytest.raises(NotFound):
        client.networks.get(running["network"])
    client.close()
