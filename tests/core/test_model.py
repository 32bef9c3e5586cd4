"""The parts of a plan tile the file, plans survive a round trip as text, and no message shows a link."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from yarl import URL

from aioframeio_upload import Part, Plan, PlanError, UploadedFile, UploadStatus
from aioframeio_upload._core.events import record_to_dict
from aioframeio_upload._core.presigned import LinkLifetime, link_lifetime
from tests.support.strategies import INSTANTS, JSON, PARTS, SECRET, SIZES, TEXT, links, moved, plans

LINK = "https://s3.example/part?X-Amz-Signature=" + SECRET
PLAN = Plan(
    "f1", "d1", "take.mov", 3, (Part(1, 0, 2, LINK), Part(2, 2, 1, LINK)), "a1", "video/mp4", "https://v", "new"
)


def plan_of(data: Any) -> Plan | None:
    """Return the plan of an answer, or None; a PlanError that shows the secret fails the test."""
    try:
        return Plan.from_response(data)
    except PlanError as caught:
        error = caught
    assert SECRET not in str(error)
    return None


def answer(sizes: list[int], **changes: Any) -> dict[str, Any]:
    """Return the service's answer for a file that it has just created."""
    told = {
        "id": "f1",
        "parent_id": "d1",
        "name": "take.mov",
        "file_size": sum(sizes),
        "media_type": None,
        "view_url": "https://next.frame.io/f1",
        "status": "created",
        "upload_urls": [{"size": size, "url": LINK} for size in sizes],
    }
    return told | changes


# -- tiling ----------------------------------------------------------------------------------------------------------


@given(SIZES)
def test_parts_of_the_servers_own_sizes_tile_the_file(sizes: list[int]) -> None:
    plan = Plan.from_response(answer(sizes))
    assert [part.size for part in plan.parts] == sizes
    assert [part.number for part in plan.parts] == list(range(1, len(sizes) + 1))
    ends = [part.offset + part.size for part in plan.parts]
    assert [part.offset for part in plan.parts] == [0, *ends[:-1]]
    assert ends[-1] == plan.size == sum(sizes)


TILING_ERRORS: dict[str, Callable[[tuple[Part, ...], int, int], tuple[Part, ...]]] = {
    "a gap": lambda parts, index, by: moved(parts, index, offset=parts[index].offset + by),
    "an overlap": lambda parts, index, by: moved(parts, index, offset=parts[index].offset - by),
    "a part too long": lambda parts, index, by: moved(parts, index, size=parts[index].size + by),
    "an empty part": lambda parts, index, _: moved(parts, index, size=0),
    "a negative part": lambda parts, index, by: moved(parts, index, size=-by),
    "a wrong number": lambda parts, index, by: moved(parts, index, number=parts[index].number + by),
    "a part twice": lambda parts, index, _: (*parts[: index + 1], *parts[index:]),
    "a part too few": lambda parts, index, _: parts[:index] + parts[index + 1 :],
    "an empty part too many": lambda parts, _, __: (*parts, Part(len(parts) + 1, sum(p.size for p in parts), 0, LINK)),
    "no part": lambda *_: (),
    "another order": lambda parts, index, _: parts[index + 1 :] + parts[: index + 1],
}


@pytest.mark.parametrize("wrong", TILING_ERRORS.values(), ids=TILING_ERRORS)
@given(PARTS, st.data())
def test_parts_that_do_not_tile_make_no_plan(wrong: Any, parts: tuple[Part, ...], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(parts) - 1))
    broken = wrong(parts, index, data.draw(st.integers(1, 10**6)))
    assume(broken != parts)
    with pytest.raises(PlanError) as caught:
        Plan("f1", "d1", "take.mov", sum(part.size for part in parts), broken)
    assert SECRET not in str(caught.value)


@given(PARTS, st.integers().filter(bool))
def test_parts_that_add_up_to_another_size_make_no_plan(parts: tuple[Part, ...], by: int) -> None:
    with pytest.raises(PlanError):
        Plan("f1", "d1", "take.mov", sum(part.size for part in parts) + by, parts)


