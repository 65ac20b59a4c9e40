"""train.toml: a job as a file. Its keys are the flags, with ``_`` for ``-``; flags override what it says."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gradstream.errors import DataError, UsageError
from trainers.job import Job
from trainers.options import BY_KEY, GROUPS, OPTIONS, Option

HEAD = """\
# A training job; start it with: gradstream train --job {name}
# Each key is the flag of that name, and flags override what stands here. Lines behind # show what holds without them,
# or, where nothing does, how it is written.
"""
COLUMN = 42  # where a remark begins


def read(path: str) -> dict[str, Any]:
    """The options that a file gives, by key.

    Raises:
        DataError: NO_FILE, BAD_TOML.
        UsageError: UNKNOWN_KEY with the nearest one, BAD_VALUE with what would do; both name the file.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError("NO_FILE", f"cannot read {path}: {error.strerror}; check --job") from None
    except UnicodeDecodeError:
        raise DataError("BAD_TOML", f"{path} is no text in UTF-8; save it as such") from None
    except ValueError as error:
        raise DataError("BAD_TOML", f"{path}: {error}; see docs/training.md") from None
    for key in found:
        if key not in BY_KEY:
            near = get_close_matches(key.lower().replace("-", "_"), BY_KEY, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "see gradstream train --help: the keys are its flags"
            )
            raise UsageError("UNKNOWN_KEY", f"{path}: no key {key!r}; {hint}")
    return {key: BY_KEY[key].load(raw, path) for key, raw in found.items()}


def write(path: str, job: Job, given: Collection[str]) -> None:
    """Writes the job with a remark for each option; those that were given stand in force, the others behind #.

    Raises:
        DataError: FILE_EXISTS, NO_FILE.
    """
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text(job, given, path))
    except FileExistsError:
        raise DataError(
            "FILE_EXISTS", f"{path} is there already; remove it, or give another --write-job"
        ) from None
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}; give another --write-job"
        raise DataError("NO_FILE", message) from None


def text(job: Job, given: Collection[str], name: str = "train.toml") -> str:
    lines = [HEAD.format(name=name)]
    for group in GROUPS:
        lines.append(f"# {group[0].upper()}{group[1:]}")
        lines += [_line(o, job, o.key in given) for o in OPTIONS if o.group == group]
        lines.append("")
    return "\n".join(lines)


def _line(option: Option, job: Job, given: bool) -> str:
    value = option.value(job)
    in_force = (given and value is not None) or option.key == "source"
    shown = option.example if value in (None, (), "") and not in_force else value
    setting = f"{option.key} = {option.kind.dump(shown)}"
    return f"{setting if in_force else f'# {setting}':{COLUMN}}  # {option.remark}"
