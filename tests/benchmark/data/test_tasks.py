import pytest

from benchmark.data.intensity import CTWindow, Percentiles
from benchmark.data.tasks import NSD_TOLERANCE_MM, OFFICIAL_TASKS, defaults_for, is_ct


def test_all_ten_official_tasks_are_known() -> None:
    assert sorted(int(name[4:6]) for name in OFFICIAL_TASKS) == list(range(1, 11))


def test_lung_has_a_lung_window_and_other_ct_tasks_a_soft_tissue_one() -> None:
    assert defaults_for("Task06_Lung", "CT").intensity == CTWindow(-160, 1500)
    assert defaults_for("Task03_Liver", "CT").intensity == CTWindow(40, 400)


def test_an_official_mri_task_is_scaled_by_percentiles_whatever_its_channel_is_called() -> None:
    assert defaults_for("Task01_BrainTumour", "FLAIR").intensity == Percentiles(0.5, 99.5)
    assert defaults_for("Task05_Prostate", "ADC").channel == 0


def test_tolerances_are_the_decathlons() -> None:
    """Antonelli et al., Nature Communications 13, 2022, Methods, from Task01 to Task10."""
    assert [OFFICIAL_TASKS[name].nsd_tolerance_mm for name in sorted(OFFICIAL_TASKS)] == [5, 4, 7, 1, 4, 2, 5, 3, 3, 4]
    assert defaults_for("Task101_AbdomenCT", "CT").nsd_tolerance_mm == NSD_TOLERANCE_MM


def test_an_unofficial_task_goes_by_its_modality_alone() -> None:
    assert defaults_for("Task101_AbdomenCT", "CT").intensity == CTWindow(40, 400)
    assert defaults_for("Task102_BrainMRI", "MRI").intensity == Percentiles()
    assert defaults_for("Task900_Kidney", "ultrasound").intensity == Percentiles()


def test_a_ct_window_is_never_put_on_an_mri_because_the_folder_has_an_official_name() -> None:
    assert defaults_for("Task09_Spleen", "MRI").intensity == Percentiles()
    assert defaults_for("Task02_Heart", "CT").intensity == CTWindow(40, 400)


@pytest.mark.parametrize("modality", ["CT", "ct", "CT venous", "CECT", "CBCT", "CT_portal", "computed tomography"])
def test_ct_is_recognised_in_its_usual_spellings(modality: str) -> None:
    assert is_ct(modality)


@pytest.mark.parametrize("modality", ["MRI", "T2", "ADC", "SPECT", "structure", "PET", ""])
def test_other_modalities_are_not_taken_for_ct(modality: str) -> None:
    assert not is_ct(modality)