def test_a_plan_error_says_what_does_not_fit() -> None:
    with pytest.raises(PlanError, match=r"^part 2 \(offset 3, size 1\) does not follow on from byte 2$"):
        replace(PLAN, parts=moved(PLAN.parts, 1, offset=3))
    with pytest.raises(PlanError, match=r"^2 parts hold 3 bytes, the file has 4$"):
        replace(PLAN, size=4)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "take.mov",
        "ftp://host/part",
        "file:///etc/passwd",
        "https://",
        "https:///part",
        "https://[",
        "https://[::1",
        "https://host:port/part",
        "https://host:99999/part",
        "https://host/a part",
        "https://host/part\r\nX-Injected: 1",
        "https://host/part\n",
        "https://h\N{LATIN SMALL LETTER O WITH DIAERESIS}st/part",
        "//host/part",
        "https://\\",
    ],
)
def test_a_part_whose_link_no_request_can_be_made_of_makes_no_plan(url: str) -> None:
    with pytest.raises(PlanError, match=r"^part 1 has no usable http\(s\) URL$"):
        Plan("f1", "d1", "take.mov", 1, (Part(1, 0, 1, url),))


@given(links() | st.text(max_size=20).map("https://".__add__))
def test_aiohttps_url_takes_every_link_of_a_plan_as_it_stands(url: str) -> None:
    try:
        Plan("f1", "d1", "take.mov", 1, (Part(1, 0, 1, url),))
    except PlanError:
        return
    assert URL(url, encoded=True).host


# -- what is shown ---------------------------------------------------------------------------------------------------


@given(plans())
def test_no_repr_shows_the_query_of_a_link(plan: Plan) -> None:
    for shown in (repr(plan), str(plan), f"{plan}", repr(plan.parts), repr(plan.parts[0])):
        assert SECRET not in shown
    assert f"number={len(plan.parts)}," in repr(plan)


@given(st.text(max_size=30), st.text(max_size=30))
@example("https://[", "")
@example("", "")
def test_no_repr_shows_the_query_of_an_invalid_link(before: str, after: str) -> None:
    assert SECRET not in repr(Part(1, 0, 1, f"{before}?{SECRET}{after}"))


def test_a_parts_repr_shows_where_its_link_leads() -> None:
    shown = "Part(number=1, offset=0, size=2, url='https://s3.example:444/a%20b?…')"
    assert repr(Part(1, 0, 2, "https://me:pw@s3.example:444/a%20b?X-Amz-Signature=1#x")) == shown


# -- as text ---------------------------------------------------------------------------------------------------------


@given(plans())
def test_a_plan_survives_as_text(plan: Plan) -> None:
    text = plan.to_json()
    assert Plan.from_json(text) == plan
    assert Plan.from_json(text.encode()) == plan
    assert Plan.from_json(text).to_json() == text


def refused(text: str | bytes) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_json(text)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert SECRET not in told
    assert caught.value.__cause__ is caught.value.__context__ is None


@given(st.text() | JSON.map(json.dumps) | st.binary())
@example("[" * 100_000)
@example('{"parts":' * 100_000)
@example(b"\xff")
@example("1" * 5000)
@example("NaN")
@example(f'"{SECRET}')
@example(f'{{"parts": [], "{SECRET}": 1}}')
def test_a_text_that_is_not_a_plan_is_a_plan_error_that_does_not_quote_it(text: str | bytes) -> None:
    refused(text)


NOT_OF_THEIR_TYPE = st.booleans() | st.floats() | st.just(SECRET) | st.just([SECRET]) | st.just({SECRET: SECRET})


@given(plans(), st.sampled_from(["number", "offset", "size"]), NOT_OF_THEIR_TYPE | st.none())
def test_a_number_of_another_type_is_a_plan_error_that_does_not_quote_the_text(
    plan: Plan, name: str, value: Any
) -> None:
    told = json.loads(plan.to_json())
    told["parts"][-1][name] = value
    refused(json.dumps(told))


@given(plans(), st.sampled_from(["file_id", "folder_id", "name", "account_id", "media_type", "view_url", "status"]))
def test_a_word_of_another_type_in_the_text_is_a_plan_error(plan: Plan, name: str) -> None:
    for value in (1, 1.5, True, [SECRET], {SECRET: 1}):
        refused(json.dumps(json.loads(plan.to_json()) | {name: value}))


