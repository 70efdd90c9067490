"""Paints the balanced-SSFP picture: thorax and abdomen first, then the heart, back to front with soft edges.

Signals are relative to LV blood = 1. Edges are blended over one pixel (the partial volume of a straight edge) and each slice
averages five planes through its thickness, so walls that slope through the slice blur as they do in a real scan.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmr.phantom.acquisition import Acquisition, banding, smooth_field
from cmr.phantom.anatomy import FAR, Heart, Planes, slice_heart

Array = NDArray[np.float32]

SUBPLANES_MM = (-3.0, -1.5, 0.0, 1.5, 3.0)  # through a slice of 8 mm
RV_WALL_MM = 2.5
LUNG, MUSCLE, LIVER = 0.04, 0.24, 0.30


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a stack in mm. x, y: (slices, rows, columns) from the LV axis of each slice; z: (slices,)."""

    x: Array
    y: Array
    z: Array
    pixel: float


def cover(distance: Array, pixel: float) -> Array:
    """Share of a pixel inside a structure, for a straight edge at the signed distance (mm)."""
    return np.clip(0.5 - distance / pixel, 0, 1).astype(np.float32)


def paint(picture: Array, distance: Array, signal: NDArray[np.floating] | float, pixel: float) -> None:
    """Blend a structure over the picture in place."""
    picture += cover(distance, pixel) * (signal - picture)


def ink(picture: Array, distance: Array, pixel: float, depth: float = 0.7) -> None:
    """Dark line where water meets fat: the two cancel at the echo time of bSSFP (India-ink artefact)."""
    picture *= 1 - depth * np.exp(-((distance / (0.6 * pixel)) ** 2))


def ellipse(
    x: Array,
    y: Array,
    centre: tuple[float, float | NDArray[np.floating]],
    axes: tuple[float, float],
    tilt: float = 0.0,
    power: float = 2.0,
) -> Array:
    """Signed distance in mm, along the ray from the centre, to a tilted (super-)ellipse."""
    dx, dy = x - centre[0], y - centre[1]
    along, across = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
    level = (np.abs(along / axes[0]) ** power + np.abs(across / axes[1]) ** power) ** (1 / power)
    return ((1 - 1 / np.maximum(level, 1e-3)) * np.hypot(dx, dy)).astype(np.float32)


def paint_body(rng: np.random.Generator, heart: Heart, plan: Acquisition, grid: Grid) -> Array:
    """Everything but the heart, the same at ED and ES. Returns (slices, rows, columns)."""
    pixel, shape = grid.pixel, grid.x.shape
    mm = lambda sigma: (0.6, sigma / pixel, sigma / pixel)  # noqa: E731
    x = grid.x + 5 * smooth_field(rng, shape, mm(14))
    y = grid.y + 5 * smooth_field(rng, shape, mm(14))
    texture, fine = smooth_field(rng, shape, mm(5)), smooth_field(rng, shape, mm(2))
    level = ((grid.z / heart.length)[:, None, None] - 0.5).astype(np.float32)  # -0.5 base, 0.5 apex
    # A steep short axis shows a wide, nearly transverse section of the thorax; a flat one a tall sagittal section.
    wide = float(np.clip((heart.rotation + 0.1) / 0.7, 0, 1))
    reach = heart.epi_radius("ED")

    skin = _outline(rng, x - 26 * level * (1 - 0.5 * wide), y - 20 * level * wide, wide, reach)
    picture = np.zeros(shape, np.float32)
    paint(picture, skin, plan.scanner.fat * (1 + 0.05 * texture), pixel)
    fat = float(rng.uniform(7, 17)) * (1 + 0.35 * smooth_field(rng, shape, mm(25)))
    wall = skin + np.maximum(fat, 3)
    around = np.arctan2(y, x) * 11 + 1.5 * texture
    ribs = np.clip(np.sin(around) - 0.45, 0, 1) * np.exp(-(((wall + 6) / 2.5) ** 2))
    paint(picture, wall, MUSCLE + 0.05 * texture + 0.9 * ribs, pixel)
    ink(picture, wall, pixel, 0.6)
    cavity = wall + float(rng.uniform(8, 13))
    vessels = np.clip(fine - 1.75, 0, 1.2) * np.exp(-np.hypot(x, y) / 70)
    paint(picture, cavity, LUNG + 0.9 * vessels, pixel)

    lowest = reach * float(rng.uniform(0.8, 1.0)) + float(rng.uniform(1, 5))
    floor = lowest - float(rng.uniform(20, 36)) * np.maximum(level, -0.2)
    diaphragm = floor + 0.0022 * (x - float(rng.uniform(-20, 20))) ** 2 - y
    # Fat fills the corner between the heart, the front wall and the diaphragm.
    pad = ellipse(x, y, (-0.8 * reach, floor - 2), (reach * float(rng.uniform(0.8, 1.2)), float(rng.uniform(10, 18))), 0.5)
    paint(picture, np.maximum(pad, cavity), plan.scanner.fat * (0.75 + 0.1 * texture), pixel)
    _paint_abdomen(rng, picture, x, y, np.maximum(diaphragm, cavity), floor, texture, fine, plan, pixel)
    _paint_spine(rng, picture, x, y, wide, reach, texture, pixel)
    return np.clip(picture * banding(rng, x, y), 0, None)


