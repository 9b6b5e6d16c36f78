"""A case's image and label as arrays in one orientation, and labels back into the image's own grid.

Everything between loading and saving is in LPS: the first index rises towards the patient's left, the second towards
the back (posterior), the third towards the head (superior). Then `array[:, :, k].T` is radiological display: rows from
anterior to posterior, columns from the patient's right to left. Oblique volumes keep their grid and take the nearest
orientation; nothing is resampled.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from benchmark.data.intensity import normalise
from benchmark.data.msd import CaseFiles, Task
from benchmark.errors import InputError
from benchmark.files import atomic_path

LPS = axcodes2ornt(("L", "P", "S"))

#: How far a label's corner voxel may lie from its image's, in the image's smallest voxel size. Header rounding is far
#: below it; half a voxel, the usual disagreement about what an origin is, is far above it.
MAX_DISPLACEMENT = 0.1
#: How far from a whole number a stored label may be: the rounding of a scaled file, not a probability.
MAX_FRACTION = 1e-3

_TO_MILLIMETRES = {1: 1e3, 3: 1e-3}  # by NIfTI unit code: metres, microns; others are read as mm
_QFORM = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SFORM = ("sform_code", "srow_x", "srow_y", "srow_z")


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid an image file is stored in.

    Attributes:
        image_class: nibabel's class of the file, NIfTI-1 or NIfTI-2.
        header: the file's own header.
        affine: stored voxel index → patient coordinates, float64 [4, 4].
        shape: stored shape without channels.
        orientation: nibabel's orientation [3, 2] of the stored axes.
    """

    image_class: Any
    header: Any
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    orientation: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along X, Y and Z of the LPS arrays."""
        sizes = voxel_sizes(self.affine) * _TO_MILLIMETRES.get(_unit(self.header), 1.0)
        x, y, z = (float(sizes[axis]) for axis in np.argsort(self.orientation[:, 0]))
        return x, y, z


@dataclass(frozen=True, eq=False)
class Volume:
    """One case, in LPS.

    Attributes:
        case: its id.
        image: float32 [X, Y, Z], one channel, 0–255.
        label: uint8 [X, Y, Z], the values of the task's labels, 0 elsewhere.
        spacing: mm along X, Y and Z.
        geometry: the image file's grid, for `save_labels`.
        path: the image file; None for a volume that was made in memory.
        stored: the file's own voxels, float32 [C, *stored shape]; None until `with_stored` reads them.
    """

    case: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    geometry: Geometry
    path: Path | None = None
    stored: NDArray[np.float32] | None = None


def load_volume(task: Task, files: CaseFiles) -> Volume:
    """Reads a case, brings image and label into LPS and normalises the image.

    Raises:
        InputError: a file cannot be read, is no 3-D volume with the task's channels or holds NaN; the label's grid
            differs from the image's; or the label holds values that dataset.json does not declare.
    """
    name = _name(task, files.image)
    with _readable(name):
        stored = _open(files.image, name)
    channels = stored.shape[3] if stored.ndim == 4 else 1
    if channels != task.channels:
        raise InputError(
            f"{name}: shape {stored.shape} has {channels} channel(s), dataset.json declares {task.channels}; correct "
            "`modality` or export the image again."
        )
    geometry = _geometry(stored, name)
    label = load_labels(task, files.label, geometry)
    # Float64 beyond float32 becomes infinite and is reported below.
    with _readable(name), np.errstate(over="ignore"):
        one_channel = (..., task.channel) if stored.ndim == 4 else ...
        voxels = _voxels(stored, files.image, one_channel).astype(np.float32, copy=False)
    bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
    if bad:
        raise InputError(
            f"{name}: {bad} of {voxels.size} voxels are NaN or infinite; replace them, e.g. by air, and save it again."
        )
    image = normalise(apply_orientation(voxels, ornt_transform(geometry.orientation, LPS)), task.intensity)
    return Volume(files.case, image, label, geometry.spacing, geometry, files.image)


def read_channels(volume: Volume) -> NDArray[np.float32]:
    """Every channel of a volume's file in the scanner's units and the stored orientation, float32 [C, *stored shape].

    Raises:
        InputError: the file cannot be read.
    """
    if volume.path is None:
        raise ValueError(f"{volume.case} was not read from a file")
    with _readable(str(volume.path)):
        voxels = _voxels(_open(volume.path, str(volume.path)), volume.path, ...).astype(np.float32, copy=False)
    return np.moveaxis(voxels, -1, 0) if voxels.ndim == 4 else voxels[None]


def load_labels(task: Task, path: Path, geometry: Geometry) -> NDArray[np.uint8]:
    """Reads a label file onto the grid of its image, wherever its own axes point.

    Args:
        task: whose labels they are; declared values that are not among its labels become 0.
        path: the reference label or a pseudo label.
        geometry: the image's grid.

    Returns:
        Label values [X, Y, Z] in LPS.

    Raises:
        InputError: the file cannot be read, its grid differs from the image's, or a value is fractional or undeclared.
    """
    name = _name(task, path)
    with _readable(name):
        stored = _open(path, name)
    if stored.shape[3:] not in ((), (1,)):
        raise InputError(f"{name}: a label must be one 3-D volume, not of shape {stored.shape}; export it as one.")
    to_image = _label_to_image(stored, geometry, name)
    with _readable(name):
        values = _voxels(stored, path, (..., 0) if stored.ndim == 4 else ...)
    table = np.zeros(256, np.uint8)
    for value in task.labels:
        table[value] = value
    on_grid = apply_orientation(table[_checked_values(values, task, name)], to_image)
    # Fortran order: an axial slice is one block of memory, as in the image.
    return np.asfortranarray(apply_orientation(on_grid, ornt_transform(geometry.orientation, LPS)))


def save_labels(labels: NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    """Writes labels into the grid of the image they belong to: its shape, orientation, affines and units.

    The file appears whole or not at all, and the same labels give the same bytes.

    Args:
        labels: uint8 [X, Y, Z] in LPS.
        geometry: the image's grid, from its `Volume`.
        path: ends in .nii or .nii.gz.

    Raises:
        ValueError: the labels are not uint8, do not have the image's shape, or `path` has another ending.
    """
    stored = apply_orientation(labels, ornt_transform(LPS, geometry.orientation))
    if labels.dtype != np.uint8 or stored.shape != geometry.shape:
        raise ValueError(f"labels must be uint8, stored as {geometry.shape}, not {labels.dtype} {stored.shape}")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path.name}: labels are saved as .nii or .nii.gz")
    # A new header with the geometry alone: the image's display range, scaling and extensions are not the labels'.
    header = geometry.image_class.header_class()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(geometry.shape)
    header["pixdim"][:4] = geometry.header["pixdim"][:4]
    for field in _QFORM + _SFORM:
        header[field] = geometry.header[field]
    header["xyzt_units"] = _unit(geometry.header)
    header.set_intent("label")
    image = geometry.image_class(stored, None, header)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".gz":
            # Neither a time nor a name in the gzip header, or no two runs would write the same file.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)


def _unit(header: Any) -> int:
    """The code of the spatial unit. nibabel's own getter fails on codes that NIfTI does not define."""
    return int(header["xyzt_units"]) & 7


