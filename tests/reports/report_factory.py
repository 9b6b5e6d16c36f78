"""A synthetic run that holds everything a report must be able to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.measure.statistics import summarise
from benchmark.measured import Environment, Latency, Throughput
from benchmark.metrics import EMPTY_CLASSES, MISSED
from benchmark.results import (
    CaseDice,
    CaseSurface,
    Cell,
    Comparison,
    Parity,
    Picture,
    Results,
    TaskInfo,
    Training,
    Validation,
)
from benchmark.weak_vs_full import weak_against_full
from exporters.manifest import RANDOM_WEIGHTS
from tests.reports.measured_factory import BUSY, CALIBRATION, PEAK, SECONDS, process

SPLEEN, HOSTILE = "Task09_Spleen", "<script>alert('x')</script> | Task07"
ABDOMEN = "Task20_Abdomen"
ORGANS = ("spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")
LABELS = {
    SPLEEN: {1: "spleen"},
    HOSTILE: {1: "pancreas", 2: "tumour|cancer"},
    ABDOMEN: dict(enumerate(ORGANS, 1)),
}
CASES = {
    SPLEEN: ["spleen_2"],
    HOSTILE: [f"pancreas_{n}" for n in range(1, 7)],
    ABDOMEN: [f"abdomen_{n:02}" for n in (3, 8, 11, 17, 24, 30)],
}
BASE = {"box": 0.93, "point": 0.71, "reference": 0.95}
PHASES = {
    "pseudolabel": {"preprocess": 6.0, "encode": 700.0, "decode": 60.0, "postprocess": 4.0},
    "segment": {"preprocess": 2.0, "infer": 14.0, "postprocess": 1.0},
}
MODEL_PHASES = ("encode", "decode", "infer")


def latency(median: float, n: int, rng: np.random.Generator) -> Latency:
    """Skewed samples around a median, with percentiles where MLPerf's bound allows them."""
    found = summarise((median * (0.94 + rng.gamma(2.0, 0.04, n))).tolist())
    if found is None:
        raise ValueError("a latency needs samples")
    return found


WINDOWS: dict[str, object] = {
    "patch": [128, 128],
    "overlap": 0.25,
    "blending": "gaussian",
    "padding": "zero",
    "accumulate": "float32",
    "mirror_axes": [],
    "windows_per_batch": 8,
}
SEEN_AS = "axial slices in their own grid, the task's intensity window scaled to 0–1"
TOLERANCES = {SPLEEN: 3.0}


def segmentation(phases: dict[str, float], rng: np.random.Generator) -> dict[str, object]:
    """What cells of that stage alone have."""
    return {
        "window_latency_ms": latency(phases["infer"] / 4, 700, rng),
        "first_shape_ms": {"8×512×512": 96.0, "3×512×512": 61.0},
        "sliding_window": WINDOWS,
        "preprocessing": SEEN_AS,
        "throughput": Throughput(value=60e3 / (sum(phases.values()) * 30), unit="volumes/min", units=19, seconds=9.7),
    }


def surfaces(entries: list[CaseDice], task: str) -> dict[str, object]:
    """An HD95 that falls with Dice; the last tumour of the hostile task was missed."""
    found = [
        CaseSurface(case=e.case, label=e.label, nsd=(e.dice or 0) + 0.03, hd95_mm=20 * (1 - (e.dice or 0)))
        for e in entries
    ]
    if task == HOSTILE:
        found[-1] = found[-1].model_copy(update={"nsd": 0.0, "hd95_mm": None, "reason": MISSED})
    return {
        "nsd": float(np.mean([one.nsd for one in found if one.nsd is not None])),
        "nsd_tolerance_mm": TOLERANCES.get(task, 5.0),
        "hd95_mm": float(np.mean([one.hd95_mm for one in found if one.hd95_mm is not None])),
        "hd95_missing": sum(one.reason == MISSED for one in found),
        "surface_per_case": found,
        "empty_classes": EMPTY_CLASSES,
    }


