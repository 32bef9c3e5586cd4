"""`Uploader.find` and `Uploader.project`: the accounts, workspaces, projects and folders that a token can read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioframeio_upload import (
    ApiError,
    FolderUploadError,
    NotFound,
    PermissionDenied,
    RemoteAccount,
    RemoteFolder,
    RemoteProject,
    RemoteWorkspace,
    Uploader,
)
from aioframeio_upload._engine.remote_tree import _choose
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, uploader_on
from tests.support.canned import answer, canned


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """A tree of folders three deep."""
    root = tmp_path / "shoot"
    on_disk((root / "day" / "reel").mkdir, parents=True)
    on_disk((root / "day" / "reel" / "take.mov").write_bytes, b"take")
    return root


def depth_of(folders: tuple[RemoteFolder, ...]) -> int:
    return max((1 + depth_of(folder.folders) for folder in folders), default=0)


@pytest.mark.parametrize(("depth", "found"), [(0, 0), (1, 1), (2, 2), (9, 3)])
async def test_the_tree_has_the_ids_and_as_many_levels_of_folders_as_asked_for(
    fake: FakeFrameio, shoot: Path, depth: int, found: int
) -> None:
    async with uploader_on(fake, account_id=None) as uploader:
        await uploader.upload_folder(shoot, folder_id=fake.folder_id, account_id=fake.account_id)
        (account,) = await uploader.find(depth=depth)
    assert account.id == fake.account_id
    ((project,),) = [workspace.projects for workspace in account.workspaces]
    assert (project.id, project.root_folder_id) == (fake.project_id, fake.folder_id)
    assert depth_of(project.folders) == found
    assert [folder.name for folder in project.folders] == ["shoot"] * bool(depth)


async def test_the_records_are_frozen_and_compare_equal(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        first, second = await uploader.find(), await uploader.find()
    assert first == second
    assert hash(first) == hash(second)
    with pytest.raises(FrozenInstanceError):
        first[0].name = "other"  # type: ignore[misc]


async def test_a_project_is_found_by_its_id_or_its_name(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        (account,) = await uploader.find()
        ((project,),) = [workspace.projects for workspace in account.workspaces]
        link = f"https://next.frame.io/project/{project.id}"
        for wanted, count in ((project.id, 1), (project.name, 1), (link, 1), (f"{link}/x", 1), ("no such project", 0)):
            (account,) = await uploader.find(wanted)
            assert [len(workspace.projects) for workspace in account.workspaces] == [count]


def test_a_part_of_a_name_counts_where_no_project_has_the_name() -> None:
    names = {"1": "Spring", "2": "Spring campaign", "3": "Cafe\u0301"}
    projects = tuple(RemoteProject(id, name, None) for id, name in names.items())
    account = RemoteAccount("a", "A", workspaces=(RemoteWorkspace("w", "W", projects=projects),))
    wanted = {"Spring": "1", "spring": "12", "CAMP": "2", "2": "2", "CAF\u00c9": "3", "x": ""}
    for text, ids in wanted.items():
        is_wanted = _choose([account], text)
        assert "".join(one.id for one in projects if is_wanted(one)) == ids


async def test_an_uploader_with_an_account_reads_that_account_alone(fake: FakeFrameio) -> None:
    async with uploader_on(fake, account_id="another") as uploader:
        assert await uploader.find() == ()
    assert [seen.operation for seen in fake.requests] == ["accounts"]


async def test_a_project_is_read_in_one_call(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        project = await uploader.project(fake.project_id)
        assert isinstance(project, RemoteProject)
        assert (project.id, project.root_folder_id) == (fake.project_id, fake.folder_id)
        with pytest.raises(NotFound, match="looking up the project: 404"):
            await uploader.project("nowhere")
    assert [seen.operation for seen in fake.requests] == ["show_project"] * 2


async def test_a_refused_list_is_an_error_and_a_busy_service_is_waited_for(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="workspaces", do="answer", status=503))
    async with uploader_on(fake) as uploader:
        assert len(await uploader.find()) == 1
        assert [seen.status for seen in fake.requests if seen.operation == "workspaces"] == [503, 200]
        fake.add_fault(Fault(on="projects", do="answer", status=403, message="not yours"))
        with pytest.raises(PermissionDenied, match="listing the projects: 403: not yours"):
            await uploader.find()


async def test_a_negative_depth_is_refused_before_a_call(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        with pytest.raises(ValueError, match="depth"):
            await uploader.find(depth=-1)
        deep: Any = "2"
        with pytest.raises(TypeError, match="depth must be an int, not str"):
            await uploader.find(depth=deep)
        wrong: Any = 7
        with pytest.raises(TypeError, match="project must be a string, not int"):
            await uploader.find(wrong)
        with pytest.raises(ValueError, match="project takes an id, a name, or a link"):
            await uploader.find("https://example.com/project/1")
    assert not fake.requests


def page(*rows: Any, after: str | None = None) -> bytes:
    link = None if after is None else f"/v4/x?after={after}"
    return answer(200, json.dumps({"data": rows, "links": {"next": link}}).encode())


async def test_pages_are_followed_and_rows_without_an_id_left_out() -> None:
    answers = [page({"id": "a", "display_name": "A"}, {"id": 1}, "row", after="2"), page({"id": "b"}), page()]
    async with canned(*answers) as server, Uploader("token", base_url=server.url) as uploader:
        found = await uploader.find()
    assert [(account.id, account.name, account.workspaces) for account in found] == [("a", "A", ()), ("b", "", ())]
    assert "after=2" in server.heads[1]
    assert server.heads[0].startswith("GET /v4/accounts?")


async def test_a_list_that_leads_in_a_circle_is_an_error() -> None:
    async with canned(page(after="a")) as server, Uploader("token", base_url=server.url) as uploader:
        with pytest.raises(ApiError, match="in a circle"):
            await uploader.find()


# -- what names a folder -----------------------------------------------------------------------------------------------


def link_of(*ids: str) -> str:
    return "/".join(("https://next.frame.io/project", *ids))


async def test_every_verb_takes_the_link_of_a_folder_or_of_a_project(
    fake: FakeFrameio, uploader: Uploader, shoot: Path
) -> None:
    for link in (link_of(fake.project_id, fake.folder_id), link_of(fake.project_id)):
        file = await uploader.upload(b"x", name="x", folder_id=link)
        assert file.folder_id == fake.folder_id
        plan = await uploader.plan(b"x", name="x", folder_id=link)
        remote = await uploader.remote_upload("https://renders.example/a", folder_id=link, name="a")
        assert (plan.folder_id, remote.folder_id) == (fake.folder_id, fake.folder_id)
        async with uploader.watch_folder(shoot, folder_id=link, settle=0) as watch:
            async for event in watch:
                if type(event).__name__ in ("FileCompleted", "FileSkipped"):
                    watch.stop()
        result = await uploader.upload_folder(shoot, folder_id=link, contents_only=True)
        assert [file.reason for file in result.skipped] == ["same name and size, content not compared"]
    asked = [request for request in fake.requests if request.operation == "show_project"]
    assert len(asked) == 1, "the root folder of a project is asked for once"


async def test_the_link_of_a_folder_is_its_id_to_the_upload(uploader: Uploader, fake: FakeFrameio) -> None:
    upload = uploader.upload(b"x", name="x", folder_id=link_of(fake.project_id, fake.folder_id))
    assert upload.folder_id == fake.folder_id
    upload.close()


async def test_the_id_of_a_project_is_explained_with_its_root_folder(
    fake: FakeFrameio, uploader: Uploader, shoot: Path
) -> None:
    expected = f"{fake.project_id} is a project, not a folder; its root folder is {fake.folder_id}"
    with pytest.raises(NotFound, match=expected):
        await uploader.upload(b"x", name="x", folder_id=fake.project_id)
    with pytest.raises(NotFound, match=expected):
        await uploader.upload_folder(shoot, folder_id=fake.project_id)
    with pytest.raises(FolderUploadError, match=expected):
        await uploader.upload_folder(shoot, folder_id=fake.project_id, contents_only=True)


async def test_a_missing_folder_and_a_missing_project_are_named(fake: FakeFrameio, uploader: Uploader) -> None:
    expected = f"there is no folder nowhere in account {fake.account_id}, or this token cannot read it"
    with pytest.raises(NotFound, match=expected):
        await uploader.upload(b"x", name="x", folder_id="nowhere")
    with pytest.raises(NotFound, match="looking up the project: 404"):
        await uploader.upload(b"x", name="x", folder_id=link_of("nowhere"))
    fake.add_fault(Fault(on="show_project", status=403))
    with pytest.raises(NotFound, match="there is no folder elsewhere"):
        await uploader.upload(b"x", name="x", folder_id="elsewhere")


async def test_a_path_names_a_folder_and_can_be_made(fake: FakeFrameio, uploader: Uploader) -> None:
    ((account,),) = [await uploader.find()]
    project = account.workspaces[0].projects[0]
    for path in (project.name, f"{project.name}/", project.id):
        assert (await uploader.find_folder(path)).id == fake.folder_id
    made = await uploader.find_folder(f"{project.name}/Dailies/caf\u00e9", make=True)
    assert (await uploader.find_folder(f"{project.name}/Dailies/cafe\u0301")).id == made.id
    assert await uploader.find_folder(f"{project.name}//Dailies/caf\u00e9/", make=True) == made
    file = await uploader.upload(b"x", name="x", folder_id=made.id)
    assert file.folder_id == made.id
    with pytest.raises(NotFound, match=r"no folder 'Daily' in '.*'; there is 'Dailies'"):
        await uploader.find_folder(f"{project.name}/Daily")
    with pytest.raises(NotFound, match=f"no project 'None'; there is '{project.name}'"):
        await uploader.find_folder("None/x", make=True)
    with pytest.raises(ValueError, match="begins with the name of a project"):
        await uploader.find_folder("//")


# -- the same folder, wanted by several at the same time


async def folder_paths(uploader: Uploader) -> list[str]:
    """The paths of all folders below the project's root, each as often as it exists."""

    def below(folders: tuple[RemoteFolder, ...], way: str) -> list[str]:
        return [one for row in folders for one in (f"{way}{row.name}", *below(row.folders, f"{way}{row.name}/"))]

    ((account,),) = [await uploader.find(depth=9)]
    return sorted(below(account.workspaces[0].projects[0].folders, ""))