def _outline(rng: np.random.Generator, x: Array, y: Array, wide: float, reach: float) -> Array:
    half = (96 + 66 * wide + float(rng.normal(0, 6)), 150 - 38 * wide + float(rng.normal(0, 6)))
    # The heart lies against the front wall of the chest: left in a sagittal section, top in a transverse one.
    left, top = reach + 50 + 30 * wide, 104 - 30 * wide
    return ellipse(x, y, (half[0] - left, half[1] - top), half, float(rng.normal(0, 0.1)), 2.4)


def _paint_abdomen(
    rng: np.random.Generator,
    picture: Array,
    x: Array,
    y: Array,
    region: Array,
    floor: NDArray[np.floating],
    texture: Array,
    fine: Array,
    plan: Acquisition,
    pixel: float,
) -> None:
    """Liver to the left, stomach and spleen to the right, and bowel, in fat below the diaphragm."""
    paint(picture, region, 0.55 * plan.scanner.fat + 0.12 * texture, pixel)
    below = y - floor
    liver = ellipse(x, below, (-38 + float(rng.normal(0, 8)), 40), (62, 46), 0.3)
    stomach = ellipse(x, below, (48 + float(rng.normal(0, 8)), 26), (34, 25), -0.4)
    organs = [(liver, LIVER + 0.3 * np.clip(fine - 1.9, 0, 1.5)), (stomach, 0.27 + 0.09 * fine)]
    for _ in range(4):
        place = (float(rng.uniform(-60, 90)), float(rng.uniform(45, 110)))
        axes = (float(rng.uniform(10, 24)), float(rng.uniform(9, 18)))
        bowel = ellipse(x, below, place, axes, float(rng.uniform(0, 3)))
        organs.append((bowel, float(rng.uniform(0.18, 0.6)) + 0.05 * texture))
    for distance, signal in reversed(organs):  # bowel first: the liver lies in front
        inside = np.maximum(distance, region + 1.5)
        paint(picture, inside, signal, pixel)
        ink(picture, inside, pixel)


def _paint_spine(
    rng: np.random.Generator, picture: Array, x: Array, y: Array, wide: float, reach: float, texture: Array, pixel: float
) -> None:
    """Descending aorta behind the heart and, in wide sections, a vertebra with its bright canal."""
    centre = (float(rng.normal(18, 8)) + 14 * (1 - wide), reach + 27 + float(rng.normal(0, 4)))
    if wide > 0.25:
        vertebra = (centre[0] - 20, centre[1] + 20)
        paint(picture, ellipse(x, y, vertebra, (17, 14)), 0.3 + 0.06 * texture, pixel)
        paint(picture, ellipse(x, y, (vertebra[0] - 2, vertebra[1] + 23), (8, 6)), 0.95, pixel)
    aorta = ellipse(x, y, centre, (float(rng.uniform(9, 12)),) * 2)
    paint(picture, aorta - 1.5, 0.2, pixel)
    paint(picture, aorta, 0.95, pixel)