def _name(task: Task, path: Path) -> str:
    """The file as the user knows it: task/labelsTr/case.nii.gz, or the whole path if it lies elsewhere."""
    return f"{task.name}/{path.relative_to(task.folder)}" if path.is_relative_to(task.folder) else str(path)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns what nibabel, gzip and the system say of a bad file into one sentence."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(f"{name}: {error.strerror or 'there is no such file'}.") from error
    except MemoryError as error:
        raise InputError(f"{name}: does not fit into this machine's memory; crop it or use a larger one.") from error
    except (OSError, EOFError, zlib.error, ValueError, OverflowError, ImageFileError, HeaderDataError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: not a whole NIfTI file ({reason}); download it or export it again.") from error


def _open(path: Path, name: str) -> Any:
    """Reads a file's header and checks that it is a volume of plain numbers."""
    # Without mmap, or an uncompressed file would stay open as long as its array lives.
    stored = nib.load(path, mmap=False)
    if stored.ndim not in (3, 4) or 0 in stored.shape:
        raise InputError(f"{name}: shape {stored.shape} is no volume; needed is (X, Y, Z) or (X, Y, Z, channels).")
    if stored.get_data_dtype().kind not in "iuf":
        raise InputError(f"{name}: voxels are {stored.get_data_dtype()}, not plain numbers; export it in greyscale.")
    return stored


def _voxels(stored: Any, path: Path, index: Any) -> NDArray[Any]:
    """Reads the voxels at `index`, scaled as the header says."""
    if path.suffix != ".gz":
        return np.asarray(stored.dataobj[index])
    with gzip.open(path) as stream:
        voxels = np.asarray(type(stored).from_stream(stream).dataobj[index])
        # nibabel stops at the last voxel it needs, but gzip's checksum comes after it: without it a damaged file
        # would pass as a scan.
        while stream.read(1 << 20):
            pass
    return voxels


def _geometry(stored: Any, name: str) -> Geometry:
    affine = np.asarray(stored.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise InputError(f"{name}: its affine does not span three directions: {_rows(affine)}; export it again.")
    return Geometry(type(stored), stored.header.copy(), affine, stored.shape[:3], io_orientation(affine))


def _label_to_image(stored: Any, geometry: Geometry, name: str) -> NDArray[np.float64]:
    """The orientation transform from a label's stored axes to its image's, once their grids are found to be the same.

    Found from one grid to the other, not by way of LPS: near 45° equal grids could round to different orientations.
    """
    own = _geometry(stored, name)
    transform: NDArray[np.float64] = io_orientation(np.linalg.inv(geometry.affine) @ own.affine)
    shape = tuple(own.shape[axis] for axis in np.argsort(transform[:, 0]))
    mend = "export the pair again or remove the case from dataset.json."
    if shape != geometry.shape:
        raise InputError(f"{name}: shape {shape} differs from its image's {geometry.shape}; {mend}")
    affine = own.affine @ inv_ornt_aff(transform, own.shape)
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))]).T
    displacement = float(np.linalg.norm((affine - geometry.affine) @ corners, axis=0).max())
    if displacement > MAX_DISPLACEMENT * float(voxel_sizes(geometry.affine).min()):
        both = f"its affine {_rows(affine)}, the image's {_rows(geometry.affine)}"
        raise InputError(f"{name}: lies up to {displacement:.3g} mm beside its image ({both}); {mend}")
    return transform


