"""The figures of a sweep, from trials written by hand."""

from pathlib import Path

import pandas as pd
import pytest

from mlops.profiles import configure
from mlops.tuning.results import front
from mlops.tuning.study import Study, Trial
from pipelines.draw_sweep import draw
from tests.pipelines.project import REPOSITORY

NO_SHARES = pd.DataFrame(columns=["objective", "parameter", "importance"])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    (tmp_path / "profiles").symlink_to(REPOSITORY / "profiles")
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".syncmri/sweeps/fm-1"
    folder.mkdir(parents=True)
    configure("demo").rename(folder / "params.yaml")
    return Study(tmp_path, "fm-1", "fm", (), trials=4, created=0.0)


def _trial(number: int, state: str, **scores: float) -> Trial:
    return Trial(number, state, {"train.learning_rate": 0.001}, scores, None, None, 0.0, 1.0)


def test_one_metric_is_drawn_against_the_trials(study: Study, tmp_path: Path) -> None:
    trials = [_trial(0, "finished", score=0.2), _trial(1, "failed"), _trial(2, "stopped early", score=0.1)]
    shares = pd.DataFrame([("score", "train.learning_rate", 0.7), ("score", "train.ema", 0.3)], columns=NO_SHARES.columns)
    draw(study, trials, shares, tmp_path)
    for name in ("history", "importance"):
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "front.svg").exists()


def test_several_objectives_are_drawn_as_a_front(study: Study, tmp_path: Path) -> None:
    several = Study(study.root, study.name, "fm", ("frechet", "adherence", "membership"), trials=3, created=0.0)
    trials = [
        _trial(0, "finished", frechet=1.0, adherence=0.5, membership=0.6),
        _trial(1, "finished", frechet=2.0, adherence=0.4, membership=0.6),  # beaten by 0
        _trial(2, "finished", frechet=3.0, adherence=0.4, membership=0.5),
        _trial(3, "failed"),
    ]
    assert [trial.number for trial in front(several, trials)] == [0, 2]
    draw(several, trials, NO_SHARES, tmp_path)
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert not (tmp_path / "history.svg").exists()


def test_nothing_finished_draws_nothing(study: Study, tmp_path: Path) -> None:
    draw(study, [_trial(0, "failed")], NO_SHARES, tmp_path)
    assert not list(tmp_path.glob("*.svg"))
