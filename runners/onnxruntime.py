"""ONNX Runtime: the CPU and CUDA execution providers, inputs and outputs bound where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from runners.base import (
    NO_GRAPH_CAPTURE,
    NO_OPTIONS,
    Array,
    Attestation,
    DeviceTensor,
    DeviceUnavailableError,
    ModuleSource,
    Options,
    Outputs,
    Runner,
    RunnerError,
    Value,
    to_numpy,
)
from runners.device import Device, cuda_absence, cuda_driver
from runners.onnx_nodes import (
    RECORD_ENTRY,
    Nodes,
    assigned_nodes,
    operators_of,
    per_provider,
    smallest_inputs,
    traced_nodes,
)
from runners.onnx_precision import file_precision
from runners.registry import PRECISIONS

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def provider_options(device: Device) -> list[tuple[str, dict[str, str]]]:
    """The providers to ask for, first choice first.

    TF32 is off as on PyTorch's side. The CPU provider stands last for shape arithmetic; `effective_device` sees to it
    that nothing else runs there.
    """
    cpu: tuple[str, dict[str, str]] = (PROVIDERS["cpu"], {})
    if device.kind == "cpu":
        return [cpu]
    return [(PROVIDERS["cuda"], {"device_id": str(device.index), "use_tf32": "0"}), cpu]


GRAPH_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
}
"""Values of the option `graph`: `extended` leaves out changes of layout around convolutions, `basic` also fusions."""

EXECUTION = {"sequential": ort.ExecutionMode.ORT_SEQUENTIAL, "parallel": ort.ExecutionMode.ORT_PARALLEL}
"""Values of the option `execution`: one operator at a time, or branches of the graph beside each other."""


def session_options(threads: int | None, options: Options = NO_OPTIONS) -> ort.SessionOptions:
    """Full graph optimisation, one operator at a time, and a record of which provider got which node.

    Args:
        threads: inside an operator; None leaves ONNX Runtime's own choice.
        options: those of `OnnxRuntimeRunner`, checked.
    """
    chosen = ort.SessionOptions()
    chosen.graph_optimization_level = GRAPH_LEVELS[options.get("graph", "all")]
    chosen.execution_mode = EXECUTION[options.get("execution", "sequential")]
    chosen.log_severity_level = 3
    # Its workers may spin within a run; after it they would take the cores from whatever comes next.
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    if not options.get("spinning", True):
        chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry(RECORD_ENTRY, "1")
    if threads is not None:
        chosen.intra_op_num_threads = threads
    return chosen


def effective_device(providers: list[str], requested: Device) -> str:
    """The device a session with these providers really uses."""
    if requested.kind == "cuda" and PROVIDERS["cuda"] in providers:
        return str(requested)
    return "cpu"


@dataclass(frozen=True)
class OrtTensor(DeviceTensor):
    """An OrtValue where ONNX Runtime computed it.

    Attributes:
        value: the OrtValue.
        borrowed: on the CPU, the array whose memory an OrtValue made of it borrows without keeping it alive.
    """

    value: Any
    borrowed: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return tuple(self.value.shape())

    @property
    def dtype(self) -> str:  # noqa: D102
        name = str(self.value.data_type()).removeprefix("tensor(").removesuffix(")")
        return {"float": "float32", "double": "float64"}.get(name, name)

    def numpy(self) -> Array:  # noqa: D102
        array: Array = self.value.numpy()
        return array


class OnnxRuntimeRunner(Runner):
    """One inference session through IOBinding; the same code on the CPU and on a GPU.

    Options: `graph`, a key of `GRAPH_LEVELS`; `execution`, a key of `EXECUTION`; and `spinning`: whether its threads
    wait for the next operator awake (true) or asleep.
    """

    backend = "onnxruntime"
    precisions = PRECISIONS[backend]
    option_names = frozenset({"graph", "execution", "spinning"})
    _session: Any = None
    _precision: str = ""
    _nodes: Nodes | None = None
    _notes: tuple[str, ...] = ()

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        super().__init__(source, device, threads, options)
        for name, values in (("graph", tuple(GRAPH_LEVELS)), ("execution", tuple(EXECUTION))):
            if options.get(name, values[0]) not in values:
                raise RunnerError(
                    f"backend {self.backend}: option {name} is {options[name]!r}; give {' or '.join(values)}"
                )
        if not isinstance(options.get("spinning", True), bool):
            raise RunnerError(f"backend {self.backend}: option spinning is {options['spinning']!r}; give true or false")

    def _load(self) -> None:
        path = self.source.onnx_path
        if path is None:
            raise RunnerError(f"{self.source.name} has no ONNX file; export it first")
        self._require_driver()
        try:
            self._session = self._open(session_options(self.threads, self.options))
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            raise RunnerError(f"{path}: ONNX Runtime cannot load it ({_first_line(error)}); export it again") from None
        self._refuse_fallback()
        self._precision = file_precision(path)

    def _open(self, options: ort.SessionOptions) -> Any:
        return ort.InferenceSession(str(self.source.onnx_path), options, providers=provider_options(self.device))

    def _require_driver(self) -> None:
        if self.device.kind == "cuda":
            reason = cuda_absence(self.device.index)
            if reason is not None:
                raise DeviceUnavailableError(
                    f"device {self.device} for onnxruntime: {reason}; use device cpu or mend that"
                )
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()

    def _refuse_fallback(self) -> None:
        effective = effective_device(self._session.get_providers(), self.device)
        if effective != str(self.device):
            self._session = None
            wants = getattr(ort, "cuda_version", "") or "a CUDA version of its own (this build carries none)"
            raise DeviceUnavailableError(
                f"device {self.device} for onnxruntime: its CUDA provider did not load, so it would run on "
                f"{effective}; install onnxruntime-gpu with the CUDA ({wants}) and cuDNN 9 libraries it wants, or use "
                "device cpu"
            )

    def _free(self) -> None:
        self._session = self._nodes = None
        self._notes = ()

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._loaded()
        return {name: self._placed(value) for name, value in inputs.items()}

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        session = self._loaded()
        binding = session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, _own(tensor).value)
        names = [spec.name for spec in self.source.signature.outputs]
        for name in names:
            binding.bind_output(name, self.device.kind, self.device.index)
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return {name: OrtTensor(value) for name, value in zip(names, binding.get_outputs(), strict=True)}

    def _loaded(self) -> Any:
        if self._session is None:
            raise RunnerError(f"{self.source.name}: enter the runner (`with runner:`) before running it")
        return self._session

    def _placed(self, value: Value) -> OrtTensor:
        if isinstance(value, OrtTensor):
            return value
        array = np.ascontiguousarray(to_numpy(value))
        # The copy to a GPU is done when this returns.
        return OrtTensor(ort.OrtValue.ortvalue_from_numpy(array, self.device.kind, self.device.index), array)

    def attest(self) -> Attestation:
        """Asks the session for its providers and for the provider of every node, and the file for its precision.

        A version that does not tell the provider of a node is traced: one run of a second session, once.
        """
        session = self._loaded()
        if self._nodes is None and not self._notes:
            self._find_nodes()
        told = session.get_session_options()
        device = effective_device(session.get_providers(), self.device)
        on_cpu = device == "cpu"
        options = session.get_provider_options().get(PROVIDERS["cuda"], {})
        return Attestation(
            backend=self.backend,
            version=ort.__version__,
            device=device,
            precision=self._precision,
            providers=tuple(session.get_providers()),
            nodes_per_provider=None if self._nodes is None else per_provider(self._nodes),
            operators_on_cpu=None if on_cpu or self._nodes is None else operators_of(self._nodes, PROVIDERS["cpu"]),
            threads=told.intra_op_num_threads or None,
            execution="sequential" if told.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL else "parallel",
            tf32=None if on_cpu else _switched_on(options, "use_tf32"),
            graph_capture=NO_GRAPH_CAPTURE if on_cpu else _on_or_off(_switched_on(options, "enable_cuda_graph")),
            driver=None if on_cpu else cuda_driver(),
            notes=self._notes,
        )

    def _find_nodes(self) -> None:
        self._nodes = assigned_nodes(self._session)
        if self._nodes is not None:
            return
        try:
            self._nodes = traced_nodes(
                self._open, session_options(self.threads, self.options), smallest_inputs(self.source.signature)
            )
            self._notes = ("nodes counted in a trace of one run, after the last fusions",)
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            self._notes = (f"nodes per provider unknown: the traced run failed ({_first_line(error)})",)


def _switched_on(options: Mapping[str, str], name: str) -> bool | None:
    """What the session's provider says of one of its options; None where its version does not tell."""
    return options[name] == "1" if name in options else None


def _on_or_off(switched_on: bool | None) -> str | None:
    return None if switched_on is None else "on" if switched_on else "off"


def _own(tensor: DeviceTensor) -> OrtTensor:
    assert isinstance(tensor, OrtTensor)  # noqa: S101 - `_place` makes no other
    return tensor


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
