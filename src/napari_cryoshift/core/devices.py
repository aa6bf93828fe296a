"""Where the work runs."""

import contextlib
import ctypes
import platform

import torch


def best_device() -> torch.device:
    """Return the accelerator that was found, cuda before mps, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def keep_freed_memory() -> None:
    """Let glibc keep large freed buffers for the next training step.

    By default it maps and unmaps each of them, which costs up to half of a CPU training step.
    Elsewhere than on glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_* of malloc.h
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(top_pad, 2**29)


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 autocast where the hardware computes in it natively, else nothing."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    # Older torch cannot say what the processor has; it then computes in float32.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type == "cpu" and capabilities.get("avx512_bf16", False):
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()
