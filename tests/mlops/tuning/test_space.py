import copy
from typing import Any

import pytest

from cmr.errors import DataErrors
from mlops.profiles import configure, merged
from mlops.settings import load_params, section, validate_all
from mlops.tuning.space import Domain, SearchSettings
from tests.mlops.conftest import REPOSITORY


@pytest.fixture
def params() -> dict[str, Any]:
    return copy.deepcopy(merged(REPOSITORY, "demo"))


@pytest.mark.parametrize(
    ("key", "domain", "expected"),
    [
        (
            "train.learning_rat",
            {"low": 1e-4, "high": 1e-2},
            "Did you mean 'train.learning_rate'?",
        ),
        ("learning_rate", {"low": 1e-4, "high": 1e-2}, "Did you mean 'train.learning_rate'?"),
        ("train", {"choices": [1, 2]}, "fm has no such parameter"),
        ("search.trials", {"low": 1, "high": 2}, "fm has no such parameter"),
        ("train.learning_rate", {"low": 1e-2, "high": 1e-4}, "the range is empty: low is 0.01, high is 0.0001"),
        ("train.learning_rate", {"low": 1e-2, "high": 1e-2}, "the range is empty"),
        ("train.learning_rate", {"low": 0.0, "high": 1e-2, "log": True}, "the range starts above 0"),
        ("train.learning_rate", {"low": 1e-4}, "expected 'low' and 'high', or 'choices'"),
        ("train.learning_rate", {"low": 1e-4, "high": 1e-2, "choices": [1.0, 2.0]}, "not both"),
        ("train.learning_rate", {"low": 1e-4, "high": 1e-2, "step": 1}, "step: unknown key"),
        ("train.learning_rate", {"choices": []}, "choices are []; expected at least two"),
        ("train.learning_rate", {"choices": [1.0, 1.0]}, "none twice"),
        ("train.learning_rate", {"choices": [1.0, "much"]}, 'cannot be "much": fm.train.learning_rate: found "much", expected'),
        ("train.batch", {"low": 1.5, "high": 8.0}, "cannot be 1.5: fm.train.batch: found 1.5, expected integer"),
        ("train.batch", {"low": 0, "high": 8}, "cannot be 0: fm.train: batch, micro_batch"),
        ("network.widths", {"choices": [[8, 16, 64], 64]}, "cannot be 64: fm.network.widths: found 64, expected list"),
        ("network", {"choices": [{"widths": [16, 32], "attention": [False]}, {}]}, "2 widths but 1 attention flags"),
        ("network", {"choices": [{"widths": [16, 32], "atention": [False]}, 1]}, "no such parameter 'network.atention'"),
        ("validation.sampler", {"choices": ["midpoint", 3]}, "cannot be 3: fm.validation.sampler"),
    ],
)
def test_a_wrong_key_or_domain_is_named(params: dict[str, Any], key: str, domain: dict[str, Any], expected: str) -> None:
    params["fm"]["search"]["space"] = {key: domain}
    with pytest.raises(DataErrors) as raised:
        validate_all(params)
    (fault, *_) = raised.value.faults
    assert fault.startswith(f"fm.search.space.{key}")
    assert expected in fault


@pytest.mark.parametrize(
    ("network", "change", "expected"),
    [
        ("fm", {"space": {}}, "the space is empty"),
        ("fm", {"trials": 0}, "must be at least 1"),
        ("fm", {"metric": "loss"}, "expected 'validation' or 'kid'"),
        ("masks", {"metric": "kid"}, "found 'kid', which is for images"),
        ("fm", {"objectives": ["kid", "adherense"]}, "Did you mean 'adherence'?"),
        ("fm", {"objectives": ["kid"]}, "expected at least two"),
        ("segmenter", {"objectives": ["kid", "adherence"]}, "a segmenter has one"),
        ("fm", {"trails": 3}, "Did you mean 'trials'?"),
    ],
)
def test_a_wrong_search_block_is_named(params: dict[str, Any], network: str, change: dict[str, Any], expected: str) -> None:
    params[network]["search"] |= change
    with pytest.raises(DataErrors) as raised:
        validate_all(params)
    assert raised.value.faults[0].startswith(f"{network}.search")
    assert expected in raised.value.faults[0]


def test_a_sweep_as_a_stage_names_a_network(params: dict[str, Any]) -> None:
    params["sweep"]["networks"] = ["fm", "mask"]
    with pytest.raises(DataErrors, match="Did you mean 'masks'"):
        validate_all(params)


def test_lists_null_and_an_autoencoder_can_be_searched(params: dict[str, Any]) -> None:
    params["ldm"]["search"]["space"] = {
        "network.widths": {"choices": [[32, 64, 128], [16, 32, 64]]},
        "train.gradient_clip": {"choices": [None, 1.0]},
        "network": {"choices": [{"widths": [32, 64], "attention": [False, True]}, {"residual_blocks": 2}]},
        "autoencoder.network.codebook": {"low": 64, "high": 2048, "log": True},
    }
    validate_all(params)


def test_whole_numbers_stay_whole_where_the_parameter_is_one() -> None:
    assert Domain(low=1, high=3).whole(2)
    assert not Domain(low=0, high=1).whole(0.5)
    assert not Domain(low=0.5, high=3).whole(2)


def test_a_dotted_key_of_a_space_can_be_set(demo: Any) -> None:
    configure("demo", overrides=["fm.search.space.train.learning_rate.low=1.0e-5", "fm.search.trials=3"])
    search = section("fm.search", SearchSettings)
    assert search.space["train.learning_rate"].low == 1e-5
    assert search.trials == 3
    assert "train" not in load_params(demo)["fm"]["search"]["space"]