def _checked_values(values: NDArray[Any], task: Task, name: str) -> NDArray[np.uint8]:
    """The stored values as uint8, once each is found to be whole and declared."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(values - np.rint(values)) <= MAX_FRACTION)  # written so that NaN and infinity are bad too
        if bad.any():
            raise InputError(
                f"{name}: {np.count_nonzero(bad)} voxels are not whole numbers, e.g. {values[bad][0]:g}; labels are "
                "neither interpolated nor probabilities."
            )
        values = np.rint(values)
    if values.min() < 0 or values.max() > 255:
        found = {int(value) for value in np.unique(values)}
    else:
        values = values.astype(np.uint8)
        present = np.zeros(256, np.bool_)
        for plane in np.moveaxis(values, -1, 0):  # by planes: an index array takes eight bytes a voxel
            present[plane] = True
        found = {int(value) for value in np.flatnonzero(present)}
    if unknown := sorted(found - task.known_values):
        listed = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
        raise InputError(
            f"{name}: holds the undeclared value(s) {listed}; declare them in `labels` of {task.name}/dataset.json or "
            "mend the file."
        )
    return values


def _rows(affine: NDArray[np.float64]) -> str:
    return "[" + ", ".join("[" + " ".join(f"{x:.6g}" for x in row) + "]" for row in affine[:3]) + "]"
