"""Settings, profiles, MLflow tracking and the checks of a machine: what joins the rooms to DVC and MLflow."""

import os

# Read by mlflow when it is imported, so set before. A server that is down must cost seconds, not the minutes of its defaults.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
