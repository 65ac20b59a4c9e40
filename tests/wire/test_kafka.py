"""Settings that are refused, addresses that do not answer, and questions to a broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError, UsageError
from gradstream.wire import kafka
from gradstream.wire.writer import Writer
from tests.crowd import in_time

NOWHERE = Services("127.0.0.1:1", "", "")


@pytest.mark.parametrize(
    "name",
    [
        "plugin.library.paths",
        "ssl.engine.location",
        "ssl.providers",
        "sasl.kerberos.kinit.cmd",
        "sasl.oauthbearer.token.endpoint.url",
        "enable.ssl.certificate.verification",
        "bootstrap.servers",
        "enable.auto.commit",
    ],
)
def test_settings_that_load_code_or_loosen_promises_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"FORBIDDEN_SETTING.*{name}"):
        kafka.settings(NOWHERE, {name: "x"})


def test_a_misspelt_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean linger\.ms"):
        kafka.settings(NOWHERE, {"linger.mss": 5})


def test_the_host_name_check_stays_on() -> None:
    with pytest.raises(ConfigError, match="must stay 'https'"):
        kafka.settings(NOWHERE, {"ssl.endpoint.identification.algorithm": "none"})


def test_a_password_must_be_a_word() -> None:
    with pytest.raises(ConfigError, match="BAD_SETTING") as raised:
        kafka.settings(NOWHERE, {"sasl.password": {"secret": 1}})  # type: ignore[dict-item]
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:9092"])
def test_an_unreachable_broker_is_one_line_with_address_and_advice(address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(UnavailableError) as raised:
        kafka.check_broker(Services(address, "", ""))
    assert in_time(time.monotonic() - begin, 10)
    assert raised.value.code == "BROKER_UNREACHABLE"
    assert address in str(raised.value)
    assert "gradstream up" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_writer_to_nowhere_fails_the_same_way() -> None:
    with pytest.raises(UnavailableError, match="BROKER_UNREACHABLE"):
        Writer(NOWHERE)


@pytest.mark.parametrize("address", ["localhost", "localhost:kafka", "localhost:70000", ":9092"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match=r"BAD_ADDRESS.*HOST:PORT"):
        kafka.check_broker(Services(address, "", ""))


@pytest.mark.parametrize("name", ["", "a b", ".", "..", "ä", "a/b", "x" * 250])
def test_illegal_topic_names_are_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(UsageError, match="BAD_TOPIC_NAME"):
        kafka.ensure_topics(NOWHERE, {name: 1})


@pytest.mark.integration
def test_topics_are_created_once_and_answer(
    services: Services, unique: Callable[[str], str]
) -> None:
    topic = unique("wire")
    kafka.ensure_topics(services, {topic: 3}, {"cleanup.policy": "compact"})
    kafka.ensure_topics(services, {topic: 1})
    assert kafka.partitions(services, topic) == 3
    assert kafka.topic_config(services, topic)["cleanup.policy"] == "compact"
    assert kafka.end_offsets(services, topic) == {(topic, p): 0 for p in range(3)}
    assert kafka.begin_offsets(services, topic) == {(topic, p): 0 for p in range(3)}
    kafka.delete_topics(services, [topic])


@pytest.mark.integration
def test_a_topic_made_anew_has_another_id(services: Services, unique: Callable[[str], str]) -> None:
    topic = unique("wire")
    kafka.ensure_topics(services, {topic: 1})
    first = kafka.topic_ids(services, [topic])[topic]
    assert first == kafka.topic_ids(services, [topic])[topic]
    kafka.delete_topics(services, [topic])
    deadline = time.monotonic() + 10
    second = first
    while second == first and time.monotonic() < deadline:
        kafka.ensure_topics(services, {topic: 1})
        second = kafka.topic_ids(services, [topic])[topic]
    assert second != first
    kafka.delete_topics(services, [topic])


@pytest.mark.integration
def test_deleted_topics_are_listed_no_more(
    services: Services, unique: Callable[[str], str]
) -> None:
    for _ in range(5):
        topics = [unique("wire") for _ in range(4)]
        kafka.ensure_topics(services, dict.fromkeys(topics, 3))
        kafka.delete_topics(services, topics)
        assert not kafka.list_topics(services).keys() & set(topics)


@pytest.mark.integration
def test_an_unknown_topic_is_answered_with_the_nearest(
    services: Services, unique: Callable[[str], str]
) -> None:
    topic = unique("wire")
    kafka.ensure_topics(services, {topic: 1})
    with pytest.raises(DataError, match=f"UNKNOWN_TOPIC.*did you mean {topic}"):
        kafka.require_topics(services, [topic[:-1]])
    with pytest.raises(DataError, match="UNKNOWN_TOPIC"):
        kafka.end_offsets(services, topic + "_never")
    kafka.delete_topics(services, [topic])


@pytest.mark.integration
def test_what_the_broker_refuses_is_told_in_its_words(
    services: Services, unique: Callable[[str], str]
) -> None:
    with pytest.raises(UnavailableError, match=r"TOPIC_REFUSED.*cleanup\.policy"):
        kafka.ensure_topics(services, {unique("wire"): 1}, {"cleanup.policy": "sometimes"})


@pytest.mark.integration
def test_a_topic_has_offsets_from_its_first_moment(
    services: Services, unique: Callable[[str], str]
) -> None:
    for _ in range(8):
        topic = unique("new")
        kafka.ensure_topics(services, {topic: 6})
        assert kafka.end_offsets(services, topic) == {(topic, at): 0 for at in range(6)}
