"""No message shows a password, whatever it was made from."""

import pytest

from cmr.errors import DataError, DataErrors, without_secrets

HIDDEN = "s3cr3t/with@signs#and?more"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"MLflow at http://anna:{HIDDEN}@host:5000/x cannot be used", "MLflow at http://***@host:5000/x cannot be used"),
        ("postgresql+psycopg2://mlflow:s3cr3t@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("ssh://anna:s3cr3t@host/path and s3://key:s3cr3t@bucket", "ssh://***@host/path and s3://***@bucket"),
        ("'https://s3cr3t-token@host'", "'https://***@host'"),
        ("with url: /api/x?name=a&access_token=s3cr3t&b=2", "with url: /api/x?name=a&access_token=***&b=2"),
        ("https://b.blob/c?sv=1&sig=s3cr3t%3D", "https://b.blob/c?sv=1&sig=***"),
        ("https://b.s3/c?X-Amz-Signature=s3cr3t&X-Amz-Credential=s3cr3t", "https://b.s3/c?X-Amz-Signature=***&X-Amz-Credential=***"),
        ("AccountName=a;AccountKey=s3cr3t==;x=1", "AccountName=a;AccountKey=***;x=1"),
        ("headers {'Authorization': 'Bearer s3cr3t.x'}", "headers {'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic czNjcjN0", "Authorization: Basic ***"),
    ],
)  # fmt: skip
def test_secrets_of_each_kind_are_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert str(DataError(text)) == shown
    assert str(DataErrors(text, [text])) == f"{shown}\n  - {shown}"


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "SYNCMRI_TOKEN", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"])
def test_values_of_the_environment_are_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "in-the-environment")
    assert str(DataError("the server says: in-the-environment is wrong")) == "the server says: *** is wrong"


@pytest.mark.parametrize(
    "text",
    [
        "models:/syncmri-ddpm@approved at http://127.0.0.1:5000 has no key",
        "params.yaml: train.seed: found 'x', expected a number; see a@example.org",
        "set RAY_AUTH_TOKEN_PATH=FILE with the token that the cluster was started with",
        "sqlite:////srv/project/mlflow.db",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text
