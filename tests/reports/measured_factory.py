"""What measuring yields beside times, as a synthetic worker tells it: memory, energy, cost, attestation."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.measured import (
    Attested,
    Energy,
    Memory,
    ModuleCost,
    Peak,
    Seconds,
    Server,
    ServerTrial,
    WarmUp,
    WorkerFacts,
)

BUSY = "other processes used 93 % of one core for the second before the start (load average 2.07)"
CALIBRATION = "calibrated 2026-11-20 with litemedsam, 60 s a comparison; noise floor 1.20%"
NO_BF16 = "bf16: this CPU has no hardware for it (avx512_bf16, amx_bf16)"
NO_ENERGY = "no RAPL on this machine (its kernel shows no intel-rapl)"
UNCOUNTED = "its operations could not be counted"
NOT_STEADY = "ended at its limit after 31 passes, 10 s"
OVERLOADED = "the bound is broken at every rate that was tried"
ROOF = 240.0
PEAK = {"cpu": Peak(fp32_gflops=ROOF, bf16_gflops=None, threads=2, reason=NO_BF16)}
SECONDS = Seconds(wall=240.0, busy=235.2, parent_cpu=1.2, data=3.4, scoring=21.0, starting=12.0)
# GFLOP of a call, by hand: an encoder of 256², a decoder of one box, a UNet of eight windows.
GFLOP = {"encoder": 39.5, "decoder": 1.31, "unet": 0.84}
TIMED_AS = {"encoder": "encode", "decoder": "decode", "unet": "infer"}


def modules(stage: str) -> tuple[str, ...]:
    """The runners of a stage."""
    return ("encoder", "decoder") if stage == "pseudolabel" else ("unet",)


def attestation(stage: str, backend: str) -> dict[str, Attested]:
    """A CPU attestation for each runner of a stage."""
    ort = backend == "onnxruntime"
    one = Attested(
        backend=backend,
        version="1.23.2" if ort else "2.9.1",
        device="cpu",
        precision="fp32",
        providers=["CPUExecutionProvider"] if ort else ["eager"],
        nodes_per_provider={"CPUExecutionProvider": 412} if ort else None,
        threads=2,
        requested_threads=2,
        execution="sequential" if ort else "eager",
        graph_capture="not applicable, because the device is a CPU",
    )
    return dict.fromkeys(modules(stage), one)


def costs(stage: str, phases: Mapping[str, float]) -> dict[str, ModuleCost]:
    """What a call takes and what it reaches of the peak, by the rate of its own phase."""
    found = {}
    for name in modules(stage):
        ms = phases[TIMED_AS[name]]
        share = GFLOP[name] / ms * 1e3 / ROOF
        found[name] = ModuleCost(calls=90, p50_ms=ms, mean_ms=ms, gflops_per_call=GFLOP[name], share_of_peak=share)
    return found


def server(kept: float) -> Server:
    """Three trials, of which the first and the last kept the bound."""
    rates = ((0.5 * kept, True), (2 * kept, False), (kept, True))
    trials = [ServerTrial(rate=rate, queries=64, percentile_ms=400.0, kept=one) for rate, one in rates]
    return Server(bound_ms=500.0, percentile=90, rate=kept, trials=trials)


def process(stage: str, backend: str, phases: Mapping[str, float], *, without: bool) -> dict[str, object]:
    """What a worker tells of itself.

    Args:
        stage: of the cell.
        backend: of the cell.
        phases: milliseconds of each.
        without: whether it is a system that tells little: nulls with their reasons.
    """
    facts: dict[str, object] = {
        "attestation": attestation(stage, backend),
        "load_ms": 431.0,
        "first_call_ms": 1302.0,
        "worker": WorkerFacts(affinity=[0, 1], variables={"OMP_NUM_THREADS": "2"}),
        "energy": Energy(joules_per_unit=None, reason=NO_ENERGY),
    }
    if without:
        memory = Memory(peak_mib=None, before_mib=310.0, model_mib=84.0, reason="this system does not tell a peak")
        nothing = ModuleCost(calls=0, p50_ms=None, mean_ms=None, gflops_per_call=None, share_of_peak=None)
        return facts | {
            "memory": memory,
            "memory_reason": memory.reason,
            "modules": dict.fromkeys(modules(stage), nothing.model_copy(update={"reason": UNCOUNTED})),
            "warmup": WarmUp(samples_ms=[300.0] * 31, steady=False, reason=NOT_STEADY),
            "server": Server(bound_ms=500.0, percentile=90, rate=None, reason=OVERLOADED)
            if stage == "segment"
            else None,
        }
    peak = 812.0 if backend == "pytorch" else 640.0
    return facts | {
        "memory": Memory(peak_mib=peak, before_mib=305.0, model_mib=91.0),
        "memory_mib": peak,
        "modules": costs(stage, phases),
        "warmup": WarmUp(samples_ms=[900.0, 820.0, *[800.0] * 6], steady=True),
        "server": server(1e3 / sum(phases.values()) / 2) if stage == "segment" else None,
    }
