"""One phantom patient: anatomy, scanner and pictures, all drawn from one seed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cmr.errors import DataError
from cmr.phantom.acquisition import SCANNERS, Acquisition, acquire, coil_sensitivity, random_acquisition
from cmr.phantom.anatomy import Heart, random_heart
from cmr.phantom.contrast import Grid, paint_body, paint_heart

PHASES = ("ED", "ES")


@dataclass(frozen=True)
class PhantomSettings:
    """Size of a phantom scan.

    Attributes:
        slices: short-axis slices of a stack, at least 3. The slice spacing follows from it and from the length of the heart.
        matrix: pixels along both sides of a slice, at least 48. The field of view is the vendor's, 205 to 270 mm.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    slices: int
    matrix: int

    def __post_init__(self) -> None:
        if self.slices < 3:
            raise DataError(f"phantom.slices is {self.slices}; a stack needs at least 3 slices to show base, middle and apex.")
        if self.matrix < 48:
            raise DataError(f"phantom.matrix is {self.matrix}; below 48 pixels the myocardium is thinner than a pixel.")


@dataclass(frozen=True)
class PhantomPatient:
    """What is drawn for one patient.

    Attributes:
        heart, plan: the geometry and the examination behind the pictures.
        images: ED and ES, each (slices, rows, columns) int16 in scanner units, most basal slice first.
        labels: their ground truth, uint8 in the scheme of :mod:`cmr.labels`.
        age, height_cm, weight_kg, sex: as an information table wants them; of no consequence for the pictures.
        frames, es_frame: length of the cine study and the position of ES in it, counted from 1.
    """

    heart: Heart
    plan: Acquisition
    images: tuple[NDArray[np.int16], NDArray[np.int16]]
    labels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    age: int
    height_cm: int
    weight_kg: int
    sex: str
    frames: int
    es_frame: int

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        return self.plan.spacing_mm, self.plan.pixel_mm, self.plan.pixel_mm


def make_patient(seed: np.random.SeedSequence, *, scanner: str, pathology: str, settings: PhantomSettings) -> PhantomPatient:
    """Draw one patient.

    Args:
        seed: decides everything below together with the other arguments.
        scanner: a key of :data:`cmr.phantom.acquisition.SCANNERS`.
        pathology: a key of :data:`cmr.phantom.anatomy.PATHOLOGIES`.
    """
    person, stack, scene, thermal = (np.random.default_rng(child) for child in seed.spawn(4))
    heart = random_heart(person, pathology, SCANNERS[scanner].rotation)
    plan = random_acquisition(stack, SCANNERS[scanner], heart.length, settings.slices, settings.matrix)
    grid, fixed_x, fixed_y = _grid(stack, heart, plan, settings)
    body = paint_body(scene, heart, plan, grid)
    coil = coil_sensitivity(scene, plan.scanner, fixed_x, fixed_y)
    painted = [paint_heart(scene, body, heart, phase, plan, grid) for phase in PHASES]
    ed, es = (acquire(thermal, signal, coil, plan) for signal, _ in painted)
    frames = int(person.integers(20, 36))
    return PhantomPatient(
        heart=heart,
        plan=plan,
        images=(ed, es),
        labels=(painted[0][1], painted[1][1]),
        age=int(person.integers(20, 85)),
        height_cm=int(np.clip(person.normal(170, 9), 145, 200)),
        weight_kg=int(np.clip(person.normal(77, 13), 45, 130)),
        sex=str(person.choice(["F", "M"])),
        frames=frames,
        es_frame=1 + round(frames * float(person.uniform(0.32, 0.42))),
    )


def _grid(
    rng: np.random.Generator, heart: Heart, plan: Acquisition, settings: PhantomSettings
) -> tuple[Grid, NDArray[np.float32], NDArray[np.float32]]:
    """Pixel centres from the LV axis, which leans and jumps a little between breath-holds; and from the picture's centre."""
    axis = (np.arange(settings.matrix, dtype=np.float32) - (settings.matrix - 1) / 2) * plan.pixel_mm
    y, x = np.meshgrid(axis, axis, indexing="ij")
    z = (plan.first_z + plan.spacing_mm * np.arange(settings.slices)).astype(np.float32)
    offset = np.clip(rng.normal(0, 7, 2), -14, 14) + np.array([4.0, -4.0])
    lean = np.clip(rng.normal(0, 0.07, 2), -0.15, 0.15)
    breath = np.clip(rng.normal(0, 0.9, (settings.slices, 2)), -2, 2)
    centre = (offset + lean * (z[:, None] - heart.length / 2) + breath).astype(np.float32)
    grid = Grid(x[None] - centre[:, 0, None, None], y[None] - centre[:, 1, None, None], z, plan.pixel_mm)
    return grid, x.astype(np.float32), y.astype(np.float32)
