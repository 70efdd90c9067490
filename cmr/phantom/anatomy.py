"""Analytic bi-ventricular anatomy in millimetres, from which both the pictures and their ground truth are drawn.

The long axis z runs from the ED mitral plane (z = 0) to the epicardial apex (z = length). In a short-axis plane, u points from
the LV centre to the septum and RV (towards the left of the picture), v to the anterior wall; theta = atan2(v, u). Radii scale
along the axis as ``sqrt(1 - s^p)``, so that volumes have a closed form (:meth:`Heart.lv_volume_ml`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmr.labels import LV, MYO, RV

Array = NDArray[np.float32]

TAPER = 3.0  # exponent p of the long-axis profile: between an ellipsoid (2) and a cylinder
ENDO_END = 0.93  # the cavity ends at this fraction of the long axis; beyond it the slice shows myocardium only
RV_VANISHES = 0.35  # the RV is not drawn where its profile falls below this: no slivers of a few pixels
THINNEST_WALL_MM = 4.5  # keeps the ring closed on a 3 mm grid
FAR = np.float32(1e3)  # signed distance of a structure that a plane does not meet


@dataclass(frozen=True)
class Pathology:
    """Group means; fitted to the volumes, radii and wall thickness measured on the real ACDC training masks."""

    radius_mm: float
    wall_mm: float
    ejection: float
    length_mm: float
    rv_width_mm: float
    rv_ejection: float  # relative loss of RV width from ED to ES
    spread: float  # relative standard deviation between patients


PATHOLOGIES = {
    "NOR": Pathology(25.5, 6.9, 0.61, 86.0, 29.0, 0.44, 0.06),
    "DCM": Pathology(33.8, 7.6, 0.19, 98.0, 24.0, 0.26, 0.06),
    "HCM": Pathology(24.5, 12.0, 0.69, 88.0, 22.0, 0.48, 0.08),
    "HHD": Pathology(26.0, 10.5, 0.57, 90.0, 23.0, 0.42, 0.07),
    "MINF": Pathology(30.0, 7.2, 0.32, 90.0, 21.0, 0.40, 0.07),
    "RV": Pathology(24.0, 6.6, 0.54, 82.0, 41.0, 0.22, 0.08),
}
PATHOLOGIES["ARV"] = PATHOLOGIES["RV"]  # M&Ms writes ARV for an abnormal right ventricle


@dataclass(frozen=True)
class Outline:
    """Relative Fourier perturbation of a contour: orders, amplitudes and phases (rad), turning with depth (rad/mm)."""

    orders: tuple[int, ...]
    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]
    twist: float

    def factor(self, theta: Array, z: Array) -> Array:
        terms = zip(self.orders, self.amplitudes, self.phases, strict=True)
        waves = [a * np.cos(k * (theta + self.twist * z) + p) for k, a, p in terms]
        return np.asarray(1 + sum(waves), np.float32)

    @staticmethod
    def random(rng: np.random.Generator, orders: tuple[int, ...], size: float) -> "Outline":
        amplitudes = tuple(float(size * rng.normal() / k) for k in orders)
        phases = tuple(float(p) for p in rng.uniform(0, 2 * np.pi, len(orders)))
        return Outline(orders, amplitudes, phases, float(rng.normal(0, 0.004)))


@dataclass(frozen=True)
class Heart:
    """One patient's heart at ED, and what changes at ES. Lengths in mm, angles in rad."""

    pathology: str
    radius: float
    wall: float
    ejection: float
    length: float
    descent: float  # how far the mitral plane has moved to the apex at ES
    rv_width: float
    rv_ejection: float
    rv_base: float  # z at which the RV label begins at ED
    rv_end: float  # its apex as a fraction of the length: apical slices may have no RV
    rotation: float  # of the LV-RV axis; positive lifts the RV to the top of the picture
    twist: float  # of that axis along z, rad/mm
    region: float  # theta of the thick (HCM) or infarcted (MINF) sector
    region_width: float
    region_size: float  # relative change of the wall there: > 0 thicker, < 0 thinner
    papillary: tuple[float, float]  # theta of the two papillary muscles
    papillary_size: float  # relative to the cavity's radius
    epi: Outline
    endo: Outline
    rv: Outline

    def base(self, phase: str) -> float:
        """z of the mitral plane in mm."""
        return 0.0 if phase == "ED" else self.descent

    def endo_radius(self, phase: str) -> float:
        """Basal cavity radius in mm before perturbation; at ES it follows from the ejection fraction."""
        if phase == "ED":
            return self.radius
        return self.radius * float(np.sqrt((1 - self.ejection) * self.length / (self.length - self.descent)))

    def epi_radius(self, phase: str) -> float:
        """Basal epicardial radius in mm; muscle is nearly incompressible, so its cross-section grows as it shortens."""
        muscle = (self.radius + self.wall) ** 2 - self.radius**2
        if phase == "ED":
            return self.radius + self.wall
        return float(np.sqrt(self.endo_radius(phase) ** 2 + muscle * self.length / (self.length - self.descent)))

    def lv_volume_ml(self, phase: str) -> float:
        """Closed-form cavity volume of the unperturbed shape; perturbed contours enclose a few per cent more or less."""
        height = ENDO_END * (self.length - self.base(phase))
        return float(np.pi * self.endo_radius(phase) ** 2 * height * TAPER / (TAPER + 1) / 1000)

    def regional(self, phase: str, theta: Array) -> Array:
        """Relative change of the cavity's radius with theta, of constant area: septal bulge, or a sector that hardly moves."""
        turn = np.cos(theta - self.region) - 1
        bump = np.exp(turn / (1 - np.cos(self.region_width)))
        size = -self.region_size * self.wall / self.endo_radius(phase)
        if self.region_size < 0 and phase == "ES":
            size += 0.4 * (self.radius / self.endo_radius(phase) - 1)
        grid = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        mean = np.mean((1 + size * np.exp((np.cos(grid) - 1) / (1 - np.cos(self.region_width)))) ** 2)
        return ((1 + size * bump) / np.sqrt(mean)).astype(np.float32)


