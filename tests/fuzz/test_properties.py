"""Properties of what stands between outside data and everything else, for any input."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.verify.firetask import read_answer
from db.filters import InvalidFilter, parse, to_mongo
from db.plain import plain
from db.uri import redact
from discovery.logs import without_secrets
from discovery.workers.tasks import BadMessage, campaign_of
from model.gzip_files import unpack
from model.yaml_files import DEEPEST, MOST_VALUES, UnreadableYAML, read_yaml, read_yaml_value

settings.register_profile(
    "ci",
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1), inner, max_size=4
        )
    ),
    max_leaves=20,
)


def outcome(
    read: Callable[[Any], Any], given: Any, refusal: type[Exception]
) -> tuple[Any, str | None]:
    """Read something: what it is, or the sentence by which it is refused."""
    try:
        return read(given), None
    except refusal as error:
        return None, str(error)


#: What may be in a name or password of an address.
LETTERS = st.characters(exclude_characters="/ \t\n\r\"'<>", exclude_categories=["Cs", "Cc", "Z"])


@given(st.dictionaries(st.text("abc_", min_size=1), PLAIN, max_size=5))
def test_settings_come_back_as_they_were_written(content: dict[str, Any]) -> None:
    assert read_yaml(yaml.safe_dump(content, allow_unicode=True)) == content


@given(st.text())
def test_any_text_is_settings_or_one_sentence(text: str) -> None:
    found, refusal = outcome(read_yaml_value, text, UnreadableYAML)
    json.dumps(found, allow_nan=False)  # plain
    if refusal is not None:
        assert "\n" not in refusal
        assert 0 < len(refusal) < 500


@given(st.integers(1, 12), st.integers(2, 12))
def test_aliases_count_as_often_as_they_are_used(levels: int, width: int) -> None:
    lines = ["a0: &a0 [x]"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    sizes, total = 2, 3  # a list and its text; and the mapping around them
    for _ in range(levels):
        sizes = 1 + width * sizes
        total += sizes
    if total > MOST_VALUES:
        with pytest.raises(UnreadableYAML, match="aliases counted in full"):
            read_yaml("\n".join(lines))
    else:
        assert len(read_yaml("\n".join(lines))) == levels + 1


@given(st.integers(1, 3 * DEEPEST))
def test_depth_is_bounded(depth: int) -> None:
    text = "a: " + "[" * depth + "]" * depth
    if depth + 1 > DEEPEST + 1:
        with pytest.raises(UnreadableYAML, match="deep"):
            read_yaml(text)
    else:
        read_yaml(text)


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.binary(max_size=20))
def test_gzip_is_unpacked_as_python_does(members: list[bytes], noise: bytes) -> None:
    packed = b"".join(gzip.compress(one) for one in members)
    whole = b"".join(members)
    assert unpack(packed) == whole == gzip.decompress(packed)
    if len(whole) > 10:
        with pytest.raises(ValueError, match="when unpacked"):
            unpack(packed, limit=10)
        with pytest.raises(ValueError, match="gzip"):
            unpack(packed[: len(packed) - 9])
    try:
        expected: bytes | None = gzip.decompress(noise)
    except (OSError, EOFError):
        expected = None
    if expected is None and noise:
        with pytest.raises(ValueError, match="gzip"):
            unpack(noise)


@given(PLAIN | st.floats() | st.binary())
def test_only_names_of_campaigns_are_campaigns(value: object) -> None:
    found, refusal = outcome(campaign_of, value, BadMessage)
    if refusal is not None:
        assert len(refusal) < 200
    else:
        assert found == value
        assert isinstance(found, str)
        assert found.isascii()
        assert set(found) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
        )


@given(st.binary(max_size=400) | PLAIN.map(lambda value: json.dumps(value).encode()))
def test_a_runners_answer_can_always_be_stored(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        target = Path(folder) / "output.json"
        target.write_bytes(content)
        answer = read_answer(target, Path(folder))
    assert len(answer) == 1
    plain(answer, "answer")
    if "error" in answer:
        assert {"kind", "message", "log_tail"} <= set(answer["error"])


@given(PLAIN, st.sampled_from([math.nan, math.inf, -math.inf, 2**70]))
def test_numbers_that_no_record_holds_make_an_error_of_an_answer(value: Any, bad: float) -> None:
    with TemporaryDirectory() as folder:
        target = Path(folder) / "output.json"
        target.write_text(json.dumps({"result": {"energy": bad, "more": value}}))
        assert read_answer(target, Path(folder))["error"]["kind"] == "output"


@given(
    st.text(LETTERS).filter(lambda user: "@" not in user),
    st.text(LETTERS, min_size=6),
    st.sampled_from(["mongodb", "mongodb+srv", "redis", "rediss", "amqp", "https"]),
)
def test_no_password_is_left_of_an_address(user: str, password: str, scheme: str) -> None:
    address = f"{scheme}://{user}:{password}@db.example.org:27017/x"
    for said in (without_secrets(f"lost {address} again"), redact(address)):
        assert "db.example.org:27017/x" in said
        assert f":{password}@" not in said
        assert f"{user}:{password}" not in said


OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
CONDITIONS = st.one_of(
    st.builds("band_gap {} {}".format, OPERATORS, st.floats(-1e6, 1e6)),
    st.builds("natoms {} {}".format, OPERATORS, st.integers(0, 500)),
    st.builds('elements HAS "{}"'.format, st.sampled_from(["Ga", "N", "O"])),
    st.builds('proposer CONTAINS "{}"'.format, st.text("abc.*+$\\(", min_size=1, max_size=8)),
    st.sampled_from(["hit = TRUE", "band_gap IS KNOWN", 'state = "verified"']),
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=12,
)


@given(FILTERS)
def test_a_filter_becomes_a_query_without_programs(text: str) -> None:
    from bson import encode

    query, refusal = outcome(lambda given: to_mongo(parse(given)), text, InvalidFilter)
    if refusal is not None:
        assert "\\" in text or "deep" in refusal  # an escape of nothing; nested too deep
        return
    encode({"query": query})
    assert not {"$where", "$function", "$accumulator", "$expr"} & set(_keys(query))


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for inner in value.values() for key in _keys(inner))]
    if isinstance(value, list):
        return [key for inner in value for key in _keys(inner)]
    return []
