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
from gradstream.config import Services
from gradstream.console import notes, progress, results
from gradstream.errors import DataError
from gradstream.stack import LocalStack
from producers.fraud import Fraud
from producers.regression import GOLDEN_ROWS
from trainers.chain import STAGES, WeightsRecord
from trainers.loop import Status

TOLERANCE = 1e-8


def main(argv: list[str]) -> int:
    parser = command.parser("demo", "Run the whole pipeline on real parts and show the result.")
    parser.add_argument("--keep", action="store_true", help="leave the services running")
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo.png"), help="the picture (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    stack = LocalStack()
    started = stack.up()
    try:
        begun = time.perf_counter()
        services = stack.services
        story, records = tell(services, Topics.free(services))
        show(story, records)
        from demo.picture import (
            draw,
        )  # Matplotlib takes a second to load; the services start meanwhile

        draw(story, arguments.out)
        results.print(f"[bold]picture[/]  {arguments.out}")
        notes.print(f"the pipeline took {time.perf_counter() - begun:.1f} s")
    finally:
        if started and not arguments.keep:
            stack.down()
    if not started or arguments.keep:
        notes.print("the services still run: try gradstream weights; gradstream down stops them")
    check(story)
    return 0


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
    results.print(weights_table(story))
    results.print(stages_table(story, published))


def weights_table(story: Story) -> Table:
    table = Table(
        title="What was learned: 10,000 full-batch epochs, read back from gradstream_weights"
    )
    for heading in ("", "published", "golden figure", "least squares", "true"):
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
    table = Table(title="Where the time went")
    for heading in ("stage", "seconds", "records/s", "of which, in ms"):
        table.add_column(
            heading, justify="right" if heading in ("seconds", "records/s") else "left"
        )
    for stage, seconds in story.stages.items():
        inside = ""
        if records := published.get(stage):
            spent = {s: sum(r.timings_us.get(s, 0) for r in records) / 1000 for s in STAGES}
            inside = "  ".join(f"{s} {ms:,.0f}" for s, ms in spent.items() if ms >= 0.5)
        table.add_row(stage, f"{seconds:.2f}", f"{story.rates[stage]:,.0f}", inside)
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
            f"the published weights differ from the golden figure by {difference:.2g}; "
            "please report this with your processor and the output above",
        )
    results.print(Panel.fit("the golden figure came out of Kafka to 8 decimals", style="green"))


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
