"""PyTorch's compiler: the same live module through `torch.compile` and its inductor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch._dynamo as dynamo
import torch._inductor.config as inductor_config
from torch import fx, nn
from torch._dynamo.utils import counters
from torch._inductor import list_mode_options
from torch._inductor.compile_fx import compile_fx
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._triton import has_triton

from runners.base import NO_OPTIONS, DeviceUnavailableError, ModuleSource, Options, RunnerError
from runners.device import Device
from runners.pytorch import PyTorchRunner
from runners.registry import PRECISIONS
from runners.torch_numerics import PRECISION_OF, ProductWatch

MODES = ("default", "max-autotune-no-cudagraphs", "reduce-overhead", "max-autotune")

GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Those that replay CUDA graphs, whose outputs the next call overwrites: each call's are copied out."""

SHAPES = 64
"""Versions of one function that may be compiled for different shapes. PyTorch's own limit is 8, after which it runs the
rest eagerly without a word; here that is an error."""

COMPILING: Mapping[str, Any] = {"force_disable_caches": True}
"""Nothing is taken from inductor's disk cache, so that a first call always shows what compiling takes."""

PRODUCTS = frozenset(
    {
        *("linear", "addmm", "mm", "bmm", "baddbmm", "matmul", "einsum", "scaled_dot_product_attention"),
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    }
)


