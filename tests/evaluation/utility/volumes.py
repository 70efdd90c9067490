"""A drawn test set for the utility tests."""

import pandas as pd

from tests.evaluation.hearts import hearts


def drawn_test_set(patients=3, slices=4, size=64):
    """Masks (patients·2·slices, size, size) of ``patients`` with two frames each, and their index."""
    index = pd.DataFrame(
        [
            {"subject": f"p{patient}", "phase": phase, "slice": number}
            for patient in range(patients)
            for phase in ("ED", "ES")
            for number in range(slices)
        ]
    ).assign(slice_mm=10.0, row_mm=1.25, column_mm=1.25, labelled=True)
    return hearts(len(index), seed=0, size=size), index
