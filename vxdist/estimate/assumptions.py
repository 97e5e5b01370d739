"""Assumptions of `vxdist estimate`, used where nothing is measured."""

from dataclasses import dataclass, field

CHARACTERS_PER_TOKEN = {"en": 4.6, "zh": 1.1, "other": 1.0}


@dataclass(kw_only=True)
class Assumptions:
    """Assumptions of `vxdist estimate`; no stage reads them."""

    gpu_flops: float = 989e12
    """Peak operations per second of one GPU: NVIDIA H100 SXM, dense bfloat16."""
    cpu_flops: float = 128e9
    """Peak operations per second of one CPU thread: AVX-512 at 2 GHz, two fused multiply-adds of 16
    float32 values per cycle."""
    fraction: float = 0.4
    """Fraction of the peak that a forward pass reaches."""
    gpus_per_node: int = 8
    """Number of GPUs per node, if the number of nodes is not given."""
    node_link: float = 300e9
    """Bytes per second at which a GPU receives weights from others in its node (NVLink)."""
    link: float = 40e9
    """Bytes per second at which a GPU receives weights from other nodes: most of 400 Gb/s."""
    cpu_link: float = 1e9
    """Bytes per second at which a process on a CPU receives weights from others."""
    reserve: float = 0.08
    """Fraction of a GPU's memory left to CUDA, NCCL, and gaps between tensors."""
    process_memory: float = 3e9
    """Bytes of CPU memory that Python, torch and CUDA take in each process with a GPU."""
    cpu_process_memory: float = 0.8e9
    """Bytes of CPU memory that Python and torch take in each process without a GPU."""
    characters_per_token: dict[str, float] = field(
        default_factory=lambda: dict(CHARACTERS_PER_TOKEN)
    )
    """Characters per token by language, if there is no tokenizer. Measured on the seed: Llama 3
    has 4.6 in English and 1.1 in Chinese, Qwen 2.5 has 4.6 and 1.4."""
    template_tokens: int = 40
    """Tokens that a chat template adds to a question, if there is no tokenizer."""
    length_spread: float = 0.2
    """Relative spread of the lengths of texts that do not exist yet, around their mean."""
    compression: float = 0.78
    """Size of counts, sums and scores on disk relative to memory, measured on the store of a 70B
    model (benchmarks/results)."""
    mask_compression: float = 0.03
    """Size of evaluation masks, which are nearly empty, on disk relative to memory."""
