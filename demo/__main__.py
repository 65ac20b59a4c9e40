"""``gradstream demo``: stack up, produce, SQL, train, show; stack down unless ``--keep``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.panel import Panel
from rich.progress import Progress, TaskID
from rich.table import Table

from demo import pipeline
from demo.pipeline import GOLDEN, Topics
from demo.story import Story
from gradstream import command
from gradstream.config import Services, home
from gradstream.console import notes, progress, results
from gradstream.errors import DataError
from gradstream.stack import LocalStack
from producers.fraud import Fraud
from producers.regression import GOLDEN_ROWS
from trainers.chain import STAGES, WeightsRecord
from trainers.loop import Status

TOLERANCE = 1e-8
ABOUT = """Run the whole pipeline on real parts and show the result.

Starts Kafka, a schema registry and the KSQL engine on this machine, produces two streams with known answers,
filters and masks them with SQL, trains a linear model on one and an autoencoder on the other, reads the weights
back from Kafka and compares them with what they must be. Topics are the demo's own; no data of yours is touched."""


def main(argv: list[str]) -> int:
    parser = command.parser("demo", ABOUT)
    parser.add_argument(
        "--keep", action="store_true", help="leave the services running, to look around in them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo.png"),
        metavar="FILE.png",
        help="where the picture goes (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    stack = LocalStack()
    started = stack.up()
    try:
        begun = time.perf_counter()
        services = stack.services
        topics = Topics.free(services)
        story, records = tell(services, topics)
        show(story, records)
        if not arguments.keep:
            pipeline.drop(services, topics)
        results.print(f"picture: {picture(story, arguments.out)}", markup=False, soft_wrap=True)
        notes.print(f"the pipeline took {time.perf_counter() - begun:.1f} s")
    finally:
        if started and not arguments.keep:
            stack.down()
    if not started or arguments.keep:
        notes.print("the services still run: try gradstream weights; gradstream down stops them")
    else:
        notes.print("the services are stopped; gradstream up starts them again")
    check(story)
    return 0


def picture(story: Story, path: Path) -> Path:
    """Draws it there, or in gradstream's own folder where that cannot be written; says where it is."""
    from demo.picture import draw  # Matplotlib takes a second to load

    try:
        draw(story, path)
    except OSError as error:
        notes.print(f"cannot write {path}: {error.strerror}", markup=False, soft_wrap=True)
        path = home() / path.name
        draw(story, path)
    return path


class Watch:
    """A progress bar for each step; remembers how long it took and how many records it had."""

    def __init__(
        self, bar: Progress, story_stages: dict[str, float], rates: dict[str, float]
    ) -> None:
        self.bar, self.stages, self.rates = bar, story_stages, rates

    @contextmanager
    def step(self, name: str, total: int) -> Iterator[TaskID]:
        """One step over so many records."""
        task = self.bar.add_task(name, total=total)
        start = time.perf_counter()
        yield task
        seconds = time.perf_counter() - start
        self.stages[name], self.rates[name] = seconds, total / seconds
        self.bar.update(task, completed=total)


def tell(services: Services, topics: Topics) -> tuple[Story, dict[str, list[WeightsRecord]]]:
    """Runs every step and returns what it found."""
    stages: dict[str, float] = {}
    rates: dict[str, float] = {}
    kept = kept_frauds()
    with progress("records") as bar:
        watch = Watch(bar, stages, rates)
        with watch.step("produce regression", GOLDEN_ROWS + pipeline.UNTARGETED) as task:
            pipeline.produce_regression(
                services, topics.regression.source_topic, counter(bar, task)
            )
        with watch.step("produce fraud", pipeline.FRAUD_ROWS) as task:
            pipeline.produce_fraud(services, topics.fraud.source_topic, counter(bar, task))
        with watch.step("KSQL: mask, filter", GOLDEN_ROWS + kept) as task:
            for source in (topics.regression, topics.fraud):
                pipeline.apply(services, source)
            regression = pipeline.read_all(
                services, topics.regression.training_topic, GOLDEN_ROWS, counter(bar, task)
            )
            fraud = pipeline.read_all(
                services, topics.fraud.training_topic, kept, counter(bar, task, GOLDEN_ROWS)
            )
        golden, online = pipeline.golden_job(topics), pipeline.fraud_job(topics)
        with watch.step("train regression", golden.epochs * len(regression)) as task:
            descent = pipeline.run_job(golden, services, follow(bar, task))
        with watch.step("train fraud", online.epochs * len(fraud)) as task:
            batches = pipeline.run_job(online, services, follow(bar, task))
    before, after = pipeline.samples(topics, regression)
    story = Story(
        pipeline.regression_story(regression, *descent),
        pipeline.fraud_story(fraud, *batches),
        before,
        after,
        stages,
        rates,
    )
    return story, {"train regression": descent[0], "train fraud": batches[0]}


