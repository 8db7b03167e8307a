"""Build the Debian package: `./run deb [DIRECTORY]` leaves vipnet_VERSION_ARCHITECTURE.deb in dist/.

The package holds a virtual environment of its own in /usr/lib/vipnet, with the wheels of what
vipnet needs: Debian's versions of some are too old. It uses the system's python3, and so is for
the release that it was built on. All that is done here is copying; dpkg-deb does the rest.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from vipnet import __version__

ROOT: Final = Path(__file__).parents[1]
INSTALL: Final = ROOT / "install"
PRIVATE: Final = "usr/lib/vipnet"
PYTHON: Final = Path("/usr/bin/python3")
SHELLS: Final = {  # where each looks for completions of a package
    "bash": "usr/share/bash-completion/completions/vipnet",
    "zsh": "usr/share/zsh/vendor-completions/_vipnet",
    "fish": "usr/share/fish/vendor_completions.d/vipnet.fish",
}
PLACES: Final = {
    "systemd/vipnet.service": "usr/lib/systemd/system/vipnet.service",
    "systemd/10-vipnet.network": "usr/lib/systemd/network/10-vipnet.network",
    "NetworkManager/10-vipnet.conf": "usr/lib/NetworkManager/conf.d/10-vipnet.conf",
}
DOCUMENTS: Final = ("README.md", "SECURITY.md", "docs/install.md", "docs/security.md")
# Whoever builds it says so as for Debian's own tools (debchange(1)). Otherwise an address that cannot
# exist (RFC 6761 section 6.4): better than one that is somebody else's.
NOBODY: Final = ("The vipnet developers", "nobody@vipnet.invalid")
# An `-I` Python takes nothing from the user's environment, directory or home.
PROGRAM: Final = f"""#!/{PRIVATE}/bin/python3 -I
from vipnet.cli.main import main

main()
"""


def build(into: Path) -> Path:
    """Return the package's path in INTO."""
    version = f"{__version__}-1"
    with tempfile.TemporaryDirectory() as directory:
        stage = Path(directory, "vipnet")
        python_version = _environment(stage, Path(directory))
        _files(stage)
        _control(stage, version, python_version)
        architecture = _output("dpkg", "--print-architecture")
        package = into / f"vipnet_{version}_{architecture}.deb"
        into.mkdir(exist_ok=True)
        # Files are root's, and none is younger than the source: the same source, the same package.
        _run("dpkg-deb", "--root-owner-group", "--build", str(stage), str(package))
    return package


def _environment(stage: Path, scratch: Path) -> str:
    """Make the private environment; return its Python's version (3.11)."""
    private = stage / PRIVATE
    _run(str(PYTHON), "-m", "venv", "--without-pip", str(private))
    python = private / "bin/python3"
    pip = (sys.executable, "-m", "pip")
    _run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(scratch), str(ROOT))
    (wheel,) = scratch.glob("vipnet-*.whl")
    _run(*pip, "--python", str(python), "install", "--quiet", "--no-compile", str(wheel))
    for program in (private / "bin").iterdir():
        if program.name != "python3":
            program.unlink()  # of libraries, and activate: they name the directory of this build
    python.unlink()
    python.symlink_to(PYTHON)
    (site,) = private.glob("lib/python3.*/site-packages")
    for one in distributions(path=[str(site)]):
        _forget_this_build(one, site)
    (private / "lib64").unlink(missing_ok=True)
    shutil.rmtree(private / "include", ignore_errors=True)
    (private / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    program = stage / "usr/bin/vipnet"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return site.parent.name.removeprefix("python")


def _forget_this_build(one: Distribution, site: Path) -> None:
    """Remove what pip notes for itself: where the wheel was, and files that are not shipped."""
    for name in ("RECORD", "direct_url.json", "REQUESTED", "INSTALLER"):
        for path in one.files or ():
            if path.name == name and path.parent.name.endswith(".dist-info"):
                (site / path).unlink(missing_ok=True)


def _files(stage: Path) -> None:
    """Unit, network settings, completions, manual, documents."""
    for source, place in PLACES.items():
        _copy(INSTALL / source, stage / place)
    for shell, place in SHELLS.items():
        environment = os.environ | {"_VIPNET_COMPLETE": f"{shell}_source"}
        script = _output(sys.executable, "-m", "vipnet", environment=environment)
        _write(stage / place, script + "\n")
    manual = stage / "usr/share/man/man1"
    _run(sys.executable, str(INSTALL / "manual.py"), str(manual))
    for page in list(manual.iterdir()):
        _gzip(page)
    documents = stage / "usr/share/doc/vipnet"
    for document in DOCUMENTS:
        _copy(ROOT / document, documents / Path(document).name)
    _copy(ROOT / "CHANGELOG.md", documents / "changelog")
    _gzip(documents / "changelog")
    shutil.copytree(ROOT / "examples", documents / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    _write(documents / "copyright", "".join(_copyright(stage)))
    (stage / "etc/vipnet").mkdir(parents=True)


def _copyright(stage: Path) -> Iterator[str]:
    """Our licence, and those of the libraries beside it, whose texts are in the environment."""
    yield (INSTALL / "debian/copyright").read_text()
    (site,) = (stage / PRIVATE).glob("lib/python3.*/site-packages")
    for one in sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower()):
        if one.name == "vipnet":
            continue
        classifiers = [
            value.split(" :: ")[-1]
            for value in one.metadata.get_all("Classifier", [])
            if value.startswith("License :: OSI")
        ]
        licence = one.metadata.json.get("license_expression") or ", ".join(classifiers)
        licence = licence or str(one.metadata.json.get("license") or "see its metadata").splitlines()[0]
        yield f"  {one.name} {one.version}: {licence}\n"


def _control(stage: Path, version: str, python_version: str) -> None:
    control = stage / "DEBIAN"
    control.mkdir()
    major, minor = python_version.split(".")
    size_kib = sum(path.lstat().st_size for path in stage.rglob("*") if not path.is_dir()) // 1024
    text = (
        (INSTALL / "debian/control")
        .read_text()
        .format(
            version=version,
            architecture=_output("dpkg", "--print-architecture"),
            maintainer=_maintainer(),
            size=size_kib,
            python=python_version,
            python_after=f"{major}.{int(minor) + 1}",
        )
    )
    (control / "control").write_text(text)
    for script in ("postinst", "prerm", "postrm"):
        shutil.copy(INSTALL / "debian" / script, control / script)
        (control / script).chmod(0o755)
    for path in (stage, *stage.rglob("*")):
        if not path.is_symlink():  # whatever the umask of this build is
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _maintainer() -> str:
    return "{} <{}>".format(*map(os.environ.get, ("DEBFULLNAME", "DEBEMAIL"), NOBODY))


def _copy(source: Path, place: Path) -> None:
    _write(place, source.read_text())


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def _gzip(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


def _source_date() -> str:
    """Seconds since 1970 of the last commit, for SOURCE_DATE_EPOCH; of the changelog outside of git."""
    try:
        return _output("git", "-C", str(ROOT), "log", "-1", "--format=%ct")
    except (OSError, subprocess.CalledProcessError):
        return str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd="/")


def _output(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


if __name__ == "__main__":
    os.umask(0o022)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _source_date())
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
