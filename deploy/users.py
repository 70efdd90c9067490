"""Makes the account `reader` of the MLflow server, by which `serve` and `studio` read and can change nothing.

Reads MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (the administrator's) and
MLFLOW_READER_PASSWORD. An account that is there gets this password; one that has become an administrator is refused.
"""

import os
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

READER = "reader"


def main() -> None:
    client, password = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"]), os.environ["MLFLOW_READER_PASSWORD"]
    try:
        user = client.get_user(READER)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            sys.exit(f"error: the MLflow server does not let the administrator look at accounts ({error.error_code})")
        client.create_user(READER, password)
        print(f"The account {READER} is made: it reads, and changes nothing.")
        return
    if user.is_admin:
        sys.exit(f"error: the account {READER} is an administrator; take that from it, or delete it, and start again")
    client.update_user_password(READER, password)
    print(f"The account {READER} is there.")


if __name__ == "__main__":
    main()
