"""The git revision that a run is made from, or why there is none that can be named."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

UNKNOWN = "git.unknown"
"""Tag of a run: why it has no revision."""
_TOLD: set[Path] = set()


@dataclass(frozen=True)
class Revision:
    """Of the project's files.

    Attributes:
        commit: empty where it is not known.
        changed: whether files differ from it.
        why: in a few words without a path, why it is not known; empty where it is.
        advice: what to do about that, in a sentence.
    """

    commit: str = ""
    changed: bool = False
    why: str = ""
    advice: str = field(default="", compare=False)

    @property
    def tags(self) -> dict[str, str]:
        """For an MLflow run."""
        if self.why:
            return {UNKNOWN: self.why}
        return {"mlflow.source.git.commit": self.commit, "git.dirty": str(self.changed).lower()}


def revision(root: Path) -> Revision:
    """The revision of the project at ``root``. The pipeline's own files, dvc.lock and reports/, make no difference."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        if not _git(root, "ls-files", "--", "."):
            above = _git(root, "rev-parse", "--show-toplevel")
            return Revision(
                why="files that the repository does not hold",
                advice=f"The git repository {above} does not hold the project's files: `git add` them, or `git init` here.",
            )
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return Revision(commit, bool(dirty))
    except FileNotFoundError:
        return Revision(why="git is not installed", advice="Install git.")
    except subprocess.CalledProcessError as error:
        return _unknown(root, error.stderr)


def revision_tags(root: Path) -> dict[str, str]:
    """The tags of a run; where the revision is not known, a warning says so once in a process."""
    found = revision(root)
    if found.why and root not in _TOLD:
        _TOLD.add(root)
        print(f"warning: no revision is recorded: {found.why}. {found.advice}", file=sys.stderr)
    return found.tags


def in_repository(root: Path) -> bool:
    """Whether the folder, or one above it, is the work tree of a git repository."""
    return any((folder / ".git").exists() for folder in (root.absolute(), *root.absolute().parents))


def _unknown(root: Path, said: str) -> Revision:
    if "dubious ownership" in said:
        suggested = re.search(r"git config --global --add safe\.directory .+", said)
        command = suggested[0].strip() if suggested else f"git config --global --add safe.directory '{root}'"
        return Revision(
            why="the repository belongs to another user",
            advice=f"git does not read it for you. If you trust everybody who can write there: `{command}`.",
        )
    if "not a git repository" in said:
        return Revision(
            why="no git repository",
            advice="Clone the project, or put what you unpacked under git: `git init`, `git add .`, `git commit -m start`.",
        )
    if "unknown revision" in said or "ambiguous argument" in said:
        return Revision(why="nothing is committed yet", advice="`git add .` and `git commit -m start`.")
    lines = said.strip().splitlines() or ["without a word"]
    return Revision(why="git fails", advice=f"It says: {lines[-1]}")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    english = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=english).stdout.strip()
