"""Generated data: a function of the seed alone, with the shapes and shares that are promised."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.errors import UsageError
from producers.fraud import FRAUD_SCHEMA, KEPT, Fraud, V
from producers.regression import MAX_FEATURES, Regression


def table(data: Regression | Fraud, chunk_rows: int = 4096) -> pa.Table:
    return pa.Table.from_batches(list(data.batches(chunk_rows)), data.schema).combine_chunks()


def digest(rows: pa.Table) -> str:
    """SHA-256 of what the rows hold, in whatever chunks they come."""
    joined = rows.combine_chunks()
    found = hashlib.sha256()
    for column in joined.columns:
        array = pa.concat_arrays(column.chunks)
        values = array.to_numpy(zero_copy_only=False)
        found.update(values.tobytes() if values.dtype != object else repr(values.tolist()).encode())
    return found.hexdigest()


def test_golden_data_is_that_of_the_golden_figures() -> None:
    rows = table(Regression())
    state = np.random.RandomState(444)
    noise = 0.1 * state.randn(10_000)
    x = np.linspace(0, 2, 10_000)
    expected = 3 + 2 * x + noise
    assert rows.schema.names == ["ID", "SENSOR", "X1", "Y"]
    assert np.array_equal(rows["X1"].to_numpy(), x)
    assert np.array_equal(rows["Y"].to_numpy(), expected)
    assert rows["ID"].to_pylist() == list(range(10_000))


def test_golden_data_has_the_golden_least_squares_answer() -> None:
    rows = table(Regression())
    design = np.stack([np.ones(10_000), rows["X1"].to_numpy()], axis=1)
    found, *_ = np.linalg.lstsq(design, rows["Y"].to_numpy(), rcond=None)
    assert found == pytest.approx([2.99536719, 2.00288672], abs=5e-9)


@pytest.mark.parametrize(
    "data",
    [
        Regression(rows=5000),
        Regression("gaussian", rows=9000, features=7, empty_share=0.1),
        Fraud(rows=9000),
    ],
    ids=["golden", "gaussian", "fraud"],
)
def test_same_seed_same_bytes_for_every_chunk_size(data: Regression | Fraud) -> None:
    usual = digest(table(data))
    assert {digest(table(data, size)) for size in (4096, 1000, 97, 20_000)} == {usual}


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9000), chunk=st.integers(50, 10_000))
def test_chunks_hold_the_first_rows_in_order(rows: int, chunk: int) -> None:
    batches = list(Regression("gaussian", rows=rows, features=2, seed=1).batches(chunk))
    assert [len(batch) for batch in batches[:-1]] == [chunk] * (len(batches) - 1)
    found = pa.Table.from_batches(batches)
    assert found["ID"].to_pylist() == list(range(rows))
    assert found.equals(_nine_thousand().slice(0, rows))


def _nine_thousand(kept: list[pa.Table] = []) -> pa.Table:  # noqa: B006  made once
    if not kept:
        kept.append(table(Regression("gaussian", rows=9000, features=2, seed=1)))
    return kept[0]


def test_another_seed_gives_other_data() -> None:
    digests = {digest(table(Regression("gaussian", rows=100, seed=seed))) for seed in range(5)}
    assert len(digests) == 5


def test_endless_rows_start_like_the_others() -> None:
    endless = Regression("gaussian", rows=None, features=3).batches(2500)
    first = pa.Table.from_batches(list(itertools.islice(endless, 4)))
    assert first.equals(table(Regression("gaussian", rows=10_000, features=3)))


@pytest.mark.parametrize("features", [1, 2, 50, MAX_FEATURES])
def test_least_squares_finds_the_true_weights(features: int) -> None:
    data = Regression("gaussian", rows=5000, features=features, noise=0.01)
    rows = table(data)
    assert rows.num_columns == features + 3
    design = np.column_stack([np.ones(5000), *(c.to_numpy() for c in rows.columns[2:-1])])
    found = np.linalg.solve(design.T @ design, design.T @ rows["Y"].to_numpy())
    assert found == pytest.approx(data.true_weights(), abs=2e-3)


def test_given_weights_without_noise_are_exact() -> None:
    data = Regression("gaussian", rows=10, features=2, noise=0.0, weights=(1.0, -2.0, 0.5))
    rows = table(data)
    expected = 1.0 + -2.0 * rows["X1"].to_numpy() + 0.5 * rows["X2"].to_numpy()
    assert np.array_equal(rows["Y"].to_numpy(), expected)
    assert data.true_weights().tolist() == [1.0, -2.0, 0.5]


def test_true_weights_cannot_be_changed_from_outside() -> None:
    data = Regression("gaussian", features=2)
    data.true_weights()[:] = 0
    assert data.true_weights().any()


@pytest.mark.parametrize("kind", ["regression", "golden", "fraud"])
def test_empty_share_changes_nothing_else(kind: str) -> None:
    def rows(share: float) -> pa.Table:
        if kind == "fraud":
            return table(Fraud(rows=10_000, empty_share=share))
        return table(Regression("golden" if kind == "golden" else "gaussian", empty_share=share))

    full, holed = rows(0.0), rows(0.2)
    last = full.num_columns - 1
    assert full.remove_column(last).equals(holed.remove_column(last))
    assert full.column(last).null_count == 0
    assert holed.column(last).null_count == pytest.approx(2000, abs=200)
    kept = holed.column(last).is_valid()
    assert holed.column(last).filter(kept).equals(full.column(last).filter(kept))


def test_sensors_have_names_worth_masking() -> None:
    sensors = table(Regression())["SENSOR"].to_pylist()
    assert len(set(sensors)) > 1000
    assert all(name.partition("-")[0].isalpha() and name[-1].isdigit() for name in sensors)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"rows": 0}, "BAD_ROWS"),
        ({"data": "golden", "rows": None}, "BAD_ROWS"),
        ({"data": "golden", "features": 2}, "BAD_FEATURES"),
        ({"features": 0}, "BAD_FEATURES"),
        ({"features": 1001}, "BAD_FEATURES"),
        ({"seed": -1}, "BAD_SEED"),
        ({"noise": float("nan")}, "BAD_NOISE"),
        ({"noise": -1.0}, "BAD_NOISE"),
        ({"empty_share": 1.5}, "BAD_SHARE"),
        ({"data": "golden", "weights": (3.0, 2.0)}, "BAD_WEIGHTS"),
        ({"weights": (1.0,)}, "BAD_WEIGHTS"),
        ({"weights": (1.0, float("inf"))}, "BAD_WEIGHTS"),
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as raised:
        Regression(**{"data": "gaussian", **wrong})  # type: ignore[arg-type]
    assert raised.value.code == code


@pytest.fixture(scope="module")
def payments() -> pa.Table:
    return table(Fraud(rows=200_000))


def test_fraud_schema_is_that_of_the_golden_page(payments: pa.Table) -> None:
    names = ["ID", "TIMESTAMP", "USER", "TIME", *(f"V{n}" for n in range(1, 29)), "AMOUNT", "CLASS"]
    assert payments.schema.names == names
    assert payments.schema == FRAUD_SCHEMA
    assert len(KEPT) == 31
    assert all(column.null_count == 0 for column in payments.columns[:-1])


def test_frauds_are_rare_and_stand_out(payments: pa.Table) -> None:
    label = np.array(payments["CLASS"].to_pylist())
    assert set(label) == {"0", "1", None}
    fraud = label == "1"
    assert fraud.sum() == pytest.approx(340, abs=60)
    for name, sign in (("V14", -1), ("V17", -1), ("V12", -1), ("V10", -1), ("V4", 1), ("V11", 1)):
        values = payments[name].to_numpy()
        shift = (values[fraud].mean() - values[~fraud].mean()) / values[~fraud].std()
        assert sign * shift > 2, name


def test_components_spread_less_and_less_and_have_no_mean(payments: pa.Table) -> None:
    normal = np.array(payments["CLASS"].to_pylist()) != "1"
    values = np.stack([payments[name].to_numpy()[normal] for name in V])
    spread = values.std(axis=1)
    assert (np.diff(spread) < 0.05).all()
    assert spread[0] > 5 * spread[-1]
    assert np.abs(values.mean(axis=1) / spread).max() < 0.02
    kurtosis = ((values[13] / spread[13]) ** 4).mean()
    assert kurtosis > 3.5  # heavier tails than a normal's 3


def test_amounts_are_skewed_and_have_cents(payments: pa.Table) -> None:
    amounts = payments["AMOUNT"].to_numpy()
    assert amounts.min() >= 0
    assert np.array_equal(np.round(amounts, 2), amounts)
    assert np.median(amounts) == pytest.approx(22, rel=0.1)
    assert amounts.mean() > 3 * np.median(amounts)


def test_time_ascends_over_two_days_with_quiet_nights(payments: pa.Table) -> None:
    time = payments["TIME"].to_numpy()
    assert time[0] == 0
    assert (np.diff(time) >= 0).all()
    assert 172_000 < time[-1] < 172_800
    hours = np.bincount(time // 3600 % 24, minlength=24)
    assert hours[11] > 4 * hours[4]
    assert payments["TIMESTAMP"][0].as_py() == "2013-09-01T00:00:00Z"
    assert payments["TIMESTAMP"][-1].as_py().startswith("2013-09-02T23:5")


def test_endless_payments_go_on_after_two_days() -> None:
    batches = itertools.islice(Fraud(rows=None).batches(50_000), 6)
    time = pa.Table.from_batches(list(batches))["TIME"].to_numpy()
    assert (np.diff(time) >= 0).all()
    assert time[-1] > 172_800
