"""Debian packages: install them with apt, or unpack those of another release into a folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.devices import process
from mobilevit_tools.errors import MissingDependencyError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = Path("/etc/apt")
_ARCHIVE = re.compile(r"^(?:URIs:|deb\s+(?:\[[^]]*\]\s+)?)\s*(http\S+/debian)/?(?:\s|$)", re.MULTILINE)


def install(packages: Mapping[str, str]) -> None:
    """Install packages, given by the program that each brings, with apt.

    Raises:
        MissingDependencyError: This is no root shell, or apt fails.
    """
    if not packages:
        return
    names = sorted(set(packages.values()))
    by_hand = f"sudo apt-get install {' '.join(names)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingDependencyError(f"{', '.join(sorted(packages))} must be installed as root.", hint=by_hand)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    process.run(["apt-get", "-qq", "update"], timeout_s=600, env=environment)
    done = process.run(
        ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *names], timeout_s=1200, env=environment
    )
    if done.code != 0:
        raise MissingDependencyError(f"apt cannot install {', '.join(names)}: {done.last_words}", hint=by_hand)


def unpack(suite: str, package: str, folder: Path, keep: str = "") -> None:
    """Unpack a package of another Debian release, with all that it depends on, into ``folder``.

    Needs no root; nothing is installed and no script of a package runs. A folder that exists is taken as complete.

    Args:
        suite: The release.
        package: The package.
        folder: Becomes the root of what is unpacked.
        keep: The one path inside the packages that is wanted; everything where it is empty.

    Raises:
        MissingDependencyError: This machine's apt knows no Debian mirror, or apt fails.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch)
        environment = {**os.environ, "APT_CONFIG": str(_private_apt(work, suite))}
        for step in (["update"], ["install", "-y", "--download-only", package]):
            done = process.run(["apt-get", "-qq", *step], timeout_s=1200, env=environment)
            if done.code != 0:
                raise MissingDependencyError(
                    f"apt cannot fetch {package} of Debian {suite}: {done.last_words}",
                    hint="Check this machine's apt sources and network.",
                )
        content = work / "content"
        content.mkdir()
        for link in ("bin", "sbin", "lib", "lib64"):
            content.joinpath("usr", link).mkdir(parents=True)
            content.joinpath(link).symlink_to(f"usr/{link}")
        for archive in sorted(work.glob("cache/archives/*.deb")):
            done = process.run(["dpkg-deb", "--extract", archive, content], timeout_s=600)
            if done.code != 0:
                raise MissingDependencyError(f"{archive.name} cannot be unpacked: {done.last_words}")
        if keep:
            wanted = work / "kept" / keep
            wanted.parent.mkdir(parents=True)
            content.joinpath(keep).rename(wanted)
            content = work / "kept"
        content.rename(folder)


def _private_apt(work: Path, suite: str) -> Path:
    """Write settings with which apt works in ``work`` alone, as on a machine where nothing is installed."""
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        work.joinpath(name).mkdir(parents=True)
    work.joinpath("status").touch()
    work.joinpath("sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main\n")
    settings = work / "apt.conf"
    settings.write_text(
        f'Dir::State "{work}"; Dir::State::lists "{work}/lists"; Dir::State::status "{work}/status";\n'
        f'Dir::Cache "{work}/cache"; Dir::Etc::sourcelist "{work}/sources.list";\n'
        f'Dir::Etc::sourceparts "{work}/parts"; Dir::Etc::preferencesparts "{work}/parts";\n'
        'APT::Install-Recommends "false"; Debug::NoLocking "true"; APT::Sandbox::User "";\n'
    )
    return settings


def _mirror() -> str:
    """Find the mirror of the Debian archive that this machine's apt uses."""
    for path in sorted((*_SOURCES.glob("sources.list"), *_SOURCES.glob("sources.list.d/*"))):
        found = _ARCHIVE.search(path.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
    raise MissingDependencyError(
        "apt has no Debian archive configured.",
        hint="Use a Debian machine, or install qemu-user 10 and libonnxruntime-dev from your own distribution.",
    )
