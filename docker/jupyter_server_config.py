"""Jupyter in its container: the token comes from a compose secret, so that no log or process list shows it."""

from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter gives it to its configuration files

_token = Path("/run/secrets/jupyter_token").read_text().strip()
if len(_token) < 16:
    raise SystemExit(
        "BAD_TOKEN: the secret jupyter_token has fewer than 16 characters; make one with docker/preflight.py"
    )
c.IdentityProvider.token = _token
c.ServerApp.ip = "0.0.0.0"  # noqa: S104  the container's; compose publishes it on the host's loopback only
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/home/gradstream/notebooks"
