"""Stages without a network must start fast (design §6): these modules may not pull in torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["evaluation.masks", "evaluation.statistics", "evaluation.privacy.neighbours", "evaluation.utility.scores"]
)
def test_no_network_library_is_imported(module):
    heavy = "{'torch', 'monai', 'torchmetrics', 'diffusers'}"
    code = f"import sys, {module}; assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
