"""How the ten official tasks of the Medical Segmentation Decathlon (arXiv 1902.09063) are read by default.

Only what a task's own dataset.json cannot say stands here; docs/tasks.md has the table with their labels and sources.

- **CT windows** are those MedSAM was trained with (Ma et al., Nature Communications 15, 2024, "Segment anything in
  medical images"; its code points to https://radiopaedia.org/articles/windowing-ct): soft tissue level 40 width 400,
  lung level −160 width 1500. Liver, vessels, pancreas and colon get no narrower ones, though radiologists use them:
  MedSAM and LiteMedSAM learnt the abdomen through this one.
- **MRI** is scaled between the percentiles 0.5 and 99.5 of its nonzero voxels, as there.
- **Labels**: all but the background, each as its annotators drew it, because the Decathlon scores them one by one
  (Antonelli et al., Nature Communications 13, 2022). A liver or pancreas therefore leaves its tumour out.
- **NSD tolerances** are the Decathlon's, set with clinicians task by task, one for all labels of a task (Antonelli et
  al., Methods).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmark.data.intensity import CTWindow, Intensity, Percentiles

SOFT_TISSUE = CTWindow(level=40, width=400)
LUNG = CTWindow(level=-160, width=1500)

NSD_TOLERANCE_MM = 3.0
"""For tasks that the Decathlon does not know: what TotalSegmentator takes for all of its 104 structures (Wasserthal et
al., Radiology: Artificial Intelligence 5, 2023), and lies amid the Decathlon's 1 to 7 mm."""


@dataclass(frozen=True)
class TaskDefaults:
    """How a task is read when the specification says nothing of it."""

    modality: str
    intensity: Intensity
    #: Names of the labels to segment; None means all but the background.
    targets: tuple[str, ...] | None = None
    #: Which of the image's channels is shown.
    channel: int = 0
    #: How far apart two surfaces may lie and still count as the same, for NSD.
    nsd_tolerance_mm: float = NSD_TOLERANCE_MM


CT = TaskDefaults("CT", SOFT_TISSUE)
MRI = TaskDefaults("MRI", Percentiles())

OFFICIAL_TASKS: Mapping[str, TaskDefaults] = {
    # Channels FLAIR, T1w, t1gd, T2w. FLAIR shows the whole tumour with its oedema, which is mostly the largest label;
    # the enhancing part alone is seen on t1gd, channel 2 (Menze et al., IEEE Transactions on Medical Imaging 34, 2015).
    "Task01_BrainTumour": replace(MRI, nsd_tolerance_mm=5),
    "Task02_Heart": replace(MRI, nsd_tolerance_mm=4),
    "Task03_Liver": replace(CT, nsd_tolerance_mm=7),
    "Task04_Hippocampus": replace(MRI, nsd_tolerance_mm=1),
    # Channels T2, ADC. The zones' borders are seen on T2 (PI-RADS 2.1: Turkbey et al., European Urology 76, 2019).
    "Task05_Prostate": replace(MRI, nsd_tolerance_mm=4),
    "Task06_Lung": TaskDefaults("CT", LUNG, nsd_tolerance_mm=2),
    "Task07_Pancreas": replace(CT, nsd_tolerance_mm=5),
    "Task08_HepaticVessel": replace(CT, nsd_tolerance_mm=3),
    "Task09_Spleen": replace(CT, nsd_tolerance_mm=3),
    "Task10_Colon": replace(CT, nsd_tolerance_mm=4),
}

# "CT", "CECT", "CBCT", "CT venous", but neither "factor" nor "spect".
_CT = re.compile(r"(?<![a-z])(ce|cb)?ct(?![a-z])|computed tomography", re.IGNORECASE)


_MRI = re.compile(r"(?<![a-z])mri?(?![a-z])|magnetic resonance", re.IGNORECASE)


def is_ct(modality: str) -> bool:
    """Whether a modality of dataset.json means computed tomography, whose units are Hounsfield's."""
    return _CT.search(modality) is not None


def is_mri(modality: str) -> bool:
    """Whether a modality of dataset.json surely means magnetic resonance, whose units are the scanner's own."""
    return _MRI.search(modality) is not None


def defaults_for(task_name: str, modality: str) -> TaskDefaults:
    """The defaults of an official task; those of the modality alone for any other.

    A folder that bears an official name but holds another modality is no official task: a CT window on an MRI would
    show black or white.

    Args:
        task_name: the task folder's name.
        modality: the chosen channel's modality, as dataset.json has it.
    """
    by_modality = CT if is_ct(modality) else TaskDefaults(modality, Percentiles())
    official = OFFICIAL_TASKS.get(task_name, by_modality)
    return official if is_ct(official.modality) == is_ct(modality) else by_modality
