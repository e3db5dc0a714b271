"""The Makefile on a machine with missing packages, and with an incomplete environment. Uses no network."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

# To make the environment takes five seconds of CPU time: one worker makes it for all tests.
pytestmark = pytest.mark.xdist_group("makefile")

_CHECKOUT = Path(__file__).parents[2]
_TOOLS = ("env", "make", "rm", "sed", "sh", "touch", "tr", "uname")
_DEBIAN = "ID=debian\n"
_UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
_FEDORA = "ID=fedora\n"
_UNKNOWN = "ID=plan9\n"


class Machine:
    """A checkout, and a PATH with the few tools that make and the scripts use and with the Pythons of the test."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.checkout.mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
            shutil.copy(_CHECKOUT / name, self.checkout)
        shutil.copytree(_CHECKOUT / "scripts", self.checkout / "scripts")
        self._path = folder / "bin"
        self._path.mkdir()
        for tool in _TOOLS:
            found = shutil.which(tool)
            assert found, f"{tool} is not on this machine"
            (self._path / tool).symlink_to(found)
        self._os_release = folder / "os-release"
        self.system(_DEBIAN)

    def system(self, os_release: str) -> None:
        self._os_release.write_text(os_release)

    def add_python(self, name: str, *, version: str | None = None, modules_missing: tuple[str, ...] = ()) -> None:
        """Add the Python of the tests under another name, with a simulated version or simulated missing modules."""
        pretended = ["import sys", *(f"sys.modules[{module!r}] = None" for module in modules_missing)]
        if version:
            pretended.append(f"sys.version_info = ({version.replace('.', ', ')}, 0)")
        program = self._path / name
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} -c "{"; ".join(pretended)}\n$2"; fi\n'
            f'exec {sys.executable} "$@"\n'
        )
        program.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.checkout,
            env={"PATH": str(self._path), "OS_RELEASE": str(self._os_release), "PIP_CONFIG_FILE": os.devnull}
            | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def refusal(self, *command: str, **environment: str) -> str:
        """The error output of a failing command, without the last line, which is make's."""
        done = self.run(*command, **environment)
        assert done.returncode == 2, done
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert lines[-1].startswith("make: *** [Makefile:"), done.stderr
        assert len(lines) == 2, done.stderr
        return lines[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("os_release", "advice"),
    [
        (
            _DEBIAN,
            "install the packages python3 and python3-venv (apt install python3 python3-venv) and run make again.",
        ),
        (
            _UBUNTU,
            "install the packages python3 and python3-venv (apt install python3 python3-venv) and run make again.",
        ),
        (_FEDORA, "install the package python3.13 (dnf install python3.13) and run make again."),
        (_UNKNOWN, "install one of them and run make again."),
    ],
)
def test_without_python_make_names_the_packages_of_the_system(machine: Machine, os_release: str, advice: str) -> None:
    machine.system(os_release)
    sentence = f"Python 3.11, 3.12 or 3.13 is needed, but there is no Python: {advice}"
    assert machine.refusal("make", "run") == sentence
    assert machine.refusal("make", "test") == sentence
    assert not (machine.checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("name", "version", "os_release", "sentence"),
    [
        ("python3", "3.11", _DEBIAN, "python3 cannot make a virtual environment: install the package python3-venv"),
        ("python3", "3.12", _UBUNTU, "python3 cannot make a virtual environment: install the package python3-venv"),
        (
            "python3.12",
            "3.12",
            _UBUNTU,
            "python3.12 cannot make a virtual environment: install the package python3.12-venv",
        ),
        ("python3", "3.13", _FEDORA, "python3 lacks the modules ensurepip and venv: install a complete Python"),
    ],
)
def test_without_ensurepip_make_names_the_package(
    machine: Machine, name: str, version: str, os_release: str, sentence: str
) -> None:
    machine.system(os_release)
    machine.add_python(name, version=version, modules_missing=("ensurepip",))
    for target in ("run", "test-fast", "check"):
        assert machine.refusal("make", target).startswith(sentence)
    assert not (machine.checkout / ".venv").exists()


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.14", "2.7"])
def test_an_unsupported_python_is_named_with_its_version(machine: Machine, version: str) -> None:
    machine.add_python("python3", version=version)
    assert machine.refusal("make", "run") == (
        f"Python 3.11, 3.12 or 3.13 is needed, but python3 is {version}: install one of them and name it, "
        "for example make run PYTHON=/usr/local/bin/python3.13."
    )


def test_only_the_configured_python_is_tried(machine: Machine) -> None:
    machine.add_python("python3")
    machine.add_python("old", version="3.9")
    sentence = "Python 3.11, 3.12 or 3.13 is needed, but old is 3.9: "
    assert machine.refusal("make", "run", "PYTHON=old").startswith(sentence)
    assert machine.refusal("make", "run", PYTHON="old").startswith(sentence)
    nowhere = "/nowhere/python, which PYTHON names, does not run: Python 3.11, 3.12 or 3.13 is needed."
    assert machine.refusal("make", "run", "PYTHON=/nowhere/python") == nowhere


