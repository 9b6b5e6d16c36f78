"""Trains a small nnU-Net v2 with its own code: `python -m tests.benchmark.train_nnunet TASK_DIR OUT CONFIGURATION…`.

A process of its own, because nnU-Net reads its folders from the environment when it is imported. Prints the folder of
each model. Far too short to be any good: what is wanted is a folder that nnU-Net itself wrote.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np

LIVER = 1
NAME = "Dataset777_Phantom"
EPOCHS, STEPS = 2, 25


def main(task_dir: Path, out: Path, configurations: list[str]) -> None:
    folders = {name: out / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    os.environ.update(nnUNet_compile="f", nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1")
    # Its pools compute the same in threads; each process of theirs would import all of it again for four small cases.
    threads = SimpleNamespace(Pool=ThreadPool)
    vars(multiprocessing).update(Pool=ThreadPool, get_context=lambda method=None: threads)
    write_raw(task_dir, folders["nnUNet_raw"] / NAME)
    preprocess(folders["nnUNet_preprocessed"] / NAME, configurations)
    for configuration in configurations:
        sys.stdout.write(f"model: {train(folders['nnUNet_preprocessed'] / NAME, configuration)}\n")


def write_raw(task_dir: Path, folder: Path) -> None:
    """The MSD task in nnU-Net's layout, one file a channel; of its labels the liver alone, which is soon learned."""
    content = json.loads((task_dir / "dataset.json").read_text())
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for entry in content["training"]:
        case = Path(entry["image"]).name.removesuffix(".nii.gz")
        shutil.copy(task_dir / entry["image"], folder / "imagesTr" / f"{case}_0000.nii.gz")
        label = nib.load(task_dir / entry["label"])
        liver = (np.asarray(label.dataobj) == LIVER).astype(np.uint8)
        nib.save(nib.Nifti1Image(liver, label.affine), folder / "labelsTr" / f"{case}.nii.gz")
    written = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1},
        "numTraining": len(content["training"]),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(written))


def preprocess(folder: Path, configurations: list[str]) -> None:
    """Plans and preprocesses, with a network that two cores can train."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess_dataset,
    )

    extract_fingerprints([777], num_processes=1)
    plan_experiments([777])
    path = folder / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    for configuration in configurations:
        shrink(plans["configurations"][configuration])
    path.write_text(json.dumps(plans))
    preprocess_dataset(777, configurations=configurations, num_processes=[1] * len(configurations))


def shrink(plan: dict[str, Any]) -> None:
    """Three levels of 8 to 32 features, a patch that leaves several windows to a case, and voxels to resample to."""
    three = len(plan["patch_size"]) == 3
    plan["patch_size"] = [8, 48, 48] if three else [48, 40]
    plan["batch_size"] = 2
    plan["spacing"] = [0.9 * size for size in plan["spacing"]]
    arguments = plan["architecture"]["arch_kwargs"]
    kernel, step = ([3, 3, 3], [1, 2, 2]) if three else ([3, 3], [2, 2])
    arguments.update(
        n_stages=3,
        features_per_stage=[8, 16, 32],
        kernel_sizes=[kernel] * 3,
        strides=[[1] * len(kernel), step, step],
        n_conv_per_stage=[1] * 3,
        n_conv_per_stage_decoder=[1] * 2,
    )


def train(folder: Path, configuration: str) -> Path:
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.manual_seed(0)
    np.random.seed(0)  # the generator that nnU-Net draws windows from
    os.environ.update(nnUNet_n_proc_DA="0")  # augment in this process; planning wants one
    plans, dataset = (json.loads((folder / name).read_text()) for name in ("nnUNetPlans.json", "dataset.json"))
    plans["continue_training"] = False
    trainer = nnUNetTrainer(plans, configuration, "all", dataset, device=torch.device("cpu"))
    trainer.logger.plot_progress_png = lambda *_: None  # takes longer than the epoch it shows
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = EPOCHS, STEPS, 1
    trainer.run_training()
    return Path(trainer.output_folder_base)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
