"""Makes the bucket of the MLflow server in the S3-compatible storage, once it answers. What is there already stays.

Reads MLFLOW_ARTIFACTS_DESTINATION (s3://BUCKET), MLFLOW_S3_ENDPOINT_URL and the AWS_* variables, as the server does.
"""

import os
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PATIENCE_SECONDS = 120
OURS_ALREADY = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def main() -> None:
    bucket = os.environ["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("s3://").split("/")[0]
    storage = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            storage.create_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in OURS_ALREADY:
                break
            fault: Exception = error
        except BotoCoreError as error:
            fault = error
        else:
            break
        if time.monotonic() > deadline:
            sys.exit(f"error: the bucket {bucket} can't be made: {fault}")
        time.sleep(2)
    print(f"The bucket {bucket} is there.")


if __name__ == "__main__":
    main()