def test_an_incomplete_environment_does_not_hide_what_is_missing(machine: Machine) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", machine.checkout / ".venv"], check=True)
    machine.add_python("python3", modules_missing=("ensurepip",))
    for stamp in (".venv/.installed", ".venv/.installed-dev"):
        (machine.checkout / stamp).touch()
    assert "python3-venv" in machine.refusal("make", "run")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with a complete environment, which replaced an incomplete one. One of its Pythons can create it."""
    machine = Machine(tmp_path_factory.mktemp("made"))
    machine.add_python("python3.13", version="3.13", modules_missing=("ensurepip",))
    machine.add_python("python3", version="3.9")
    machine.add_python("python3.12", version="3.12")
    environment = machine.checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (environment / "left-behind").touch()
    done = machine.run("make", ".venv/pyvenv.cfg")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Making the environment .venv with python3.12 (3.12).\n"
    assert "The environment in .venv cannot be used" in done.stderr
    assert not (environment / "left-behind").exists()
    return machine


@contextmanager
def _changed(path: Path, text: str) -> Iterator[None]:
    before = path.read_text()
    path.write_text(text)
    yield
    path.write_text(before)


def _is_whole(machine: Machine) -> bool:
    """Whether the environment counts as complete once everything is installed into it."""
    for stamp in (".venv/.installed", ".venv/.installed-dev"):
        (machine.checkout / stamp).touch()
    plan = machine.run("make", "--dry-run", "run").stdout
    if plan == ".venv/bin/threadkeeper serve\n":
        return True
    assert plan.startswith("sh scripts/environment.sh\n")
    assert ".venv/bin/python scripts/install.py --no-deps -r requirements.lock --editable ." in plan
    return False


@pytest.mark.slow
def test_a_complete_environment_is_not_created_again(made: Machine) -> None:
    assert _is_whole(made)


def test_an_environment_with_an_incomplete_pip_is_created_again(made: Machine) -> None:
    record = next((made.checkout / ".venv").glob("lib/*/site-packages/pip-*.dist-info/RECORD"))
    half = "".join(line for line in record.read_text().splitlines(keepends=True) if "INSTALLER" not in line)
    with _changed(record, half):
        assert not _is_whole(made)
    assert _is_whole(made)


def test_an_environment_without_its_python_is_created_again(made: Machine) -> None:
    python = made.checkout / ".venv" / "bin" / "python"
    real = python.readlink()
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert not _is_whole(made)
    python.unlink()
    python.symlink_to(real)
    assert _is_whole(made)


def test_a_moved_environment_is_created_again(made: Machine) -> None:
    moved = made.checkout.rename(made.checkout.with_name("moved"))
    here, made.checkout = made.checkout, moved
    assert not _is_whole(made)
    made.checkout = moved.rename(here)
    assert _is_whole(made)


def _write_wheel(folder: Path) -> None:
    """A package with one module."""
    path = folder / "lantern-1.0-py3-none-any.whl"
    files: Mapping[str, str] = {
        "lantern.py": "LIGHT = 1\n",
        "lantern-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lantern\nVersion: 1.0\n",
        "lantern-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        names = [*files, "lantern-1.0.dist-info/RECORD"]
        wheel.writestr(names[-1], "".join(f"{name},,\n" for name in names))


def _install(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return machine.run(".venv/bin/python", "scripts/install.py", "--no-index", "--no-deps", *arguments)


def test_the_next_run_finishes_an_interrupted_installation(made: Machine, tmp_path: Path) -> None:
    _write_wheel(tmp_path)
    requirements = tmp_path / "requirements.lock"
    requirements.write_text("lantern==1.0\nnever==1; python_version < '3'\n")
    done = _install(made, "--find-links", str(tmp_path), "-r", str(requirements))
    assert done.returncode == 0, done.stderr
    assert "fetching: 1 of 1 packages (lantern)" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("  done after ")

    site_packages = next((made.checkout / ".venv").glob("lib/*/site-packages"))
    record = site_packages / "lantern-1.0.dist-info" / "RECORD"
    # The state that pip leaves if it is interrupted after it has copied the files of a wheel.
    record.write_text("".join(line for line in record.read_text().splitlines(keepends=True) if "INSTALLER" not in line))
    (site_packages / "lantern.py").unlink()
    done = _install(made, "--find-links", str(tmp_path), "-r", str(requirements))
    assert done.returncode == 0, done.stderr
    assert (site_packages / "lantern.py").read_text() == "LIGHT = 1\n"
    assert "INSTALLER" in record.read_text()
    assert _is_whole(made)


def test_the_errors_of_pip_are_shown(made: Machine) -> None:
    done = _install(made, "no-such-package==1")
    assert done.returncode == 1
    assert "pip failed. The end of its output:" in done.stdout
    assert "No matching distribution found for no-such-package==1" in done.stderr
