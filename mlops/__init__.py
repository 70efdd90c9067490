"""Settings, profiles, MLflow tracking and the checks of a machine: what joins the rooms to DVC and MLflow."""

import os

# Read by mlflow when it is imported, so set before.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A server that restarts must cost a delay and one that is down seconds, not minutes: four tries again take half a minute, and
# MLflow's usual seven would take four minutes a stage.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