def cell(stage: str, task: str, prompt: str, backend: str, **changes: object) -> Cell:
    """A cell that worked; ONNX Runtime takes half the time in the model's own phases."""
    rng = np.random.default_rng(len(stage + task + prompt + backend))
    factor = 0.43 if backend == "onnxruntime" else 1.0
    phases = {name: ms * (factor if name in MODEL_PHASES else 1) for name, ms in PHASES[stage].items()}
    base = BASE.get(prompt, 0.8)
    entries = [
        CaseDice(
            case=case,
            label=label,
            dice=max(0.0, base - (0.008 if prompt == "reference" else 0.012) * i - 0.2 * (number - 1)),
        )
        for i, case in enumerate(CASES[task])
        for number, label in LABELS[task].items()
    ]
    values: dict[str, object] = {
        "stage": stage,
        "task": task,
        "model": "litemedsam" if stage == "pseudolabel" else "unet-2d",
        "prompt": prompt,
        "backend": backend,
        "device": "cpu",
        "precision": "fp32",
        "status": "ok",
        "dice": float(np.mean([entry.dice for entry in entries])),
        "dice_per_case": entries,
        "latency_ms": latency(sum(phases.values()), 90 if stage == "pseudolabel" else 700, rng),
        "volume_latency_ms": latency(sum(phases.values()) * 30, 3, rng),
        "phases_ms": phases,
        "throughput": Throughput(value=1000 / sum(phases.values()), unit="slices/s", units=24, seconds=9.8),
        "device_latency_ms": latency(sum(ms for name, ms in phases.items() if name in MODEL_PHASES), 90, rng),
        "parity": Parity(mask_dice=0.99987, dice_delta=0.0),
        **process(stage, backend, phases, without=task == HOSTILE),
    }
    values |= surfaces(entries, task)
    if stage == "segment":
        values |= segmentation(phases, rng)
    return Cell.model_validate(values | changes)


def without_dice(cells: list[Cell]) -> list[Cell]:
    """The cells as of random weights: timed, with mask parity, and no accuracy anywhere."""
    return [
        cell.model_copy(
            update={
                "dice": None,
                "dice_per_case": [
                    entry.model_copy(update={"dice": None, "reason": RANDOM_WEIGHTS}) for entry in cell.dice_per_case
                ],
                "parity": Parity(mask_dice=0.99987, dice_delta=None, reason=RANDOM_WEIGHTS),
                "notes": [RANDOM_WEIGHTS],
            }
        )
        for cell in cells
    ]


def comparison(stage: str, task: str, prompt: str, speedup: float | None = 2.31, **changes: object) -> Comparison:
    """ONNX Runtime against PyTorch."""
    values: dict[str, object] = {
        "stage": stage,
        "task": task,
        "model": "litemedsam" if stage == "pseudolabel" else "unet-2d",
        "prompt": prompt,
        "device": "cpu",
        "precision": "fp32",
        "candidate": "onnxruntime",
        "baseline": "pytorch",
        "speedup": speedup,
        "ci95": None if speedup is None else (speedup - 0.06, speedup + 0.07),
        "pairs": 30,
        "margin": 0.02,
        "verdict": "inconclusive" if speedup is None else "faster",
        "gate": "pass",
    }
    return Comparison.model_validate(values | changes)


def _disk(size: int, row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - row) ** 2 + ((columns - column) * 1.2) ** 2 < radius**2