@dataclass(frozen=True)
class Planes:
    """Signed distances in mm (negative inside) of heart structures in K planes, each (K, rows, columns).

    ``rv`` is the RV before the LV's epicardium is cut out of it. ``u`` and ``v`` are the in-plane heart axes.
    """

    endo: Array
    epi: Array
    rv: Array
    papillary: Array
    u: Array
    v: Array
    z: Array

    def labels(self) -> NDArray[np.uint8]:
        """Ground truth in the scheme of :mod:`cmr.labels`, decided at the pixel centre; papillary muscles belong to the LV."""
        label = np.zeros(self.endo.shape, np.uint8)
        label[self.rv < 0] = RV
        label[self.epi < 0] = MYO
        label[self.endo < 0] = LV
        return label


def profile(s: Array) -> Array:
    """Radius relative to the base at the fraction s of the long axis; 0 outside [0, 1)."""
    inside = (s >= 0) & (s < 1)
    return np.where(inside, np.sqrt(np.clip(1 - np.clip(s, 0, 1) ** TAPER, 0, 1)), 0).astype(np.float32)


def slice_heart(heart: Heart, phase: str, x: Array, y: Array, z: Array) -> Planes:
    """Cut the heart by planes.

    Args:
        x, y: (K, rows, columns) mm from the LV axis, to the right and down in the picture.
        z: (K,) mm below the ED mitral plane.
    """
    depth = z.astype(np.float32)[:, None, None]
    turn = heart.rotation + heart.twist * (depth - heart.length / 2)
    u = (-x * np.cos(turn) - y * np.sin(turn)).astype(np.float32)
    v = (x * np.sin(turn) - y * np.cos(turn)).astype(np.float32)
    theta, radius = np.arctan2(v, u), np.hypot(u, v)
    s = (depth - heart.base(phase)) / (heart.length - heart.base(phase))

    shape = heart.epi.factor(theta, depth)
    epi_axis = heart.epi_radius(phase) * profile(s)
    epi = epi_axis * shape
    endo = heart.endo_radius(phase) * profile(s / ENDO_END) * shape * heart.endo.factor(theta, depth)
    endo = np.minimum(endo * heart.regional(phase, theta), epi - THINNEST_WALL_MM)
    papillary = _papillaries(heart, phase, u, v, s, endo)
    rv = _right_ventricle(heart, phase, u, v, depth, epi_axis)
    return Planes(_distance(radius, endo), _distance(radius, epi), rv, papillary, u, v, depth)


def _distance(radius: Array, boundary: Array) -> Array:
    # A boundary closer than 2 mm to the axis is no structure that an observer would draw.
    return np.where(boundary > 2, radius - boundary, FAR).astype(np.float32)


