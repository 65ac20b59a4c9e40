"""What containers need of the Docker engine: that it answers, and that images are there."""

from __future__ import annotations

import docker
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.config import testcontainers_config

from gradstream.console import notes
from gradstream.errors import UnavailableError


def connected() -> docker.DockerClient:
    """A client of the engine, which answers.

    Raises:
        UnavailableError: ``NO_DOCKER``.
    """
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise UnavailableError(
            "NO_DOCKER",
            f"no Docker engine answers ({_reason(error)}); start Docker or say where it is with DOCKER_HOST; without "
            "Docker use LocalStack, in pytest --gradstream-stack local",
        ) from None
    return client


def provide(image: str, variable: str) -> dict[str, list[str]]:
    """Have an image here, pulled if need be; its entry point and command, as one list each.

    Args:
        variable: names the image, for the error.

    Raises:
        UnavailableError: ``MISSING_IMAGE``, ``NO_DOCKER``.
    """
    client = connected()
    try:
        found = _pulled(client, image)
    except DockerException as error:
        raise UnavailableError(
            "MISSING_IMAGE",
            f"image {image} is not here and cannot be pulled ({_reason(error)}); run docker pull {image}, or name "
            f"another with {variable}",
        ) from None
    finally:
        client.close()
    configuration = found.attrs["Config"]
    return {part: configuration.get(part) or [] for part in ("Entrypoint", "Cmd")}


def spare_the_reaper() -> None:
    """Without its image, testcontainers' reaper, which removes what a killed process has left, stays off."""
    if testcontainers_config.ryuk_disabled:
        return
    client = connected()
    try:
        _pulled(client, testcontainers_config.ryuk_image)
    except DockerException:
        testcontainers_config.ryuk_disabled = True
        notes.print(
            f"Note: no image {testcontainers_config.ryuk_image}, so containers of a killed process stay; see docker ps",
            soft_wrap=True,
        )
    finally:
        client.close()


def _pulled(client: docker.DockerClient, image: str) -> docker.models.images.Image:
    try:
        return client.images.get(image)
    except ImageNotFound:
        notes.print(f"Pulling {image} ...", soft_wrap=True)
        return client.images.pull(image)


def _reason(error: Exception) -> str:
    """What the engine or its client says, in one line."""
    said = getattr(error, "explanation", None) or error
    return " ".join(str(said).split())[:300]
