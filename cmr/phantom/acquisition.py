"""What the scanner adds to the anatomy: voxel sizes, contrast, coil sensitivity, blur, banding and Rician noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

SLICE_SPACINGS_MM = (5.0, 6.5, 7.0, 8.0, 9.6, 10.0)  # as found in ACDC and M&Ms


@dataclass(frozen=True)
class Scanner:
    """A vendor's habits. Tissue signals are relative to LV blood = 1; see :mod:`cmr.phantom.contrast`.

    Attributes:
        field_of_view_mm: smallest and largest in-plane field of view.
        myocardium, fat: steady-state signal of the tissue.
        noise: standard deviation of each channel of the complex noise.
        blur: sigma of the point spread function in pixels.
        coil: peak-to-peak size of the log coil sensitivity.
        units: scanner units for LV blood.
        rotation: mean angle (rad) of the LV-RV axis: how steeply the sites plan their short axis.
    """

    name: str
    field_of_view_mm: tuple[float, float]
    myocardium: float
    fat: float
    noise: float
    blur: float
    coil: float
    units: float
    rotation: float


SCANNERS = {
    "A": Scanner("Siemens", (220.0, 250.0), 0.21, 0.95, 0.018, 0.50, 0.55, 420.0, 0.25),
    "B": Scanner("Philips", (205.0, 230.0), 0.26, 1.00, 0.030, 0.38, 0.35, 1450.0, 0.15),
    "C": Scanner("GE", (240.0, 270.0), 0.29, 0.80, 0.045, 0.62, 0.45, 2600.0, 0.30),
    "D": Scanner("Canon", (230.0, 260.0), 0.33, 0.72, 0.036, 0.72, 0.75, 5200.0, 0.20),
    "acdc": Scanner("Siemens", (210.0, 255.0), 0.23, 0.92, 0.022, 0.48, 0.50, 300.0, 0.02),
}


@dataclass(frozen=True)
class Acquisition:
    """One examination: the scanner's habits with this patient's own values. Lengths in mm."""

    scanner: Scanner
    pixel_mm: float
    spacing_mm: float
    first_z: float  # z of the most basal slice
    myocardium: float
    noise: float
    units: float


def random_acquisition(
    rng: np.random.Generator, scanner: Scanner, heart_length: float, slices: int, matrix: int
) -> Acquisition:
    """Plan a stack of ``slices`` that covers the ventricles, with up to one slice beyond either end where slices are plenty."""
    needed = heart_length / (slices - float(rng.uniform(0.4, 1.6)))
    fitting = [mm for mm in SLICE_SPACINGS_MM if mm >= needed]
    spacing = fitting[0] if fitting else round(needed, 1)
    first = heart_length / 2 - spacing * (slices - 1) / 2 + float(rng.uniform(-0.25, 0.25)) * spacing
    return Acquisition(
        scanner=scanner,
        pixel_mm=round(float(rng.uniform(*scanner.field_of_view_mm)) / matrix, 4),
        spacing_mm=spacing,
        first_z=first,
        myocardium=scanner.myocardium * float(np.exp(0.08 * rng.normal())),
        noise=scanner.noise * float(np.exp(0.2 * rng.normal())),
        units=scanner.units * float(np.exp(0.25 * rng.normal())),
    )


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], sigma: tuple[float, float, float]) -> Array:
    """Gaussian random field of zero mean and unit variance, smoothed by ``sigma`` pixels along each axis."""
    # Periodic smoothing in the frequency domain: its cost does not grow with sigma.
    spectrum = np.fft.rfftn(rng.standard_normal(shape, np.float32))
    steps = [np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2])]
    z, y, x = (np.exp(-2 * (np.pi * step * size) ** 2).astype(np.float32) for step, size in zip(steps, sigma, strict=True))
    field = np.fft.irfftn(spectrum * (z[:, None, None] * y[:, None] * x), s=shape, axes=(0, 1, 2))
    return ((field - field.mean()) / max(float(field.std()), 1e-6)).astype(np.float32)


def coil_sensitivity(rng: np.random.Generator, scanner: Scanner, x: Array, y: Array) -> Array:
    """Surface-coil sensitivity: falls off from the anterior chest wall, gently tilted. About 1 on average, (rows, columns)."""
    half = max(float(np.abs(x).max()), 1.0)
    tilt, side, curve = rng.normal(0, 0.25, 3)
    log = -0.5 * (1 + tilt) * y / half + side * x / half - (0.3 + 0.5 * curve) * (x**2 + (y + 0.4 * half) ** 2) / half**2
    log = (log - log.mean()) / max(float(np.ptp(log)), 1e-6)
    return np.exp(2 * scanner.coil * log).astype(np.float32)


def banding(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Dark bSSFP bands where the field is off resonance, far from the shimmed heart; factor in (0, 1], shape of x."""
    first_mm = float(rng.uniform(105, 150))
    angle = float(rng.uniform(0, np.pi))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    phase = np.pi * (np.hypot(along, 0.75 * across) / first_mm) ** 3
    return (1 - 0.8 * np.exp(-(((phase % (2 * np.pi)) - np.pi) ** 2) / 0.18)).astype(np.float32)


def acquire(rng: np.random.Generator, signal: Array, coil: Array, plan: Acquisition) -> NDArray[np.int16]:
    """Turn a noise-free signal (slices, rows, columns) into scanner units: blur, coil, magnitude of complex noise, rounding.

    The magnitude of a complex signal with Gaussian noise in both channels is Rician (Gudbjartsson & Patz 1995,
    doi:10.1002/mrm.1910340618): never negative, and with a floor in air.
    """
    blurred = ndimage.gaussian_filter(signal * coil, (0, plan.scanner.blur, plan.scanner.blur))
    real = blurred + plan.noise * rng.standard_normal(signal.shape, np.float32)
    magnitude = np.hypot(real, plan.noise * rng.standard_normal(signal.shape, np.float32))
    return np.clip(np.rint(magnitude * plan.units), 0, np.iinfo(np.int16).max).astype(np.int16)
