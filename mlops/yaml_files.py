"""YAML files that people write: read with every fault named by file and line."""

import codecs
import copy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.anchor import Anchor
from ruamel.yaml.comments import Comment, CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from cmr.errors import DataError

_NEWLINE = b"\n"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file (so that ``1e-4`` is a number and ``no`` a text).

    Raises:
        DataError: the file is absent, is not YAML in UTF-8 (says the line), or holds something else than a mapping.
    """
    text = read_text(path)
    try:
        found = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise DataError(yaml_fault(path, error)) from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a mapping of settings, found {type(found).__name__}.")
    return found


def read_yaml_in_any_encoding(path: Path) -> Any:
    """What a YAML file holds that is about to be replaced: it may be in UTF-16, cp1252 or latin-1 as well.

    Raises:
        DataError: it is not YAML.
    """
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16" if wide else "utf-8-sig", "cp1252", "latin-1"):
        try:
            return YAML(typ="safe").load(content.decode(encoding))
        except UnicodeDecodeError:
            continue
        except YAMLError as error:
            raise DataError(yaml_fault(path, error)) from error
    raise AssertionError("latin-1 decodes everything")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises:
        DataError: the file is absent, cannot be read, or is in another encoding (says the line).
    """
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such file. Run `syncmri configure demo` in the project folder to write params.yaml."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            place, found = "", "text in UTF-16"
        else:
            before = content[: error.start]
            words = content[before.rfind(_NEWLINE) + 1 :].partition(_NEWLINE)[0].decode("cp1252", "replace").strip()
            place = f", line {before.count(_NEWLINE) + 1}"
            found = f"a character in another encoding, perhaps cp1252 or latin-1: '{words[:80]}'"
        raise DataError(
            f"{path}{place}: found {found}; UTF-8 is expected, as DVC reads it. Save the file as UTF-8 in your editor."
        ) from error


def yaml_fault(path: Path, error: YAMLError) -> str:
    """Why a file is not YAML, with the line, for people."""
    if isinstance(error, MarkedYAMLError):
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        return f"{path}{line}: not readable as YAML: {error.problem or error.context}."
    return f"{path}: not readable as YAML: {str(error).splitlines()[0]}."  # a character that YAML does not allow


def unshared(params: CommentedMap) -> CommentedMap:
    """The same values and comments without YAML's anchors (``&name``), aliases (``*name``) and merges (``<<``).

    So each network has settings of its own, also where the file says them once for two: a value that is changed afterwards
    under one key stays as it was under all others. ``params`` is used up.
    """
    return _unshared(params, set())


def _unshared(block: Any, seen: set[int]) -> Any:
    if isinstance(block, CommentedMap) and block.merge:
        own = CommentedMap(block.items())  # with what it takes over from others
        setattr(own, Comment.attrib, block.ca)
        block = own
    if hasattr(block, Anchor.attrib):
        delattr(block, Anchor.attrib)
    seen.add(id(block))
    for key, value in block.items() if isinstance(block, CommentedMap) else enumerate(block) if isinstance(block, list) else ():
        plain = _plain(value)
        block[key] = _unshared(copy.deepcopy(plain) if id(plain) in seen else plain, seen)
    return block


def _plain(value: Any) -> Any:
    """A number or text with an anchor as one without."""
    if hasattr(value, Anchor.attrib) and isinstance(value, (int, float, str)):
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    return value