async def test_calls_that_want_the_same_folders_at_the_same_time_make_each_once(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    wanted = ["Day 1", "Day 1", "Day 2", "Day 1/reel", "", "Day 1"]
    found = await asyncio.gather(
        *(uploader.find_folder(f"{fake.project_id}/Dailies/{path}", make=True) for path in wanted)
    )
    assert await folder_paths(uploader) == ["Dailies", "Dailies/Day 1", "Dailies/Day 1/reel", "Dailies/Day 2"]
    by_path = dict(zip(wanted, found, strict=True))
    assert [by_path[path].id for path in wanted] == [one.id for one in found]


async def test_uploads_of_folders_and_calls_make_each_folder_once(
    fake: FakeFrameio, uploader: Uploader, shoot: Path
) -> None:
    path = f"{fake.project_id}/shoot/day/reel"
    uploads = [uploader.upload_folder(shoot, folder_id=fake.folder_id).start() for _ in range(2)]
    place, missing = await asyncio.gather(uploader.find_folder(path, make=True), uploader.missing_folders(path))
    results = [await upload for upload in uploads]
    assert await folder_paths(uploader) == ["shoot", "shoot/day", "shoot/day/reel"]
    assert {file.folder_id for result in results for file in result.files} == {place.id}
    made = [one.path for result in results for one in result.folders]
    assert len(made) == len(set(made)), "a folder was made by one of them only"
    assert len(missing) <= 3


async def test_a_folder_that_was_deleted_at_frameio_is_made_again(fake: FakeFrameio, uploader: Uploader) -> None:
    path = f"{fake.project_id}/Dailies"
    before = await uploader.find_folder(path, make=True)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {fake.token}"}) as client:
        url = f"{fake.url}/v4/accounts/{fake.account_id}/folders/{before.id}"
        async with client.delete(url) as answer:
            assert answer.status == 204
    assert (await uploader.find_folder(path, make=True)).id != before.id
    assert await folder_paths(uploader) == ["Dailies"]


async def test_a_refusal_to_make_a_folder_is_not_remembered(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="create_folder", status=403))
    path = f"{fake.project_id}/Dailies"
    with pytest.raises(PermissionDenied):
        await uploader.find_folder(path, make=True)
    assert (await uploader.find_folder(path, make=True)).id == (await uploader.find_folder(path)).id
