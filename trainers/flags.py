"""The flags of ``gradstream train``, from the table of options, and the job that they and a file describe."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from gradstream import command
from gradstream.errors import UsageError
from trainers import job_file
from trainers.job import Job
from trainers.options import BY_KEY, GROUPS, OPTIONS, SWITCH, Option

USAGE = """gradstream train --source TOPIC --target COLUMN [flags]
       gradstream train --job train.toml [flags]"""
DESCRIPTION = """\
Train a model on an Avro topic. Weights and offsets are published in one
transaction; the same command again goes on where it stopped, whether it ended,
was interrupted or was killed. docs/training.md tells the ways of training.

  gradstream train --source regression_training --target Y
  gradstream train --source regression_training --target Y \\
      --batch-size full --epochs 10000 --learning-rate 0.001
  gradstream train --source clicks --target PRICE --features AGE --mode live

What holds without a flag stands in [brackets].
"""
DEFAULTS = Job(source="")


def parser() -> command.Parser:
    made = command.parser("train", DESCRIPTION)
    made.usage = USAGE
    made.formatter_class = _Formatter
    for name in GROUPS:
        group = made.add_argument_group(name)
        for option in OPTIONS:
            if option.group == name:
                _add(group, option)
    file = made.add_argument_group("job file")
    file.add_argument("--job", metavar="FILE", help="a job in TOML; flags override what it says")
    file.add_argument(
        "--write-job", metavar="FILE", help="write such a file from the flags, and train nothing"
    )
    command.add_services(made)
    return made


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Room for our longest common flags, so that most options are one line of 80 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    """The flag of an option; what is not given is absent, so that a file may say it."""
    default = option.value(DEFAULTS)
    if option.kind is SWITCH:
        _add_switch(group, option, default)
        return
    shown = "" if default in (None, "", ()) else f" [{option.shown(default)}]"
    group.add_argument(
        option.flag,
        dest=option.key,
        metavar=option.metavar,
        choices=option.choices or None,
        default=argparse.SUPPRESS,
        help=option.remark + shown,
    )


def _add_switch(group: argparse._ArgumentGroup, option: Option, default: bool) -> None:
    """--x and --no-x, since a file may say either; help shows the one that changes something."""
    for flag, value in ((option.flag, True), (f"--no-{option.flag[2:]}", False)):
        text = option.help if value else f"without {option.help}"
        group.add_argument(
            flag,
            dest=option.key,
            action="store_const",
            const=value,
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS if value == default else text,
        )


def described(given: argparse.Namespace) -> tuple[Job, set[str]]:
    """The job that the file and, over it, the flags tell, and the keys that they name.

    Raises:
        UsageError: naming the flag or key, what was given and what would do.
    """
    flags = {
        option.key: option.read(value) if isinstance(value, str) else value
        for option in OPTIONS
        if (value := getattr(given, option.key, None)) is not None
    }
    told = {**(job_file.read(given.job) if given.job is not None else {}), **flags}
    fields: dict[str, Any] = {}
    for key, value in told.items():
        fields |= BY_KEY[key].filled(value)
    made = replace(DEFAULTS, **fields)
    for key in flags:
        option = BY_KEY[key]
        if not option.in_effect(made):
            raise UsageError(
                "BAD_VALUE",
                f"{option.flag} changes nothing without {option.needs}; give both or neither",
            )
    return made, set(told)


def job(given: argparse.Namespace) -> Job:
    """The checked job that the flags and their file describe.

    Raises:
        UsageError: naming the flag or key, what was given and what would do.
    """
    made, _ = described(given)
    made.check()
    return made