def picture(folder: Path, stage: str, task: str, prompt: str, size: int = 64) -> Picture:
    """A slice that looks faintly like an abdomen, with its reference and two predictions."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:size, :size] / size
    body = ((rows - 0.5) / 0.38) ** 2 + ((columns - 0.5) / 0.46) ** 2 < 1
    waves = 18 * np.sin(columns * 19 + 3 * np.sin(rows * 7)) + 12 * np.sin(rows * 23) + rng.normal(0, 6, (size, size))
    reference = np.zeros((size, size), np.uint8)
    reference[_disk(size, size * 0.52, size * 0.7, size * 0.13)] = 1
    if len(LABELS[task]) > 1:
        reference[_disk(size, size * 0.5, size * 0.72, size * 0.05)] = 2
    grey = np.clip(np.where(body, 95 + waves + 55 * (reference > 0) + 30 * (reference == 2), 4), 0, 255)
    name = f"{stage}-{len(task)}-{prompt}"
    paths = {"image": grey.astype(np.uint8), "reference": reference}
    for backend, shift in (("pytorch", 1), ("onnxruntime", 1)):
        paths[backend] = np.roll(reference, (shift * size // 64, -2 * shift * size // 64), (0, 1))
    (folder / "pictures").mkdir(exist_ok=True)
    for role, array in paths.items():
        Image.fromarray(array).save(folder / "pictures" / f"{name}-{role}.png")
    files = {role: f"pictures/{name}-{role}.png" for role in paths}
    return Picture(
        stage=stage,
        task=task,
        model="litemedsam" if stage == "pseudolabel" else "unet-2d",
        prompt=prompt,
        case=CASES[task][0],
        slice=41,
        spacing_mm=(0.9, 0.7),
        image=files["image"],
        reference=files["reference"],
        predictions={backend: files[backend] for backend in ("pytorch", "onnxruntime")},
        labels=LABELS[task],
        dice={"pytorch": 0.9312, "onnxruntime": 0.9312},
    )


CONDITIONS = [("pseudolabel", "box"), ("pseudolabel", "point"), ("segment", "box"), ("segment", "reference")]


SPEEDUPS = {("pseudolabel", "box"): 2.31, ("pseudolabel", "point"): 2.24, ("segment", "box"): 1.42}
BELOW = "Dice below 99.9 % of PyTorch's"
FAILED: dict[str, object] = {
    "status": "failed",
    "reason": "the worker ended with signal 9 (out of memory)",
    "dice": None,
    "dice_per_case": [],
    "latency_ms": None,
    "volume_latency_ms": None,
    "surface_per_case": [],
    "throughput": None,
    "device_latency_ms": None,
    "modules": {},
    "server": None,
    "parity": None,
    "memory_mib": None,
    "memory": None,
    "energy": None,
    "warmup": None,
    "worker": None,
    "load_ms": None,
    "first_call_ms": None,
    "phases_ms": {},
    "attestation": {},
}


def _pair(stage: str, task: str, prompt: str) -> tuple[list[Cell], Comparison]:
    """Both backends of a condition; on the hostile task one cell failed and one is below the gate."""
    baseline = cell(stage, task, prompt, "pytorch")
    if (stage, task, prompt) == ("pseudolabel", HOSTILE, "point"):
        broken = cell(stage, task, prompt, "onnxruntime", **FAILED)
        return [baseline, broken], comparison(stage, task, prompt, None, pairs=0, gate="fail", reason="no pair")
    if (stage, task, prompt) == ("segment", HOSTILE, "reference"):
        lost = (baseline.dice or 0) - 0.0213
        below = cell(stage, task, prompt, "onnxruntime", status="invalid", reason=BELOW, dice=lost)
        return [baseline, below], comparison(stage, task, prompt, 1.4, gate="fail", reason=BELOW)
    speedup = SPEEDUPS.get((stage, prompt), 1.39) - (0.05 if task == HOSTILE else 0)
    return [baseline, cell(stage, task, prompt, "onnxruntime")], comparison(stage, task, prompt, speedup)


def build(folder: Path, size: int = 64) -> Results:
    """Two tasks, both stages, two backends; one cell failed, one is invalid; pictures as files in `folder`."""
    cells: list[Cell] = []
    comparisons, pictures = [], []
    for task in (SPLEEN, HOSTILE):
        for stage, prompt in CONDITIONS:
            pair, compared = _pair(stage, task, prompt)
            cells += pair
            comparisons.append(compared)
            pictures.append(picture(folder, stage, task, prompt, size))
    results = Results(
        sambench_version="0.1.0",
        name="abdomen",
        created="2026-11-23T14:05:09Z",
        seconds=1432.0,
        command="sambench run abdomen.yaml --out runs/abdomen",
        environment=Environment(
            machine="x86_64",
            cpu="Example Xeon 2.6 GHz",
            cores=2,
            memory_gib=15.6,
            gpu=None,
            os="Linux 6.1",
            python="3.11.7",
            libraries={"torch": "2.9.1", "onnxruntime": "1.23.2", "monai": "1.5.1", "numpy": "2.3.4"},
            threads=2,
            load_before=0.12,
            busy=BUSY,
            governor="powersave",
            variables={"OMP_NUM_THREADS": "2"},
        ),
        spec={
            "name": "abdomen",
            "data": {"root": "data", "tasks": [SPLEEN, HOSTILE]},
            "sam": {"models": ["litemedsam"], "prompts": ["box", "point"]},
            "backends": ["pytorch", "onnxruntime"],
            "measure": {"margin": 0.02, "warmup": 1, "scenarios": ["single-stream", "offline", "server"]},
        },
        tasks=[
            TaskInfo(
                name=task,
                modality="CT",
                labels=LABELS[task],
                cases=CASES[task],
                slices=30 * len(CASES[task]),
                train_cases=CASES[task][:3],
                validation_cases=CASES[task][3:4],
                test_cases=CASES[task][:1] if task == SPLEEN else CASES[task][4:],
                intensity="−160 to 240 HU",
                notes=["one case, trained and tested on the same case"] if task == SPLEEN else [],
            )
            for task in (SPLEEN, HOSTILE)
        ],
        trainings=[
            Training(
                task=task,
                model="unet-2d",
                labels=labels,
                cases=CASES[task][:3],
                validation_cases=CASES[task][3:4],
                validation=[Validation(epoch=n, dice=0.8 + n / 100, labels={}) for n in (5, 10, 15)]
                if task == HOSTILE
                else [],
                best_epoch=15 if task == HOSTILE else 20,
                slices=120,
                epochs=20,
                seconds=88.0,
                loss=[(1.1 if labels == "box" else 0.8) * 0.86**n + len(LABELS[task]) / 20 for n in range(20)],
                checkpoint_sha256="9f" * 32,
            )
            for task in (SPLEEN, HOSTILE)
            for labels in ("box", "reference")
        ],
        cells=cells,
        comparisons=comparisons,
        pictures=pictures,
        peak=PEAK,
        measuring=SECONDS,
        calibration=CALIBRATION,
        notes=[f"The machine was busy before the run: {BUSY}"],
    )
    results.supervision = weak_against_full(results)
    return results
