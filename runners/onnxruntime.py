"""ONNX Runtime: the CPU and CUDA execution providers, inputs and outputs bound where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from runners.base import (
    NO_GRAPH_CAPTURE,
    NO_OPTIONS,
    Attestation,
    DeviceTensor,
    DeviceUnavailableError,
    ModuleSource,
    Options,
    Outputs,
    Runner,
    RunnerError,
    Value,
)
from runners.clock import EventClock, torch_events
from runners.device import Device, cuda_absence, cuda_driver
from runners.onnx_nodes import (
    Nodes,
    assigned_nodes,
    operators_of,
    per_provider,
    smallest_inputs,
    traced_nodes,
)
from runners.onnx_precision import file_precision
from runners.onnx_providers import (
    NAMES,
    PROVIDERS,
    ProviderOptions,
    chosen,
    effective_device,
    provider_options,
    runs_on_our_stream,
    switched_on,
    told_settings,
    unused_on_cpu,
    wrong_value,
)
from runners.onnx_session import NO_WAIT, VALUES, session_options
from runners.ort_tensor import SHARES, OrtTensor, on_cpu, own, placed_on
from runners.out_of_memory import is_out_of_memory
from runners.registry import PRECISIONS
from runners.words import words_of

if TYPE_CHECKING:
    import torch

    from runners.cuda_graphs import GraphRuns

__all__ = ["OnnxRuntimeRunner", "OrtTensor", "effective_device", "provider_options", "session_options"]


class OnnxRuntimeRunner(Runner):
    """One inference session through IOBinding; the same code on the CPU and on a GPU.

    Options: `graph`, a key of `GRAPH_LEVELS`; `execution`, a key of `EXECUTION`; `spinning`: whether its threads wait
    for the next operator awake (true) or asleep; and those of `CUDA_OPTIONS`, which a CPU ignores with a note.

    On a GPU the session computes on a stream that PyTorch makes, so that both can share tensors and device events can
    take its time; on the CPU PyTorch is not imported.
    """

    backend = "onnxruntime"
    precisions = PRECISIONS[backend]
    option_names = frozenset(VALUES)
    _session: Any = None
    _precision: str = ""
    _nodes: Nodes | None = None
    _notes: tuple[str, ...] = ()
    _stream: torch.cuda.Stream | None = None
    _graphs: GraphRuns | None = None
    _no_graph: str | None = None

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        super().__init__(source, device, threads, options)
        wrong = wrong_value(options, VALUES)
        if wrong is None and chosen(options, "cuda_graph") and not runs_on_our_stream(options):
            wrong = "option cuda_graph is true and copy_in_default_stream false; a graph needs both on one stream"
        if wrong is not None:
            raise RunnerError(f"backend {self.backend}: {wrong}")

    def _load(self) -> None:
        if self.source.onnx_path is None:
            raise RunnerError(f"{self.source.name} has no ONNX file; export it first")
        self._require_driver()
        self._prepare_device()
        self._open_checked(self._wants_graphs())
        self._precision = file_precision(self.source.onnx_path)

    def _open_checked(self, graphs: bool) -> None:
        """Opens the session, with graph capture as long as ONNX Runtime does not refuse it."""
        path = self.source.onnx_path
        try:
            self._session = self._open(session_options(self.threads, self.options), graphs)
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            if not (graphs and "graph capture" in str(error)):
                words = words_of(error)
                raise RunnerError(f"{path}: ONNX Runtime cannot load it ({words}); export it again") from None
            self._no_graph = _refusal(error)
        if self._session is None:
            self._open_checked(graphs=False)
            return
        self._refuse_fallback()
        if graphs:
            from runners.cuda_graphs import GraphRuns

            self._graphs = GraphRuns(self._session, self.source.signature)

    def _wants_graphs(self) -> bool:
        """Whether graphs are asked for and this module can have them; if not, why is kept for the attestation."""
        if self.device.kind == "cpu" or not chosen(self.options, "cuda_graph"):
            return False
        from runners.cuda_graphs import obstacle

        self._no_graph = obstacle(self.source.signature)
        return self._no_graph is None

    def _open(self, options: ort.SessionOptions, graphs: bool = False) -> Any:
        return ort.InferenceSession(str(self.source.onnx_path), options, providers=self._providers(graphs))

    def _providers(self, graphs: bool) -> list[tuple[str, ProviderOptions]]:
        address = None if self._stream is None else self._stream.cuda_stream
        return provider_options(self.device, {**self.options, "cuda_graph": graphs}, address)

    def _require_driver(self) -> None:
        if self.device.kind == "cuda":
            reason = cuda_absence(self.device.index)
            if reason is not None:
                raise DeviceUnavailableError(
                    f"device {self.device} for {self.backend}: {reason}; use device cpu or mend that"
                )
            if not SHARES:
                raise RunnerError(
                    f"device {self.device} for {self.backend}: onnxruntime {ort.__version__} shares no tensors by "
                    "DLPack; install a newer onnxruntime-gpu"
                )
            import torch

            if not torch.cuda.is_available():
                raise DeviceUnavailableError(
                    f"device {self.device} for {self.backend}: this PyTorch ({torch.__version__}) cannot use the GPU, "
                    "and arrays get there through it; install a CUDA build that fits the driver"
                )
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()

    def _prepare_device(self) -> None:
        """Makes the stream that the session will compute on, where it may have one of ours."""
        if self.device.kind == "cpu" or not runs_on_our_stream(self.options):
            return
        import torch

        # Not the default stream: that one cannot be captured in a graph.
        self._stream = torch.cuda.Stream(self.device.index)  # type: ignore[no-untyped-call]
        self.event_clock = EventClock(torch_events(self._stream))

    def _refuse_fallback(self) -> None:
        effective = effective_device(self._session.get_providers(), self.device)
        if effective != str(self.device):
            self._session = None
            wants = getattr(ort, "cuda_version", "") or "a CUDA version of its own (this build carries none)"
            raise DeviceUnavailableError(
                f"device {self.device} for {self.backend}: its CUDA provider did not load, so it would run on "
                f"{effective}; install onnxruntime-gpu with the CUDA ({wants}) and cuDNN 9 libraries it wants, or use "
                "device cpu"
            )

    def _free(self) -> None:
        self._session = self._nodes = self._graphs = self._stream = self.event_clock = self._no_graph = None
        self._notes = ()

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._loaded()
        if self.device.kind == "cpu":
            return {name: on_cpu(value) for name, value in inputs.items()}
        import torch

        return placed_on(
            inputs, torch.device("cuda", self.device.index), lambda: torch.cuda.synchronize(self.device.index)
        )

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        if self._graphs is not None:
            outputs = self._run_with_graphs(self._graphs, inputs)
            if outputs is not None:
                return outputs
        session = self._loaded()
        binding = session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, own(tensor).value)
        names = [spec.name for spec in self.source.signature.outputs]
        for name in names:
            binding.bind_output(name, self.device.kind, self.device.index)
        try:
            session.run_with_iobinding(binding, self._run_options())
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            if is_out_of_memory(error):
                raise
            raise RunnerError(f"{self.source.name}: ONNX Runtime failed in a call ({words_of(error)})") from None
        if self.event_clock is not None:
            self.event_clock.stop()
        binding.synchronize_outputs()
        if self._stream is not None:
            self._stream.synchronize()
        return {name: OrtTensor(value) for name, value in zip(names, binding.get_outputs(), strict=True)}

    def _run_options(self) -> Any:
        """None for the plain ones. A session that captures graphs is told that this run has none."""
        if self._graphs is not None:
            from runners.cuda_graphs import NO_GRAPH, run_options

            return run_options(NO_GRAPH)
        if self._stream is None:
            return None
        made = ort.RunOptions()
        made.add_run_config_entry(NO_WAIT, "1")
        return made

    def _run_with_graphs(self, graphs: GraphRuns, inputs: Mapping[str, DeviceTensor]) -> Outputs | None:
        """Captures or replays; None if this call must run without a graph, as every later one if capturing fails."""
        import torch

        captured = len(graphs.ids)
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):  # a stream of None changes nothing
                made = graphs.run({name: own(value).to_torch() for name, value in inputs.items()})
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            reason = _refusal(error)
            if captured == len(graphs.ids) or "captur" not in str(error).lower():
                raise
        else:
            if made is None:
                return None
            self.set_ups += len(graphs.ids) - captured
            if self.event_clock is not None:
                self.event_clock.stop()
            if self._stream is not None:
                self._stream.synchronize()
            return {name: OrtTensor.of_torch(value) for name, value in made.items()}
        self._session = self._graphs = None
        self._open_checked(graphs=False)
        self._no_graph = reason
        return None

    def _loaded(self) -> Any:
        if self._session is None:
            raise RunnerError(f"{self.source.name}: enter the runner (`with runner:`) before running it")
        return self._session

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
            tf32=None if on_cpu else switched_on(options, NAMES["tf32"]),
            tf32_asked=not on_cpu and bool(chosen(self.options, "tf32")),
            graph_capture=NO_GRAPH_CAPTURE if on_cpu else self._graph_capture(options),
            driver=None if on_cpu else cuda_driver(),
            settings=None if on_cpu else told_settings(options, tuple(NAMES.values())),
            clocks=self.clocks(),
            notes=(*self._notes, *self._more_notes()),
        )

    def _graph_capture(self, told: ProviderOptions) -> str | None:
        if self._no_graph is not None:
            return f"not applicable, because {self._no_graph}"
        on = switched_on(told, NAMES["cuda_graph"])
        return None if on is None else "on" if on else "off"

    def _more_notes(self) -> tuple[str, ...]:
        """What else a reader should know, beside how nodes were counted."""
        unused = unused_on_cpu(self.options) if self.device.kind == "cpu" else ()
        notes = [f"option {name} is for a GPU and means nothing on the CPU" for name in unused]
        if self._graphs is not None and self._graphs.ids.without:
            many = len(self._graphs.ids)
            notes.append(f"{self._graphs.ids.without} calls without a CUDA graph: only {many} kinds of shapes have one")
        return tuple(notes)

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
            self._notes = (f"nodes per provider unknown: the traced run failed ({words_of(error)})",)


def _refusal(error: Exception) -> str:
    """What ONNX Runtime has against a graph, in one line that goes on from `because`."""
    return f"ONNX Runtime cannot capture it ({words_of(error)})"
