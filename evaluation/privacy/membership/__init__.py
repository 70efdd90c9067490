"""Membership inference: can the slices that a network was trained on be told from slices of patients it has never seen?

``signals`` reads the network's errors by its ``denoising_error`` alone, ``attack`` turns them into scores and rates, ``blind``
does without the network, ``figures`` has all figures of a report. Only ``signals`` needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Signals:
    """What the attacks read of a network about N slices at T fixed time steps, averaged over the noises; small is well known.

    Attributes:
        steps: the T integer time steps.
        naive: (N, T) mean squared error of the prediction.
        frequency: (N, T) the part of it in the middle frequencies.
        coarse: (N, T) logarithm of the share of it in the low frequencies, below those.
        dissimilarity: (N, T) 1 - SSIM of prediction and target, 0 to 2.
        pia: (N, 1) 4-norm of the error under the network's own estimate of the noise, at the one time of that attack.
    """

    steps: tuple[int, ...]
    naive: NDArray[np.float64]
    frequency: NDArray[np.float64]
    coarse: NDArray[np.float64]
    dissimilarity: NDArray[np.float64]
    pia: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence["Signals"]) -> "Signals":
        """The signals of all parts' slices, in order; all were read at the same time steps."""
        names = ("naive", "frequency", "coarse", "dissimilarity", "pia")
        return cls(parts[0].steps, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))
