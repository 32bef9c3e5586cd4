"""The official SDK as a client of the fake: its uploader uploads, and its models accept every answer strictly."""

from __future__ import annotations

import hashlib
import io
import random
import typing
from collections.abc import Iterator
from typing import Any

import frameio
import httpx
import pydantic
import pytest
from frameio import Frameio
from frameio.files import FileCreateLocalUploadParamsData, FileCreateRemoteUploadParamsData, FileMoveParamsData
from frameio.folders import FolderCreateParamsData
from frameio.upload import FrameioUploader
from frameio.version_stacks import VersionStackCreateParamsData

from aioframeio_upload.testing import FakeFrameio, Fault

BODY = random.Random(1).randbytes(300_001)
NO_RETRIES: Any = {"max_retries": 0}


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(part_size=100_000, rate_limits=False).in_thread() as fake:
        yield fake


@pytest.fixture
def client(fake: FakeFrameio) -> Iterator[Frameio]:
    with httpx.Client() as http:
        yield Frameio(token=fake.token, base_url=fake.url, httpx_client=http)


def strictly(model: Any) -> Any:
    """Check a model and those inside it against their declarations: no field unknown or missing, every type right."""
    if isinstance(model, list):
        return [strictly(item) for item in model]
    if not isinstance(model, pydantic.BaseModel):
        return model
    kind = type(model)
    assert not model.model_extra, f"{kind.__name__} does not know {model.model_extra}"
    for name, declared in kind.model_fields.items():
        if declared.is_required():
            assert name in model.model_fields_set, f"{kind.__name__} needs {name}"
        strictly(getattr(model, name))
    # The SDK builds its models without validation; this validates them.
    kind.model_validate(model.model_dump(by_alias=True))
    return model


def create(client: Frameio, fake: FakeFrameio, name: str = "take.mov", size: int = len(BODY)) -> Any:
    data = FileCreateLocalUploadParamsData(name=name, file_size=size)
    response = client.files.create_local_upload(fake.account_id, fake.folder_id, data=data)
    return strictly(response).data


def upload(client: Frameio, fake: FakeFrameio, name: str = "take.mov", body: bytes = BODY) -> Any:
    asset = create(client, fake, name, len(body))
    FrameioUploader(asset, io.BytesIO(body)).upload()
    fake.wait_until(lambda fake: all(file.complete for file in fake.files))
    return asset


def test_the_sdks_uploader_uploads_a_file(client: Frameio, fake: FakeFrameio) -> None:
    asset = upload(client, fake)
    (file,) = fake.files
    assert len(asset.upload_urls) == 4
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    status = strictly(client.files.show_file_upload_status(fake.account_id, asset.id)).data
    assert (status.upload_complete, status.upload_failed, status.filetype) == (True, False, "video/quicktime")
    assert status.upload_completed_at is not None
    shown = strictly(client.files.show(fake.account_id, asset.id)).data
    assert (shown.status, shown.file_size, shown.parent_id) == ("uploaded", len(BODY), fake.folder_id)


def test_the_sdk_repeats_a_part_that_failed(client: Frameio, fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=2, status=503))
    upload(client, fake)
    assert fake.files[0].sha256 == hashlib.sha256(BODY).hexdigest()
    assert sorted(seen.number or 0 for seen in fake.requests if seen.operation == "part") == [1, 2, 2, 3, 4]


def test_a_file_of_no_known_type_is_uploaded_as_octet_stream(client: Frameio, fake: FakeFrameio) -> None:
    assert upload(client, fake, "readings.unknown-to-all").media_type is None
    assert fake.files[0].complete


def test_a_status_before_and_after_failure(client: Frameio, fake: FakeFrameio) -> None:
    asset = create(client, fake)
    status = strictly(client.files.show_file_upload_status(fake.account_id, asset.id)).data
    assert (status.upload_complete, status.upload_failed, status.uploaded_at) == (False, False, None)
    fake.fail(asset.id)
    status = strictly(client.files.show_file_upload_status(fake.account_id, asset.id)).data
    assert (status.upload_complete, status.upload_failed) == (False, True)


def test_a_deleted_file_is_gone(client: Frameio, fake: FakeFrameio) -> None:
    asset = create(client, fake)
    client.files.delete(fake.account_id, asset.id)
    with pytest.raises(frameio.NotFoundError) as caught:
        client.files.show(fake.account_id, asset.id)
    strictly(caught.value.body)
    assert (fake.files, [file.id for file in fake.deleted]) == ((), [asset.id])


def test_a_remote_upload_is_complete_after_the_first_poll(client: Frameio, fake: FakeFrameio) -> None:
    data = FileCreateRemoteUploadParamsData(name="far.mp4", source_url="https://example.com/far.mp4")
    response = strictly(client.files.create_remote_upload(fake.account_id, fake.folder_id, data=data))
    polls = [client.files.show_file_upload_status(fake.account_id, response.data.id).data for _ in range(2)]
    assert [strictly(poll).upload_complete for poll in polls] == [False, True]
    assert response.links["status"].endswith(f"/files/{response.data.id}/status")


def test_a_folder_is_found_from_the_account_down(client: Frameio, fake: FakeFrameio) -> None:
    assert strictly(client.users.show()).data.email
    (account,) = [strictly(item) for item in client.accounts.index()]
    (workspace,) = [strictly(item) for item in client.workspaces.index(account.id)]
    (project,) = [strictly(item) for item in client.projects.index(account.id, workspace.id)]
    (same,) = [strictly(item) for item in client.projects.account_projects_index(account.id)]
    assert project.id == same.id == strictly(client.projects.show(account.id, project.id)).data.id
    assert (account.id, project.root_folder_id) == (fake.account_id, fake.folder_id)
    assert strictly(client.folders.show(account.id, project.root_folder_id)).data.parent_id is None


