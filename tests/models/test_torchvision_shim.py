"""In a fresh process, whatever needs torchvision can be imported after models."""

import subprocess
import sys


def test_libraries_that_import_torchvision_load_after_models():
    code = "import models, torchvision, torchmetrics.image, lpips, torch_fidelity, diffusers; print('loaded')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("loaded"), done.stderr