class PyTorchCompileRunner(PyTorchRunner):
    """The live module compiled by inductor at its first call, and again for shapes that the code does not cover.

    Options: `mode`, one of `MODES`, of which those of `GRAPH_MODES` want a GPU; and `dynamic`: whether sizes are left
    open from the start (true), never (false), or once a second one was met (null, PyTorch's default).
    """

    backend = "pytorch-compile"
    precisions = PRECISIONS[backend]
    option_names = PyTorchRunner.option_names | {"mode", "dynamic"}
    _provider = "inductor"
    _compiled: Callable[..., Any] | None = None

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        super().__init__(source, device, threads, options)
        self._mode = options.get("mode", "default")
        self._dynamic = options.get("dynamic")
        self._seen: Counter[str] = Counter()
        self._breaks: Counter[str] = Counter()
        self._graphs_compiled = self._recorded = self._skipped = 0
        if self._mode not in MODES:
            raise RunnerError(f"backend {self.backend}: option mode is {self._mode!r}; give {' or '.join(MODES)}")
        if not (self._dynamic is None or isinstance(self._dynamic, bool)):
            raise RunnerError(f"backend {self.backend}: option dynamic is {self._dynamic!r}; give true, false or null")

    @classmethod
    def inapplicable(cls, device: Device, precision: str = "fp32", options: Options = NO_OPTIONS) -> str | None:
        """As eager, and CUDA graphs on the CPU."""
        mode = options.get("mode")
        if device.kind == "cpu" and mode in GRAPH_MODES:
            return (
                f"option mode {mode} of {cls.backend} is not applicable, because the device is a CPU and the mode is "
                "for CUDA graphs; use mode default or max-autotune-no-cudagraphs, or device cuda"
            )
        return super().inapplicable(device, precision, options)

    @classmethod
    def absence(cls, device: Device) -> str | None:
        """Where inductor has no compiler: C++ for the CPU, Triton for a GPU."""
        if device.kind == "cpu":
            try:
                get_cpp_compiler()
            except InvalidCxxCompiler:
                return (
                    "backend pytorch-compile: PyTorch finds no C++ compiler, which its inductor needs on the CPU; "
                    "install g++ or name a compiler in the variable CXX"
                )
        elif not has_triton():
            return (
                f"backend pytorch-compile: PyTorch finds no Triton that works on device {device}, which its inductor "
                "needs there; install triton or use device cpu"
            )
        return None

    def _load(self) -> None:
        super()._load()
        absent = self.absence(self.device)
        if absent is not None:
            self._free()
            raise DeviceUnavailableError(absent)
        dynamo.config.recompile_limit = SHAPES
        dynamo.config.fail_on_recompile_limit_hit = True
        # A call of the module inside could not see that its code was compiled: inductor is called through ourselves.
        self._compiled = torch.compile(self._loaded(), backend=self._inductor, dynamic=self._dynamic)

    def _make_watch(self, module: nn.Module) -> ProductWatch | None:
        return None  # hooks would be compiled in; the compiled graphs tell

    def _free(self) -> None:
        self._compiled = None
        super()._free()

    def _call(self, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        assert self._compiled is not None  # noqa: S101 - `_run` asked for the loaded module
        before, compiled = counters["graph_break"].copy(), self.set_ups
        graphs = self._mode in GRAPH_MODES
        skips, recorded = counters["inductor"]["cudagraph_skips"], recorded_graphs(self.device.index) if graphs else 0
        try:
            if graphs:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            result: torch.Tensor | tuple[torch.Tensor, ...] = self._compiled(**tensors)
        except dynamo.exc.FailOnRecompileLimitHit:
            raise RunnerError(
                f"{self.source.name}: torch.compile met more than {SHAPES} kinds of shapes, beyond which PyTorch runs "
                "eagerly; set the option dynamic: true"
            ) from None
        except dynamo.exc.TorchDynamoException as error:
            raise RunnerError(f"{self.source.name}: torch.compile failed ({_first_line(error)})") from None
        if self.set_ups > compiled:
            self._breaks += counters["graph_break"] - before
        if graphs:
            result = kept(result)
            self._skipped += counters["inductor"]["cudagraph_skips"] - skips
            self._note_recordings(recorded_graphs(self.device.index) - recorded)
        return result

    def _note_recordings(self, recorded: int) -> None:
        """A call that recorded a graph was no warm one; the first of a shape only warms up, and the second records."""
        if recorded > 0:
            self._recorded += recorded
            self.set_ups += 1

    def _inductor(self, graph: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """Inductor as `torch.compile` calls it, and a note of what it was given."""
        with inductor_config.patch(dict(COMPILING)):
            code = compile_fx(graph, inputs, config_patches=list_mode_options(self._mode, self._dynamic))
        self.set_ups += 1
        self._graphs_compiled += 1
        self._seen.update(products_in(graph))
        return code

    def _products(self) -> Mapping[str, int]:
        return self._seen

    def _execution(self) -> str:
        return "compiled (inductor)" if self._graphs_compiled else "inductor, nothing compiled yet"

    def _graph_capture(self) -> str:
        return capture_told(self._mode, self._graphs_compiled, self._recorded, self._skipped)

    def _notes(self, products: Mapping[str, int]) -> Iterator[str]:
        yield from super()._notes(products)
        if self._graphs_compiled:
            yield f"{self._graphs_compiled} graph{'s' * (self._graphs_compiled > 1)} compiled"
        breaks = sum(self._breaks.values())
        if breaks:
            reason = _first_line(self._breaks.most_common(1)[0][0])
            yield f"{breaks} graph break{'s' * (breaks > 1)}, where Python goes on uncompiled; most often: {reason}"


def kept(result: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Copies of what a CUDA graph wrote, which the next replay overwrites."""
    return result.clone() if isinstance(result, torch.Tensor) else tuple(value.clone() for value in result)


def recorded_graphs(device: int) -> int:
    """CUDA graphs that inductor holds for a device in this thread, other modules' included.

    Args:
        device: its index. The trees of graphs are those of `torch/_inductor/cudagraph_trees.py`.
    """
    from torch._inductor.cudagraph_trees import get_manager

    manager = get_manager(device, create_if_none_exists=False)
    return 0 if manager is None else sum(_nodes(root) for root in manager.get_roots())


def _nodes(root: Any) -> int:
    return 1 + sum(_nodes(child) for children in root.children.values() for child in children)


def capture_told(mode: str, compiled: int, recorded: int, skipped: int) -> str:
    """Whether CUDA graphs replay, for the attestation; pure.

    Args:
        mode: that `torch.compile` has.
        compiled: graphs that inductor compiled so far.
        recorded: CUDA graphs that it holds.
        skipped: compiled graphs for which it refused one (`counters["inductor"]["cudagraph_skips"]`).
    """
    if mode not in GRAPH_MODES:
        return "off"
    if recorded and not skipped:
        return "on"
    if recorded:
        return f"on, but {skipped} of {compiled} compiled graphs refused"
    if skipped:
        return f"not applicable, because inductor refused a CUDA graph for {skipped} of {compiled} compiled graphs"
    return "off: nothing recorded yet, which takes two calls of a shape"


def products_in(graph: fx.GraphModule) -> Counter[str]:
    """Precision → matrix products, convolutions and attentions in a graph and those inside it, by their outputs."""
    found: Counter[str] = Counter()
    for inner in graph.modules():
        for node in inner.graph.nodes if isinstance(inner, fx.GraphModule) else ():
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            value = node.meta.get("example_value")
            if name in PRODUCTS and isinstance(value, torch.Tensor):
                found[PRECISION_OF[value.dtype]] += 1
    return found


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
