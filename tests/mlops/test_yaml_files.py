"""params.yaml as people write it: in their editor's encoding, with anchors that two networks share; terminals of any kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmr.errors import DataError
from mlops.profiles import changed, configure, exclude
from mlops.settings import load_params, section
from tests.mlops.conftest import REPOSITORY

NOTE = "# Prüfung: 5 Schritte für Übung\n"


def test_a_byte_order_mark_is_no_fault(demo: Path) -> None:
    before = load_params(demo)
    (demo / "params.yaml").write_text((demo / "params.yaml").read_text(), encoding="utf-8-sig")
    assert load_params(demo) == before
    configure("demo", overrides=["seed=5"])
    assert section("seed", int, demo) == 5


@pytest.mark.parametrize(("encoding", "told"), [("cp1252", "line 2: .*Prüfung"), ("latin-1", "line 2"), ("utf-16", "UTF-16")])
def test_another_encoding_is_told_with_its_line_and_written_anew_without_losing_who_is_excluded(
    demo: Path, encoding: str, told: str
) -> None:
    exclude(demo, ["mnms/Müller"])
    path = demo / "params.yaml"
    path.write_bytes(("# params\n" + NOTE + path.read_text(encoding="utf-8")).encode(encoding, "replace"))
    for use in (load_params, lambda root: changed(root / "params.yaml", {"seed": 1})):
        with pytest.raises(DataError, match=told) as raised:
            use(demo)
        assert "params.yaml" in str(raised.value)
        assert "Save the file as UTF-8" in str(raised.value)
    configure("demo")
    assert load_params(demo)["data"]["excluded"] == ["mnms/Müller"]


def test_a_file_that_is_no_yaml_is_not_replaced_where_it_may_exclude_patients(demo: Path) -> None:
    (demo / "params.yaml").write_text("data: {excluded: [mnms/A1\n")
    with pytest.raises(DataError, match=r"params.yaml, line \d+.*taken in again.*move the file away"):
        configure("demo")
    assert (demo / "params.yaml").read_text() == "data: {excluded: [mnms/A1\n"


@pytest.mark.parametrize("text", ["seed: \x01\n", "a: [1\n", "a: 1\na: 2\n", "- 1\n", "", "%\n"])
def test_what_is_no_mapping_in_yaml_is_told_with_the_file(demo: Path, text: str) -> None:
    (demo / "params.yaml").write_text(text)
    for use in (load_params, lambda root: changed(root / "params.yaml", {"seed": 1})):
        with pytest.raises(DataError, match=r"params\.yaml"):
            use(demo)


def with_anchors(demo: Path) -> Path:
    """params.yaml in which fm has ddpm's budget, by an alias and by a merge."""
    path, params = demo / "params.yaml", load_params(demo)
    text = path.read_text()
    ddpm, fm = text.index("\nddpm:"), text.index("\nfm:")
    first = text[ddpm:].index("  train:") + ddpm
    second = text[fm:].index("  train:") + fm
    text = f"{text[:second]}{text[second:].replace('  train:', '  train: &other', 1)}"
    path.write_text(f"{text[:first]}{text[first:].replace('  train:', '  train: &budget', 1)}")
    assert load_params(demo) == params
    lines = path.read_text().splitlines()
    start = next(row for row, line in enumerate(lines) if "&other" in line)
    end = next(row for row in range(start + 1, len(lines)) if len(lines[row]) - len(lines[row].lstrip()) <= 2)
    path.write_text("\n".join([*lines[:start], "  train: *budget", *lines[end:]]) + "\n")
    return path


def test_a_value_of_one_network_changes_that_network_alone(demo: Path) -> None:
    path = with_anchors(demo)
    before = load_params(demo)
    assert before["fm"]["train"] == before["ddpm"]["train"]
    path.write_text(changed(path, {"fm.train.max_steps": 7}))
    after = load_params(demo)
    assert after["fm"]["train"]["max_steps"] == 7
    assert after["ddpm"] == before["ddpm"]
    assert after["fm"]["train"] == before["fm"]["train"] | {"max_steps": 7}
    assert "&budget" not in path.read_text()
    assert "*budget" not in path.read_text()


def test_a_merged_block_and_a_single_number_are_its_own_too(demo: Path) -> None:
    path = demo / "params.yaml"
    path.write_text("one: &all {a: &n 5, b: [1, 2]} # first\ntwo:\n  <<: *all\n  c: *n\nthree: *all\n")
    path.write_text(changed(path, {"one.a": 6, "two.b": [3]}))
    assert load_params(demo) == {
        "one": {"a": 6, "b": [1, 2]},
        "two": {"c": 5, "a": 5, "b": [3]},
        "three": {"a": 5, "b": [1, 2]},
    }
    assert "# first" in path.read_text()


def test_a_profile_with_anchors_is_set_key_by_key(project: Path) -> None:
    profile = project / "profiles/own.yaml"
    profile.write_text("based_on: demo\nddpm:\n  train: &short {max_steps: 9}\nfm:\n  train: *short\n")
    configure("own", overrides=["fm.train.max_steps=3"])
    params = load_params(project)
    assert (params["ddpm"]["train"]["max_steps"], params["fm"]["train"]["max_steps"]) == (9, 3)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_without_the_sign_for_at_most_takes_a_promotion(registered: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "app.cli", "promote", "ddpm"]
    done = subprocess.run(command, cwd=registered, env=environment, capture_output=True)
    output = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    assert "syncmri-ddpm version 1 is approved" in output
    assert "? 0." in output
    assert b"Traceback" not in done.stderr
