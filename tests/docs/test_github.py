"""The files that GitHub reads: they run the sessions of noxfile.py, with pinned actions and few permissions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pages import ROOT

pytestmark = pytest.mark.needs_tree

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
SYSTEMS = {"ubuntu", "macos", "windows"}
NEED_MORE = {"id-token": "attest publish", "attestations": "attest", "contents": "announce"}
"""The jobs that may write, by permission."""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pythons() -> list[str]:
    named = "Programming Language :: Python :: "
    return [name.removeprefix(named) for name in project()["project"]["classifiers"] if name.startswith(named)]


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(path)["jobs"]
    return found


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each step of all workflows, with the job's name."""
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            yield from ((f"{path.stem}:{name}", step) for step in job.get("steps", ()))


def combinations(job: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the systems and Pythons that a job's matrix spans, as ("macos", "3.14")."""
    matrix = job["strategy"]["matrix"]
    pairs = {(system, python) for system in matrix["system"] for python in matrix["python"]}
    pairs |= {(more["system"], more["python"]) for more in matrix.get("include", ())}
    return {(system.partition("-")[0], python) for system, python in pairs}


def test_the_core_runs_on_every_system_with_every_python_of_the_classifiers() -> None:
    ci = jobs(GITHUB / "workflows" / "ci.yml")
    assert pythons() == ["3.11", "3.12", "3.13", "3.14"]
    assert combinations(ci["core"]) == {(system, python) for system in SYSTEMS for python in pythons()}
    suite = combinations(ci["suite"])
    assert {python for system, python in suite if system == "ubuntu"} == set(pythons())
    assert {system for system, _ in suite} == SYSTEMS
    assert {name.partition("-")[0] for name in ci["package"]["strategy"]["matrix"]["system"]} == SYSTEMS


def test_every_command_of_a_workflow_is_a_session_that_exists() -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    thorough = jobs(GITHUB / "workflows" / "thorough.yml")["session"]["strategy"]["matrix"]["session"]
    told = [step["run"] for _, step in steps() if "run" in step and not step["run"].startswith("gh release create ")]
    assert all(command.startswith("python run.py ") for command in told)
    words = " ".join(command.removeprefix("python run.py ") for command in told)
    words = words.replace("${{ matrix.session }}", " ".join(name.partition(" ")[0] for name in thorough))
    words = words.replace("${{ matrix.python }}", pythons()[0])
    sessions = {re.sub(r"-3\.\d+$", "", name) for name in words.split()}
    assert {"lint", "types", "docs", "core", "tests", "package", "soak", "fuzz"} <= sessions
    assert [name for name in sessions if not re.search(rf"^def {name}\(session", noxfile, re.MULTILINE)] == []


def test_what_ci_here_must_pass_is_what_github_runs() -> None:
    (command,) = re.findall(r"run\.py (.+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    here = {re.sub(r"-3\.\d+$", "", name) for name in command.split()}
    ci = (GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8")
    there = {re.sub(r"-\$.*", "", name) for line in re.findall(r"run\.py (.+)", ci) for name in line.split()}
    assert here <= there


def test_every_action_is_pinned_by_its_commit_and_names_its_version() -> None:
    lines = [line for path in WORKFLOWS for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    others = [line for line in lines if "uses: $/" not in line]
    assert len(others) > 10
    pinned = re.compile(r"uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")
    found = [match.groups() for line in others if (match := pinned.search(line))]
    assert len(found) == len(others)
    assert len(set(found)) == len({name for name, *_ in found}), "two versions of one action"


def test_a_job_may_only_read_unless_it_releases_and_then_it_runs_no_code_of_ours() -> None:
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {}
        for name, job in jobs(path).items():
            writes = {scope for scope, level in job["permissions"].items() if level != "read"}
            assert all(name in NEED_MORE[scope].split() for scope in writes), (path.stem, name)
            if writes:
                assert path.stem == "release"
                assert not any("checkout" in step.get("uses", "") for step in job["steps"])
    kept = [name for name, step in steps() if "checkout" in step.get("uses", "")]
    safe = [name for name, step in steps() if step.get("with", {}).get("persist-credentials") is False]
    assert kept == safe, "a checkout that leaves the token in .git/config"


def test_a_release_publishes_the_files_that_ci_built_and_tested_by_trusted_publishing() -> None:
    release = jobs(GITHUB / "workflows" / "release.yml")
    assert [name for name in release if "needs" not in release[name]] == ["ci"]
    assert {name: job["needs"] for name, job in release.items() if name != "ci"} == {
        "build": "ci",
        "attest": "build",
        "publish": "attest",
        "announce": "publish",
    }
    assert release["publish"]["environment"] == "pypi"
    text = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "password" not in text
    # No cache: a pull request's workflow could have filled it.
    assert not any("cache" in step.get("with", {}) for _, step in steps())


def test_every_job_has_a_time_limit() -> None:
    unbounded = [name for path in WORKFLOWS for name, job in jobs(path).items() if "timeout-minutes" not in job]
    assert unbounded == ["ci"], "only the one that calls another workflow, whose jobs have theirs"


def test_pre_commit_uses_the_programs_of_the_lint_session() -> None:
    (local,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    asked = {needed for hook in local["hooks"] for needed in hook["additional_dependencies"]}
    assert asked <= set(project()["dependency-groups"]["lint"])
    assert [hook["entry"].split()[:2] for hook in local["hooks"]][:2] == [["ruff", "check"], ["ruff", "format"]]


def test_dependabot_watches_the_actions_and_the_packages() -> None:
    updates = read(GITHUB / "dependabot.yml")["updates"]
    assert {one["package-ecosystem"] for one in updates} == {"github-actions", "pip"}


def test_a_bug_report_asks_for_events_as_json_a_log_and_versions_and_to_look_for_secrets() -> None:
    bug = next(read(path) for path in FORMS if path.stem == "bug")
    fields = {field["id"]: field for field in bug["body"] if "id" in field}
    assert {"events", "log", "versions", "secrets"} <= set(fields)
    assert "--json" in fields["events"]["attributes"]["description"]
    assert fields["events"]["validations"]["required"]
    assert fields["secrets"]["attributes"]["options"][0]["required"]
    # GitHub's rule: labels are added only if they exist, ids must be unique.
    for path in FORMS:
        ids = [field["id"] for field in read(path)["body"] if "id" in field]
        assert len(ids) == len(set(ids))


def test_the_line_for_versions_runs(capsys: pytest.CaptureFixture[str]) -> None:
    bug = next(read(path) for path in FORMS if path.stem == "bug")
    (versions,) = [field for field in bug["body"] if field.get("id") == "versions"]
    (code,) = re.findall(r'python -c "(.+)"`', versions["attributes"]["description"])
    exec(code, {})
    assert re.match(r"\d+\.\d+\S* \d+\.\d+", capsys.readouterr().out)
