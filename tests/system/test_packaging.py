"""The scripts are found however the package got there: checkout, editable install, wheel, wheel built from the sdist.

Each is set up in folders of its own, from a copy of the checkout, and looked at by a Python that sees no other
rq_sched. Dependencies come from the environment that runs the tests, so nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from zipfile import ZipFile

import pytest

from rq_sched.link import scripts

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "docs", "bench")
LOOK = """
import json, pathlib, rq_sched
from rq_sched.link import scripts
loaded = {name: scripts.load(name).sha for name in scripts.names()}
print(json.dumps({"package": str(pathlib.Path(rq_sched.__file__).parent), "scripts": loaded}))
"""


@dataclass(frozen=True)
class Installed:
    """A Python, where it looks first, and what stands in its bin folder."""

    python: Path
    folder: Path
    environment: dict[str, str]

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def look(self) -> tuple[Path, dict[str, str]]:
        """Where the package is, and its scripts by name, loaded."""
        found = json.loads(self.run(self.python, "-c", LOOK))
        return Path(found["package"]), found["scripts"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("source") / "rq-sched"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
    assert (copy / "rq_sched" / "lua").is_symlink()
    return copy


@pytest.fixture(scope="module")
def expected(checkout: Path) -> dict[str, str]:
    """The scripts of the checkout, by name, with what they are called by."""
    names = scripts.names(checkout / "lua")
    assert names
    return {name: sha1(scripts.assemble(name, checkout / "lua").encode()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``wheel``: built from the checkout; ``sdist``; ``second``: a wheel built from the unpacked sdist."""
    direct, via = tmp_path_factory.mktemp("direct"), tmp_path_factory.mktemp("via")
    _build(checkout, direct, "--wheel")
    _build(checkout, via)  # the sdist, and a wheel from it
    (wheel,), (sdist,), (second,) = direct.glob("*.whl"), via.glob("*.tar.gz"), via.glob("*.whl")
    return {"wheel": wheel, "sdist": sdist, "second": second}


def _build(source: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, **more}


def _installed(folder: Path, *what: str | Path) -> Installed:
    """A fresh environment with ``what`` installed, and the dependencies of this one after it."""
    home = folder / "venv"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *options, *map(str, what)],
        check=True,
        env=_environment(PYTHONPATH=_dependencies(folder)),
    )
    return Installed(python, folder, _environment(PYTHONPATH=_dependencies(folder)))


def _dependencies(folder: Path) -> str:
    """A folder that leads to all that is installed here, except rq-sched itself."""
    shadow = folder / "dependencies"
    if not shadow.exists():
        shadow.mkdir()
        for place in {Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}:
            for entry in place.iterdir():
                ours = entry.name.replace("-", "_").startswith(("rq_sched", "__editable__"))
                if not ours and entry.suffix != ".pth" and not (shadow / entry.name).exists():
                    (shadow / entry.name).symlink_to(entry)
    return str(shadow)


def test_from_a_checkout(checkout: Path, expected: dict[str, str], tmp_path: Path) -> None:
    here = Installed(Path(sys.executable), checkout, _environment(PYTHONPATH=_dependencies(tmp_path)))
    assert here.look() == (checkout / "rq_sched", expected)
    assert "Usage: " in here.run(sys.executable, "cli.py", "--help")


def test_from_an_editable_install(checkout: Path, expected: dict[str, str], tmp_path: Path) -> None:
    here = _installed(tmp_path, "--editable", checkout)
    assert here.look() == (checkout / "rq_sched", expected)
    assert "Usage: " in here.run(here.python.parent / "rq-sched", "--help")


@pytest.mark.parametrize("how", ["wheel", "second"])
def test_from_a_wheel(how: str, built: dict[str, Path], expected: dict[str, str], tmp_path: Path) -> None:
    here = _installed(tmp_path, built[how])
    package, loaded = here.look()
    assert package.is_relative_to(tmp_path / "venv")
    assert not (package / "lua").is_symlink()
    assert loaded == expected
    assert "Usage: " in here.run(here.python.parent / "rq-sched", "--help")


@pytest.mark.parametrize("how", ["wheel", "second"])
def test_what_a_wheel_holds(how: str, built: dict[str, Path], checkout: Path) -> None:
    names = set(ZipFile(built[how]).namelist())
    lua = {f"rq_sched/lua/{path.name}" for path in (checkout / "lua").iterdir() if path.suffix in (".lua", ".md")}
    assert {name for name in names if name.startswith("rq_sched/lua/")} == lua
    assert {"rq_sched/py.typed", "rq_sched/cli/__init__.py", "rq_sched/worker/__init__.py"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rq_sched"}, "nothing but the package"


def test_what_the_sdist_holds(built: dict[str, Path], checkout: Path) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names
    assert {f"rq_sched/lua/{path.name}" for path in (checkout / "lua").glob("*.lua")} <= names
