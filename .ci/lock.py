"""Writes the lock files anew from ``pyproject.toml``: exact versions with the SHA-256 of every file that may be installed.

Run it as ``make lock``. Versions that a lock file names already stay, unless ``--upgrade`` is given.

uv resolves and takes the hashes of all files of a version (Linux, macOS, Windows; wheels and sources) from the package index.
Three things are added to what uv does:

- The CPU builds of torch and torchvision lie on PyTorch's own index as ``VERSION+cpu``; a requirement ``torch==VERSION``
  accepts them. Their hashes are read there; where that index cannot be reached, those of the same version in the lock stay.
  pip prefers a file whose hash the index names, so torch's CPU build in a folder needs a lock file of its own, installed first.
- The CUDA libraries that PyPI's torch needs, and its CPU build does not, go to a lock file of their own.
- What the team server needs beyond ``requirements.lock`` goes to ``deploy/requirements.txt``.
"""

import argparse
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAIN, CPU, CUDA = ROOT / "requirements.lock", ROOT / "requirements.cpu.lock", ROOT / "requirements.cuda.lock"
SERVER = ROOT / "deploy/requirements.txt"
PIP, TOOLS = ROOT / ".ci/pip.lock", ROOT / ".ci/tools.lock"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ONLY_FOR_CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
_BLOCK = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(.*(?:\n[ \t].*)*)", re.MULTILINE)

Blocks = dict[str, tuple[str, str]]
"""Name of a package -> its version, and the text of its block without its name and version."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    before = _blocks(MAIN)
    packages = _resolved([MAIN, CUDA], ["pyproject.toml", "--extra", "dev", *upgrade])
    cpu: Blocks = {}
    for name in ("torch", "torchvision"):
        version, rest = packages[name]
        builds = _cpu_builds(name, version, rest, before.get(name))
        packages[name] = version, _options(sorted({*_hashes(rest), *builds})) + _notes(rest)
        if name == "torch":
            cpu[name] = f"{version}+cpu", _options(builds)
    cuda = {name: block for name, block in packages.items() if ONLY_FOR_CUDA.match(name)}
    others = {name: block for name, block in packages.items() if name not in cuda}
    server = _resolved([SERVER, MAIN, CUDA], ["--group", "server", *upgrade], {**others, **cuda})
    pip = _resolved([PIP], ["--group", "pip", *upgrade])
    tools = _resolved([TOOLS], ["--group", "tools", *upgrade])
    _write(MAIN, "What pyproject.toml's dependencies and its dev extra need.", others)
    _write(CPU, "torch's CPU build, installed before requirements.lock where the configured index or folder has it.", cpu)
    _write(CUDA, "The CUDA libraries that PyPI's torch needs beside requirements.lock, and its CPU build does not.", cuda)
    beyond = {name: block for name, block in server.items() if name not in packages}
    _write(SERVER, "What the team's MLflow server needs beyond requirements.lock: PostgreSQL, S3 and its login.", beyond)
    _write(PIP, "The pip that installs all others, and the setuptools that builds the few that come as source.", pip)
    _write(TOOLS, "Tools for `make lock`, `make sbom` and `make audit`, in an environment of their own.", tools)


def _resolved(existing: list[Path], arguments: list[str], fixed: Blocks | None = None) -> Blocks:
    """What uv resolves ``arguments`` to; versions in the ``existing`` lock files are kept, those of ``fixed`` are required."""
    known = {name: block for path in reversed(existing) for name, block in _blocks(path).items()} | (fixed or {})
    output = ROOT / ".lock.writing"
    constraints = ROOT / ".constraints.writing"
    # Versions only: uv would take hashes that stand there for all that there are.
    output.write_text("".join(f"{name}=={version}\n" for name, (version, _) in known.items()))
    constraints.write_text("".join(f"{name}=={version}\n" for name, (version, _) in (fixed or {}).items()))
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--python-version", "3.11", "--generate-hashes"]
    command += ["--constraint", str(constraints), "--output-file", str(output), *arguments]
    try:
        done = subprocess.run(
            [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"error: uv cannot resolve pyproject.toml; no lock file was changed:\n{done.stderr.strip()}")
        return _blocks(output)
    finally:
        output.unlink()
        constraints.unlink()


def _cpu_builds(name: str, version: str, rest: str, before: tuple[str, str] | None) -> list[str]:
    """The hashes of the CPU builds for Python 3.11."""
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/{name}/", timeout=30) as page:
            links = re.findall(r'href="([^"]+)"', page.read().decode())
        wheel = re.compile(rf"/{name}-{re.escape(version)}(?:%2B|\+)cpu-cp311-.*#sha256=([0-9a-f]{{64}})$")
        found = {match[1] for link in links if (match := wheel.search(link))}
    except (urllib.error.URLError, TimeoutError) as error:
        kept = _hashes(before[1]) if before and before[0] == version else []
        found = set(kept) - set(_hashes(rest))
        print(f"{CPU_INDEX} cannot be reached ({error}): hashes of CPU builds are those of the lock file", file=sys.stderr)
    if not found:
        sys.exit(f"error: no hash of the CPU build of {name} {version} is known; run this where {CPU_INDEX} can be reached")
    return sorted(found)


def _options(hashes: list[str]) -> str:
    return " \\\n" + " \\\n".join(f"    --hash=sha256:{digest}" for digest in hashes)


def _notes(rest: str) -> str:
    return "".join(f"\n    {line.strip()}" for line in rest.splitlines() if line.strip().startswith("#"))


def _hashes(rest: str) -> list[str]:
    return re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)


def _blocks(path: Path) -> Blocks:
    text = path.read_text() if path.is_file() else ""
    return {_normal(name): (version, rest) for name, version, rest in _BLOCK.findall(text)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _write(path: Path, about: str, blocks: Blocks) -> None:
    for name, (version, rest) in blocks.items():
        if not _hashes(rest):
            sys.exit(f"error: the index gives no hash of {name} {version}; no lock file was changed from {path.name} on")
    header = (
        f"# {about}\n# Written by `make lock` for Python 3.11; .ci/lock.py says from where the hashes are. Not to be edited.\n"
    )
    path.write_text(header + "".join(f"{name}=={version}{rest}\n" for name, (version, rest) in sorted(blocks.items())))
    print(f"{path.relative_to(ROOT)}: {len(blocks)} packages")


if __name__ == "__main__":
    main()
