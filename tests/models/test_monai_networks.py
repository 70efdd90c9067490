"""MONAI's networks come without its optional packages, which stay importable."""

import subprocess
import sys


def test_its_optional_packages_are_left_out_and_can_still_be_imported():
    code = (
        "import sys, models.segmenter; assert not {'torchvision', 'mlflow'} & set(sys.modules); "
        "import mlflow, torchvision; print(mlflow.__version__, torchvision.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
