"""What `vxdist estimate` assumes where nothing is measured."""

from dataclasses import dataclass, field

CHARACTERS_PER_TOKEN = {"en": 4.6, "zh": 1.1, "other": 1.0}


@dataclass(kw_only=True)
class Assumptions:
    """What `vxdist estimate` takes for granted; no stage reads it."""

    gpu_flops: float = 989e12
    """Peak of one GPU, operations a second: NVIDIA H100 SXM, dense bfloat16."""
    cpu_flops: float = 128e9
    """Peak of one CPU thread: AVX-512 at 2 GHz, two multiply-adds of 16 float32 a cycle."""
    fraction: float = 0.4
    """Share of the peak that a forward pass reaches."""
    gpus_per_node: int = 8
    """GPUs of a node, where nothing tells the number of nodes."""
    node_link: float = 300e9
    """Bytes a second at which a GPU is given weights by others of its node (NVLink)."""
    link: float = 40e9
    """The same between nodes: most of 400 Gb/s for each GPU."""
    cpu_link: float = 1e9
    """The same between processes on CPUs."""
    reserve: float = 0.08
    """Share of a GPU's memory that is left to CUDA, NCCL, and gaps between tensors."""
    process_memory: float = 3e9
    """Bytes of CPU memory that Python, torch and CUDA take in each process with a GPU."""
    cpu_process_memory: float = 0.8e9
    """The same without one."""
    characters_per_token: dict[str, float] = field(
        default_factory=lambda: dict(CHARACTERS_PER_TOKEN)
    )
    """By language, where there is no tokenizer to ask. Measured on the seed: Llama 3 has 4.6 in
    English and 1.1 in Chinese, Qwen 2.5 has 4.6 and 1.4."""
    template_tokens: int = 40
    """Tokens that a chat template adds to a question, where there is no tokenizer to ask."""
    length_spread: float = 0.2
    """Texts that do not exist yet are this much longer and shorter than their mean."""
    expert_skew: float = 2.0
    """An expert is given this many times its even share of a batch's tokens, at most."""
    compression: float = 0.78
    """Size on disk of counts, sums and scores over their size in memory: of a 70B's store, measured
    (benchmarks/results)."""
    mask_compression: float = 0.03
    """The same of evaluation masks, which are nearly empty."""