@given(plans(), st.data())
def test_a_truncated_plan_is_a_plan_error_that_does_not_quote_it(plan: Plan, data: st.DataObject) -> None:
    text = plan.to_json()
    refused(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize("name", ["file_id", "folder_id", "name", "size", "parts"])
def test_a_text_without_a_field_that_every_plan_has_is_a_plan_error(name: str) -> None:
    told = json.loads(PLAN.to_json())
    del told[name]
    refused(json.dumps(told))


def test_a_text_with_a_field_that_no_plan_has_is_a_plan_error() -> None:
    refused(json.dumps(json.loads(PLAN.to_json()) | {SECRET: SECRET}))


def test_a_text_whose_fields_with_a_default_are_left_out_is_a_plan() -> None:
    told = json.loads(PLAN.to_json())
    for name in ("account_id", "media_type", "view_url", "status"):
        del told[name]
    assert Plan.from_json(json.dumps(told)) == replace(
        PLAN, account_id=None, media_type=None, view_url=None, status="created"
    )


# -- from an answer --------------------------------------------------------------------------------------------------


def as_objects(told: dict[str, Any]) -> SimpleNamespace:
    """The same answer as a record of the SDK, with attributes instead of keys."""
    slices = [SimpleNamespace(**one) for one in told["upload_urls"]]
    return SimpleNamespace(**{**told, "upload_urls": slices})


@given(SIZES, st.none() | TEXT)
def test_the_sdks_object_and_the_dict_make_the_same_plan(sizes: list[int], media_type: str | None) -> None:
    told = answer(sizes, media_type=media_type)
    plan = Plan.from_response(told, account_id="a1")
    assert Plan.from_response(as_objects(told), account_id="a1") == plan
    assert (plan.file_id, plan.folder_id, plan.name, plan.account_id) == ("f1", "d1", "take.mov", "a1")
    assert (plan.media_type, plan.view_url, plan.status) == (media_type, "https://next.frame.io/f1", "created")
    assert {part.url for part in plan.parts} == {LINK}


@given(JSON | st.binary())
def test_an_answer_of_any_shape_makes_a_plan_or_a_plan_error(data: Any) -> None:
    with pytest.raises(PlanError):
        Plan.from_response(data)


FIELDS = ["id", "parent_id", "name", "file_size", "media_type", "view_url", "status", "upload_urls"]


@given(SIZES, st.sampled_from(FIELDS), JSON, st.booleans())
@example([1], "file_size", 10**5000, False)
@example([1], "upload_urls", [{"size": 9 * 10**4299, "url": LINK}] * 2, False)
@example([1], "upload_urls", [SECRET], False)
@example([1], "upload_urls", [{"size": True, "url": LINK}], False)
@example([1], "file_size", True, True)
def test_an_answer_with_a_field_of_any_shape_makes_a_plan_or_a_plan_error(
    sizes: list[int], name: str, value: Any, as_object: bool
) -> None:
    told = answer(sizes, **{name: value})
    data = SimpleNamespace(**told) if as_object else told
    plan = plan_of(data)
    assert plan is None or Plan.from_json(plan.to_json()) == plan


@given(SIZES, st.sampled_from(["size", "url"]), JSON)
def test_an_answer_with_a_link_of_any_shape_makes_a_plan_or_a_plan_error(
    sizes: list[int], name: str, value: Any
) -> None:
    told = answer(sizes)
    told["upload_urls"][-1][name] = value
    plan = plan_of(told)
    assert plan is None or plan.parts[-1].size == sizes[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": None}, "the answer's id is missing"),
        ({"id": 7}, "the answer's id is int, not str"),
        ({"name": None}, "the answer's name is missing"),
        ({"file_size": "3"}, "the answer's file_size is str, not int"),
        ({"file_size": 1 << 63}, "the answer's file_size is out of range"),
        ({"upload_urls": None}, "the answer has no upload_urls"),
        ({"upload_urls": []}, "the answer has no upload_urls"),
        ({"upload_urls": "urls"}, "the answer has no upload_urls"),
        ({"upload_urls": [{"url": LINK}]}, "the answer's upload_urls[0].size is missing"),
        ({"upload_urls": [{"size": 3, "url": 1}]}, "the answer's upload_urls[0].url is int, not str"),
        ({"upload_urls": [{"size": 2, "url": LINK}]}, "1 parts hold 2 bytes, the file has 3"),
    ],
)
def test_a_plan_error_has_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_response(answer([3], **changes))
    assert str(caught.value) == message


