"""Packed weights that are unpacked as they are loaded, since hooks need the model's own code."""

from typing import Any

from transformers.utils.quantization_config import Mxfp4Config


def unpacking(config: Any) -> dict[str, Any]:
    """What to tell `from_pretrained` of a model's configuration, so that it unpacks the weights.

    gpt-oss is published in MXFP4. On a GPU with the package `kernels`, transformers would keep the
    experts packed and run them in a kernel that shows no activation; elsewhere it unpacks them
    anyway.
    """
    packed = getattr(config, "quantization_config", None)
    kind = packed.get("quant_method") if isinstance(packed, dict) else None
    return {"quantization_config": Mxfp4Config(dequantize=True)} if kind == "mxfp4" else {}