def test_folders_are_created_listed_and_deleted(client: Frameio, fake: FakeFrameio) -> None:
    names = ["b", "a", "a"]
    made = [
        strictly(client.folders.create(fake.account_id, fake.folder_id, data=FolderCreateParamsData(name=name))).data
        for name in names
    ]
    listed = [strictly(item) for item in client.folders.list(fake.account_id, fake.folder_id, sort="name_asc")]
    assert [folder.name for folder in listed] == ["a", "a", "b"]
    assert len({folder.id for folder in listed}) == 3
    client.folders.delete(fake.account_id, made[0].id)
    assert len(list(client.folders.list(fake.account_id, fake.folder_id))) == 2


def test_listings_come_in_pages(client: Frameio, fake: FakeFrameio) -> None:
    made = [create(client, fake, f"{number:03}.mov", 1).id for number in range(60)]
    assert [strictly(file).id for file in client.files.list(fake.account_id, fake.folder_id)] == made
    page = client.files.list(fake.account_id, fake.folder_id, page_size=7, include_total_count=True)
    assert (len(page.items or []), page.has_next) == (7, True)
    assert strictly(page.response).total_count == 60
    after = str(page.response.links.next).partition("?")[2]
    assert after.startswith("after=")
    assert "&" not in after, "no other parameter is carried on"
    mixed = [strictly(item).type for item in client.folders.index(fake.account_id, fake.folder_id, type="file")]
    assert mixed == ["file"] * 60


def test_versions_are_stacked(client: Frameio, fake: FakeFrameio) -> None:
    first, second, third = (upload(client, fake, f"v{number}.mov", BODY[:1000]) for number in (1, 2, 3))
    data = VersionStackCreateParamsData(file_ids=[first.id, second.id])
    stack = strictly(client.version_stacks.create(fake.account_id, fake.folder_id, data=data)).data
    assert stack.head_version.id == second.id
    moved = client.files.move(fake.account_id, third.id, data=FileMoveParamsData(parent_id=stack.id))
    assert strictly(moved).data.parent_id == stack.id
    assert strictly(client.version_stacks.show(fake.account_id, stack.id)).data.head_version.id == third.id
    versions = [strictly(item).id for item in client.version_stacks.index(fake.account_id, stack.id)]
    assert versions == [first.id, second.id, third.id]
    assert [strictly(item).id for item in client.version_stacks.list(fake.account_id, fake.folder_id)] == [stack.id]
    assert list(client.files.list(fake.account_id, fake.folder_id)) == []
    children = [strictly(item).type for item in client.folders.index(fake.account_id, fake.folder_id)]
    assert children == ["version_stack"]
    assert {file.folder_id for file in fake.files} == {fake.folder_id}


def test_a_version_is_stacked_only_when_it_is_uploaded(client: Frameio, fake: FakeFrameio) -> None:
    data = VersionStackCreateParamsData(file_ids=[create(client, fake).id, create(client, fake).id])
    with pytest.raises(frameio.UnprocessableEntityError):
        client.version_stacks.create(fake.account_id, fake.folder_id, data=data)


def call_nowhere(client: Frameio, fake: FakeFrameio) -> None:
    client.files.show(fake.account_id, "00000000-0000-4000-8000-000000000000", request_options=NO_RETRIES)


def call_foreign_account(client: Frameio, fake: FakeFrameio) -> None:
    client.folders.show("00000000-0000-4000-8000-000000000000", fake.folder_id, request_options=NO_RETRIES)


def call_with_no_name(client: Frameio, fake: FakeFrameio) -> None:
    create(client, fake, name=" ")


def call_with_no_bytes(client: Frameio, fake: FakeFrameio) -> None:
    create(client, fake, size=0)


def call_as_stranger(client: Frameio, fake: FakeFrameio) -> None:
    fake.tokens.discard(fake.token)
    client.users.show(request_options=NO_RETRIES)


def call_often(client: Frameio, fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="me", status=429))
    client.users.show(request_options=NO_RETRIES)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (call_nowhere, frameio.NotFoundError),
        (call_foreign_account, frameio.NotFoundError),
        (call_with_no_name, frameio.UnprocessableEntityError),
        (call_with_no_bytes, frameio.UnprocessableEntityError),
        (call_as_stranger, frameio.UnauthorizedError),
        (call_often, frameio.TooManyRequestsError),
    ],
)
def test_refusals_are_the_sdks_own_exceptions(
    client: Frameio, fake: FakeFrameio, call: typing.Callable[[Frameio, FakeFrameio], None], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        call(client, fake)
    strictly(typing.cast("Any", caught.value).body)


def create_many_folders(client: Frameio, fake: FakeFrameio) -> None:
    for number in range(30):
        data = FolderCreateParamsData(name=str(number))
        client.folders.create(fake.account_id, fake.folder_id, data=data, request_options=NO_RETRIES)


def test_the_documented_rates_hold(fake_frameio: FakeFrameio) -> None:
    with httpx.Client() as http:
        client = Frameio(token=fake_frameio.token, base_url=fake_frameio.url, httpx_client=http)
        with pytest.raises(frameio.TooManyRequestsError) as caught:
            create_many_folders(client, fake_frameio)
    headers = caught.value.headers or {}
    limits = {name: headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "window")}
    assert limits == {"limit": "3", "remaining": "0", "window": "1000"}
    assert "retry-after" not in headers