def paint_heart(
    rng: np.random.Generator, body: Array, heart: Heart, phase: str, plan: Acquisition, grid: Grid
) -> tuple[Array, NDArray[np.uint8]]:
    """Set the beating heart into the body. Returns the noise-free signal and the ground truth, (slices, rows, columns) each."""
    count = len(SUBPLANES_MM)
    z = (grid.z[:, None] + np.asarray(SUBPLANES_MM, np.float32)).ravel()
    planes = slice_heart(heart, phase, np.repeat(grid.x, count, 0), np.repeat(grid.y, count, 0), z)
    blotch = np.repeat(smooth_field(rng, body.shape, (0.5, 4 / grid.pixel, 4 / grid.pixel)), count, 0)
    lumps = np.repeat(smooth_field(rng, body.shape, (1.0, 11 / grid.pixel, 11 / grid.pixel)), count, 0)
    weave = np.repeat(smooth_field(rng, body.shape, (0.5, 1.5 / grid.pixel, 1.5 / grid.pixel)), count, 0)
    picture = np.repeat(body, count, 0)
    _paint_planes(picture, planes, heart, phase, plan, blotch, weave, lumps, grid.pixel)
    signal = picture.reshape(-1, count, *body.shape[1:]).mean(1)
    middle = Planes(*(field[count // 2 :: count] for field in vars(planes).values()))
    return signal, middle.labels()


def _paint_planes(
    picture: Array,
    at: Planes,
    heart: Heart,
    phase: str,
    plan: Acquisition,
    blotch: Array,
    weave: Array,
    lumps: Array,
    pixel: float,
) -> None:
    muscle = plan.myocardium * (1 + 0.12 * blotch + 0.08 * weave)
    outside = np.minimum(at.epi, at.rv - RV_WALL_MM)
    above = at.z < heart.base(phase)
    vessels = _great_vessels(at, heart.epi_radius("ED") / 32, above)
    below = np.where(at.z >= heart.length, np.hypot(at.u, 1.3 * at.v) - 11 - 4 * lumps, FAR)
    outside = np.minimum.reduce([outside, *(vessel - 2 for vessel in vessels)])
    # Fat lies in the grooves between RV and LV and around the apex, hardly on the lateral wall.
    groove = np.clip(1.5 + 3.0 * np.tanh(at.u / 20) + 2.5 * lumps + 3 * (at.z / heart.length - 0.4), 0.4, 12)
    around = np.minimum(outside - groove, below)
    paint(picture, around, plan.scanner.fat * (0.75 + 0.15 * blotch + 0.05 * weave), pixel)
    ink(picture, around, pixel, 0.4)
    for vessel in vessels:
        paint(picture, vessel - 2, 1.1 * muscle, pixel)
        paint(picture, vessel, 0.88 + 0.05 * blotch, pixel)
    paint(picture, at.rv - RV_WALL_MM, muscle, pixel)
    ink(picture, outside, pixel, 0.55)
    trabeculae = np.clip(weave - 0.9, 0, 1) * np.exp(-(((at.rv + 5) / 6) ** 2))
    paint(picture, at.rv, 0.86 * (1 + 0.09 * blotch + 0.08 * lumps) - 0.5 * trabeculae, pixel)
    paint(picture, at.epi, muscle, pixel)
    # Trabeculae roughen the cavity's edge, more so towards the apex; like papillary muscles they are labelled as cavity.
    depth = 2.5 + 2.5 * np.clip(at.z / heart.length, 0, 1)
    rim = np.clip(weave - 0.2, 0, 1) * np.exp(-(((at.endo + 1) / depth) ** 2))
    paint(picture, at.endo, 1 + 0.07 * blotch + 0.08 * lumps - 0.6 * rim, pixel)
    paint(picture, np.maximum(at.papillary + 1.0 * weave + 0.8 * blotch, at.endo), 1.15 * muscle, pixel)
    np.clip(picture, 0, None, out=picture)


def _great_vessels(at: Planes, scale: float, above: NDArray[np.bool_]) -> list[Array]:
    """Right atrium, left atrium, outflow tract and aortic root: circles over the planes above the valves."""
    circles = [(40, -16, 21), (-7, -8, 23), (27, 20, 15), (10, 11, 14)]
    return [
        np.where(above, np.hypot(at.u - scale * u, at.v - scale * v) - scale * r, FAR).astype(np.float32) for u, v, r in circles
    ]
