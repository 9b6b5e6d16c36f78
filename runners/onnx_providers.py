"""What ONNX Runtime's providers are asked for, and what they say they do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.base import NO_OPTIONS, Options
from runners.device import Device

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

ProviderOptions = dict[str, str]

SEARCHES = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
"""How cuDNN's algorithm for a convolution is found: measured for each shape, guessed by cuDNN, or always the same."""

CUDA_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "tf32": (False, True),
    "conv_algo_search": SEARCHES,
    "copy_in_default_stream": (True, False),
    "cuda_graph": (False, True),
}
"""Option → its values, the default first. ONNX Runtime's own defaults are the same but for TF32, which it allows."""

NAMES = {
    "tf32": "use_tf32",
    "conv_algo_search": "cudnn_conv_algo_search",
    "copy_in_default_stream": "do_copy_in_default_stream",
    "cuda_graph": "enable_cuda_graph",
}
"""Option → the CUDA provider's name of it (`onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc`)."""


def chosen(options: Options, name: str) -> Any:
    """An option's value, or its default."""
    return options.get(name, CUDA_OPTIONS[name][0])


def wrong_value(options: Options, known: Mapping[str, tuple[Any, ...]]) -> str | None:
    """Which option has a value that there is not, and what there is; None if all are right.

    Args:
        options: as given.
        known: option → its values; an option that is not in it is not looked at.
    """
    for name, values in known.items():
        if name not in options:
            continue
        value = options[name]
        # `True == 1`, but who writes 1 may have meant something else.
        if not any(value == one and type(value) is type(one) for one in values):
            words = ("true", "false") if isinstance(values[0], bool) else values
            return f"option {name} is {value!r}; give {' or '.join(words)}"
    return None


def unused_on_cpu(options: Options) -> tuple[str, ...]:
    """Which of the given options only a GPU knows."""
    return tuple(name for name in CUDA_OPTIONS if name in options)


def runs_on_our_stream(options: Options) -> bool:
    """Whether the CUDA provider computes on a stream that we give it, whose time device events can take.

    On a stream of ours it copies there too, so `copy_in_default_stream: false` would have no effect.
    """
    return bool(chosen(options, "copy_in_default_stream"))


def cuda_options(device: Device, options: Options = NO_OPTIONS, stream: int | None = None) -> ProviderOptions:
    """What the CUDA provider is asked for.

    Args:
        device: a GPU.
        options: those of `CUDA_OPTIONS`, checked.
        stream: the address of the CUDA stream that it shall use; None leaves it its own.
    """
    asked = {"device_id": str(device.index)}
    for name, its_name in NAMES.items():
        value = chosen(options, name)
        asked[its_name] = str(int(value)) if isinstance(value, bool) else value
    if stream is not None:
        asked["user_compute_stream"] = str(stream)
    return asked


def provider_options(
    device: Device, options: Options = NO_OPTIONS, stream: int | None = None
) -> list[tuple[str, ProviderOptions]]:
    """The providers to ask for, first choice first.

    TF32 is off as on PyTorch's side unless it is asked for. The CPU provider stands last for shape arithmetic;
    `effective_device` sees to it that nothing else runs there.

    Args:
        device: where to run.
        options: those of `CUDA_OPTIONS`, checked; on the CPU they mean nothing.
        stream: see `cuda_options`.
    """
    cpu: tuple[str, ProviderOptions] = (PROVIDERS["cpu"], {})
    if device.kind == "cpu":
        return [cpu]
    return [(PROVIDERS["cuda"], cuda_options(device, options, stream)), cpu]


def effective_device(providers: list[str], requested: Device) -> str:
    """The device a session with these providers really uses."""
    if requested.kind == "cuda" and PROVIDERS["cuda"] in providers:
        return str(requested)
    return "cpu"


def told_settings(told: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """What a provider says of some of its options; what it does not tell is left out.

    Args:
        told: all that it says of itself.
        names: its own names.
    """
    return {name: str(told[name]) for name in names if name in told}


def switched_on(told: Mapping[str, str], name: str) -> bool | None:
    """What the session's provider says of one of its options; None where its version does not tell."""
    return told[name] in ("1", "true", "True") if name in told else None
