"""Cost of counting on one NVIDIA GPU, compared with a bare forward and with the usual recipe.

    python benchmarks/gpu.py --out benchmarks/results/DATE-gpu-NAME.json
    python benchmarks/gpu.py --sections kernel,8b --profile
    python benchmarks/gpu.py --device cpu --tiny      every path that runs on a CPU, in seconds

Sections, each of at most a few minutes:

    matmul   the device's bf16 matrix rate and copy bandwidth
    kernel   the counting kernel: exactness, time, fraction of the copy bandwidth
    8b 32b   random weights with the shapes of Llama-3.1-8B and Qwen2.5-32B: bare decoder forward
             on prepared batches; locate as vxdist runs it, including the store; the usual recipe
             (texts in file order, padded, through the model with its head, LAPE's five reductions)
    70b      the shape of Llama-3.1-70B, decoder only (139 GB): bare and locate, if it fits
    compiled locate with compiled layers (model.compile: layers) against the eager bare forward of
             the 8B model, with a profile of each
    zero3    vxdist's loop on a 1B model under strategies single and zero3 (DeepSpeed)
    qwen3_30b_a3b gpt_oss_20b
             routed experts, decoder only: bare with transformers' grouped products, and locate

The things compared take turns; rates are medians over the rounds, of the texts' tokens, without
padding. `share_of_matrix_rate` counts products with weights, padding included, but not attention.
The result is printed as JSON; with --out it is added to that file, section by section, so that a
run that is interrupted loses only the current section.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from on_gpu import experts
from on_gpu.measure import copy_rate, describe, free_memory, matrix_rate

SECTIONS = ("matmul", "kernel", "8b", "compiled", "32b", "70b", "zero3", *experts.SECTIONS)
BATCHES = {"8b": 4, "compiled": 2, "32b": 2, "70b": 2}
"""Number of batches in each of a plan's two parts."""
SPARE_BYTES = 6 * 10**9
"""Memory for a batch of 8,192 tokens besides the weights of the 70B model, with some margin."""


def main() -> None:
    """Run the requested sections."""
    options = _options()
    device = torch.device(options.device)
    result: dict[str, Any] = {}
    if options.out and options.out.exists():
        result = json.loads(options.out.read_text())
    for section in options.sections:
        print(f"{section} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr):  # for DeepSpeed and progress
                figures = _run(section, options, device)
        except torch.OutOfMemoryError as error:
            figures = {"skipped": f"not enough memory on the device: {str(error).splitlines()[0]}"}
        free_memory(device)
        took = round(time.perf_counter() - began, 1)
        result[section] = {**describe(device), "section_seconds": took, **figures}
        if options.out:
            options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sections",
        type=lambda text: text.split(","),
        default=list(SECTIONS),
        help="comma-separated; default: all",
    )
    parser.add_argument("--out", type=Path, help="JSON file to write, or to add sections to")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--tiny", action="store_true", help="toy shapes, to test every path")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds of the comparison")
    parser.add_argument(
        "--seconds", type=float, default=120, help="start no round after this many seconds"
    )
    parser.add_argument("--profile", action="store_true", help="profile locate in 8b, 32b, 70b")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"--sections: {', '.join(sorted(unknown))}; known are {', '.join(SECTIONS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("--device: torch finds no GPU here; test every path with --device cpu --tiny")
    return options


def _run(section: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    if section == "matmul":
        rate = matrix_rate(device, 256 if options.tiny else 8192)
        copied = copy_rate(device, 2**20 if options.tiny else 2**32)
        return {
            "bfloat16_teraflops": round(rate / 1e12, 2),
            "copy_gigabytes_per_second": round(copied / 1e9, 1),
        }
    if section == "kernel":
        from on_gpu.kernels import measure_kernels

        return measure_kernels(device, options.tiny)
    if section in experts.SECTIONS:
        return experts.measure_experts(
            section,
            device,
            tiny=options.tiny,
            rounds=options.rounds,
            seconds=options.seconds,
            profile=options.profile,
        )
    if section == "zero3":
        from on_gpu.sharded import compare_strategies

        tokens = 256 if options.tiny else 16_384
        return compare_strategies(device, tiny=options.tiny, tokens_per_batch=tokens, batches=4)
    return _run_model(section, options, device)


def _run_model(section: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Build the model and compare the ways to run it."""
    from on_gpu.compare import compare
    from on_gpu.models import build, configure, make_texts, weight_bytes

    config = configure("8b" if section == "compiled" else section, options.tiny)
    head = section not in ("70b", "compiled")
    weights = weight_bytes(config, head=head)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if free < weights + SPARE_BYTES:
            return {
                "skipped": f"{weights / 1e9:.1f} GB of weights and {SPARE_BYTES / 1e9:.0f} GB of "
                f"working memory do not fit into {free / 1e9:.1f} GB of free memory"
            }
    tokens_per_batch = 256 if options.tiny else 8192 if section == "70b" else 16_384
    plan = make_texts(config.vocab_size, tokens_per_batch, BATCHES[section])
    rate = matrix_rate(device, 256 if options.tiny else 8192)
    free_memory(device)
    model = build(config, device, head=head)
    if section == "compiled":
        from on_gpu.past_eager import measure_compiled

        figures = measure_compiled(
            model, plan, device, rounds=options.rounds, seconds=options.seconds, rate=rate
        )
    else:
        figures = compare(
            model,
            plan,
            device,
            names=("bare", "locate", "usual") if head else ("bare", "locate"),
            rounds=options.rounds,
            seconds=options.seconds,
            rate=rate,
            profile=options.profile,
        )
    return {
        "weight_gigabytes": round(weights / 1e9, 2),
        "matrix_teraflops": round(rate / 1e12, 2),
        **figures,
    }


if __name__ == "__main__":
    main()
