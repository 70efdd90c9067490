"""Distances between the surfaces of two segmentations, in 2D or 3D."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def surface_distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each surface voxel of ``first`` to the surface of ``second``, and the other way round.

    The surface of a mask is those of its voxels that have a face neighbour outside it; beyond the array is outside.

    Args:
        first, second: boolean arrays of one shape, neither of them empty.
        spacing: voxel size along each axis; the distances are in its unit.
    """
    # Cut to both masks and one voxel around: the distance transforms cost what they must see.
    occupied = ndimage.find_objects((first | second).astype(np.uint8))[0]
    edges = []
    for mask in (first, second):
        cut = np.pad(mask[occupied], 1)
        edges.append(cut & ~ndimage.binary_erosion(cut))
    to_second, to_first = (ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in (edges[1], edges[0]))
    return to_second[edges[0]], to_first[edges[1]]


def hd95(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """The larger of the two directed 95th percentiles of the surface distances; NaN if a mask is empty."""
    return boundary_distances(first, second, spacing)[0]


def asd(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Average symmetric surface distance: mean over the surface voxels of both masks; NaN if a mask is empty."""
    return boundary_distances(first, second, spacing)[1]


def boundary_distances(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, ...]) -> tuple[float, float]:
    """:func:`hd95` and :func:`asd` from one pass over the surfaces."""
    if not first.any() or not second.any():
        return float("nan"), float("nan")
    there, back = surface_distances(first, second, spacing)
    return (
        float(max(np.percentile(there, 95), np.percentile(back, 95))),
        float(np.concatenate([there, back]).mean()),
    )