def counter(bar: Progress, task: TaskID, before: int = 0) -> Callable[[int], None]:
    """Moves a bar to the number of records done, after those of an earlier part."""
    return lambda records: bar.update(task, completed=before + records)


def follow(bar: Progress, task: TaskID) -> Callable[[Status], None]:
    """Moves a bar along with a trainer, with the loss beside it."""
    title = bar.tasks[task].description

    def watch(status: Status) -> None:
        loss = "" if status.loss is None else f" ↓{status.loss:.5f}"
        bar.update(task, completed=status.records, description=f"{title}{loss}")

    return watch


def kept_frauds() -> int:
    """Rows of the fraud stream that have a class: what the SQL must let through."""
    batches = Fraud(rows=pipeline.FRAUD_ROWS).batches()
    return sum(len(batch) - batch.column("CLASS").null_count for batch in batches)


def show(story: Story, published: dict[str, list[WeightsRecord]]) -> None:
    results.print(stages_table(story, published))
    results.print(weights_table(story))


def weights_table(story: Story) -> Table:
    table = Table(title="Weights after 10,000 full-batch epochs", title_justify="left", box=None)
    for heading in ("", "published", "expected", "least squares", "true"):
        table.add_column(heading, justify="right" if heading else "left")
    job = story.regression
    for i, name in enumerate(("intercept", "X1")):
        right = abs(job.learned[i] - GOLDEN[i]) < TOLERANCE
        mark = "[green]✓[/]" if right else "[red]✗[/]"
        table.add_row(
            name,
            f"[bold]{job.learned[i]:.8f}[/] {mark}",
            f"{GOLDEN[i]:.8f}",
            f"{job.exact[i]:.8f}",
            f"{job.true[i]:.0f}",
        )
    return table


def stages_table(story: Story, published: dict[str, list[WeightsRecord]]) -> Table:
    """Seconds and records a second of each step, and what took the trainer longest."""
    table = Table(title="Where the time went", title_justify="left", box=None)
    table.add_column("step", no_wrap=True)
    table.add_column("seconds", justify="right", min_width=7)  # a narrow terminal cuts no number
    table.add_column("records/s", justify="right", min_width=10)
    table.add_column("of which", no_wrap=True)
    for step, seconds in story.stages.items():
        records = published.get(step, [])
        spent = {of: sum(r.timings_us.get(of, 0) for r in records) / 1e6 for of in STAGES}
        largest = sorted(spent, key=lambda of: -spent[of])[:2]
        inside = ", ".join(f"{of} {spent[of]:.2f} s" for of in largest) if records else ""
        table.add_row(step, f"{seconds:.2f}", f"{story.rates[step]:,.0f}", inside)
    return table


def check(story: Story) -> None:
    """The demo is a test as well: a wrong figure is an error.

    Raises:
        DataError: WRONG_FIGURE.
    """
    difference = float(np.abs(story.regression.learned - GOLDEN).max())
    if difference >= TOLERANCE:
        raise DataError(
            "WRONG_FIGURE",
            f"the published weights differ from the expected ones by {difference:.2g}; "
            "please report this with your processor and the output above",
        )
    results.print(Panel.fit("the expected weights came out of Kafka, to 8 decimals", style="green"))


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