def _right_ventricle(heart: Heart, phase: str, u: Array, v: Array, depth: Array, epi_axis: Array) -> Array:
    """A perturbed ellipse that reaches ``width`` beyond the LV and ends inside it; the LV is painted over it later."""
    start = heart.rv_base + 0.8 * heart.base(phase)
    reach = profile((depth - start) / (heart.rv_end * heart.length - start))
    width = heart.rv_width * (1.0 if phase == "ED" else 1 - heart.rv_ejection)
    # Above the mitral plane (the RV may begin higher) the septum is where it is at the plane itself.
    septum = np.where(epi_axis > 0, epi_axis, heart.epi_radius(phase))
    half = np.maximum((septum + width * reach) / 2, 1)
    height = septum * (0.8 + 0.35 * reach) * (heart.rv_width / 25.0) ** 0.25
    theta, radius = np.arctan2(v, u - half), np.hypot(u - half, v)
    ellipse = half * height / np.hypot(height * np.cos(theta), half * np.sin(theta))
    boundary = ellipse * heart.rv.factor(theta, depth)
    return np.where(reach > RV_VANISHES, radius - boundary, FAR).astype(np.float32)


def _papillaries(heart: Heart, phase: str, u: Array, v: Array, s: Array, endo: Array) -> Array:
    distance = np.full(u.shape, FAR, np.float32)
    size = heart.papillary_size * (1.0 if phase == "ED" else 1.35)  # they crowd the small cavity
    for theta, top in zip(heart.papillary, (0.22, 0.3), strict=True):
        belly = np.clip(1 - ((s - top - 0.28) / 0.3) ** 2, 0, 1)
        cavity = np.clip(endo, 0, None)
        at = 0.72 * cavity
        spot = np.hypot(u - at * np.cos(theta), v - at * np.sin(theta)) - size * cavity * np.sqrt(belly)
        distance = np.minimum(distance, np.where((belly > 0.05) & (cavity > 4), spot, FAR))
    return distance.astype(np.float32)


def random_heart(rng: np.random.Generator, pathology: str, mean_rotation: float) -> Heart:
    """Draw one patient's heart of a pathology (a key of :data:`PATHOLOGIES`); ``mean_rotation`` in rad is the view's habit."""
    group = PATHOLOGIES[pathology]
    varied: Callable[[float], float] = lambda mean: float(mean * np.exp(group.spread * np.clip(rng.normal(), -2, 2)))  # noqa: E731
    size = float(np.exp(0.05 * np.clip(rng.normal(), -2, 2)))  # small and large people
    region, width, change = _region(rng, pathology)
    return Heart(
        pathology=pathology,
        radius=varied(group.radius_mm) * size,
        wall=varied(group.wall_mm),
        ejection=float(np.clip(group.ejection + 0.04 * rng.normal(), 0.08, 0.78)),
        length=varied(group.length_mm) * size,
        descent=float(np.clip(14 * group.ejection / 0.6 + rng.normal(0, 1.5), 2, 18)),
        rv_width=varied(group.rv_width_mm) * size,
        rv_ejection=float(np.clip(group.rv_ejection + 0.04 * rng.normal(), 0.1, 0.6)),
        rv_base=float(rng.uniform(-7, 7)),
        rv_end=float(rng.uniform(0.76, 0.97)),
        rotation=float(np.clip(mean_rotation + rng.normal(0, 0.26), -0.8, 0.9)),
        twist=float(rng.normal(0.001, 0.002)),
        region=region,
        region_width=width,
        region_size=change,
        papillary=(float(rng.normal(2.25, 0.15)), float(rng.normal(-2.15, 0.15))),
        papillary_size=float(rng.uniform(0.15, 0.24)),
        epi=Outline.random(rng, (2, 3), 0.06),
        endo=Outline.random(rng, (3, 4, 5, 6), 0.05),
        rv=Outline.random(rng, (2, 3, 4), 0.10),
    )


def _region(rng: np.random.Generator, pathology: str) -> tuple[float, float, float]:
    """Sector of the wall that is ill: centre theta, width (rad) and relative change of thickness."""
    centre, width = float(rng.choice([1.0, -1.6, 3.1])) + float(rng.normal(0, 0.2)), float(rng.uniform(0.7, 1.0))
    if pathology == "HCM":
        return float(rng.normal(0.35, 0.3)), 0.9, float(rng.uniform(0.3, 0.75))
    if pathology == "MINF":
        return centre, width, -float(rng.uniform(0.25, 0.4))
    return centre, width, 0.0