# -- expiry ----------------------------------------------------------------------------------------------------------


@given(INSTANTS.map(lambda at: at.replace(microsecond=0)), st.integers(0, 604_800))
def test_the_expiry_of_a_link_is_read_from_it(signed_at: datetime, seconds: int) -> None:
    stamp = f"{signed_at.year:04}{signed_at:%m%dT%H%M%SZ}"
    url = f"https://host/part?X-Amz-Date={stamp}&X-Amz-Expires={seconds}&X-Amz-Signature={SECRET}"
    try:
        expected = LinkLifetime(signed_at, signed_at + timedelta(seconds=seconds))
    except OverflowError:
        assert link_lifetime([url]) is None
    else:
        assert link_lifetime([url]) == expected


@given(
    st.text(),
    st.text("0123456789TZ-+. \N{ARABIC-INDIC DIGIT THREE}", max_size=20),
    st.text("0123456789-+._ e\N{ARABIC-INDIC DIGIT THREE}", max_size=20),
)
@example("https://[", "", "")
@example("https://host", "00000101T000000Z", "1")
@example("https://host", "99991231T235959Z", "999999999")
def test_reading_when_a_link_dies_never_raises(url: str, signed_at: str, seconds: str) -> None:
    for text in (url, f"{url}?X-Amz-Date={signed_at}&X-Amz-Expires={seconds}", f"?{url}"):
        life = link_lifetime([text])
        assert life is None or life.expires_at.tzinfo is UTC


def test_a_plan_dies_with_the_first_of_its_links() -> None:
    links = [f"https://h/p?X-Amz-Date=20261123T120000Z&X-Amz-Expires={seconds}" for seconds in (3600, 60)]
    parts = (Part(1, 0, 1, links[0]), Part(2, 1, 1, links[1]), Part(3, 2, 1, "https://h/p"))
    assert Plan("f1", None, "n", 3, parts).expires_at == datetime(2026, 11, 23, 12, 1, tzinfo=UTC)
    assert PLAN.expires_at is None


# -- the records as dicts --------------------------------------------------------------------------------------------


def test_a_record_becomes_a_dict_of_jsons_types() -> None:
    status = UploadStatus("f1", True, False, completed_at=datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    assert json.loads(json.dumps(record_to_dict(status))) == {
        "file_id": "f1",
        "complete": True,
        "failed": False,
        "completed_at": "2026-11-23T12:00:00+00:00",
        "started_at": None,
        "media_type": None,
    }
    file = UploadedFile("f1", "n", 3, "a1", None, None, None, "uploaded", etags=("x", None))
    assert record_to_dict(file)["etags"] == ["x", None]


def test_more_parts_than_s3_takes_are_no_plan() -> None:
    links = [{"size": 1, "url": f"https://h/{number}"} for number in range(10_001)]
    data = {"id": "f", "name": "a", "file_size": len(links), "upload_urls": links}
    with pytest.raises(PlanError, match="at most 10000 parts"):
        Plan.from_response(data)
    del links[-1]
    assert len(Plan.from_response(data | {"file_size": len(links)}).parts) == 10_000


def test_the_repr_of_a_file_of_many_parts_is_short() -> None:
    file = UploadedFile("f", "a.mov", 1, "a", None, None, None, "uploaded", ("e",) * 10_000, md5s=("m",) * 10_000)
    assert repr(file) == (
        "UploadedFile(id='f', name='a.mov', size=1, account_id='a', folder_id=None, media_type=None, view_url=None,"
        " status='uploaded', outcome='uploaded', crc64nvme=None, reason=None)"
    )
