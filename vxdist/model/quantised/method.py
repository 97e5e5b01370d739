"""How a checkpoint's weights are packed, by the `quantization_config` of its config.json."""

from collections.abc import Callable, Mapping
from typing import Any

from vxdist.errors import UserError
from vxdist.model.quantised.awq import Awq
from vxdist.model.quantised.bitsandbytes import Bitsandbytes
from vxdist.model.quantised.compressed import Compressed
from vxdist.model.quantised.fp8 import Fp8
from vxdist.model.quantised.gptq import Gptq
from vxdist.model.quantised.mxfp4 import Mxfp4
from vxdist.model.quantised.scheme import Scheme
from vxstore.text import shorten

METHODS: dict[str, Callable[[Mapping[str, Any]], Scheme]] = {
    "awq": Awq,
    "bitsandbytes": Bitsandbytes,
    "compressed-tensors": Compressed,
    "fp8": Fp8,
    "gptq": Gptq,
    "mxfp4": Mxfp4,
}
KEY = "quantization_config"


def find_packing(config: Any) -> Mapping[str, Any] | None:
    """What a model's configuration says of packed weights; None if they are not packed."""
    for of in (config, config.get_text_config(decoder=True)):
        about: Any = getattr(of, KEY, None)
        if about is not None:
            return about if isinstance(about, Mapping) else getattr(about, "to_dict", dict)()
    return None


def forget_packing(config: Any) -> None:
    """Make the configuration that of the unpacked model."""
    for of in (config, config.get_text_config(decoder=True)):
        if hasattr(of, KEY):
            delattr(of, KEY)


def method_of(about: Mapping[str, Any]) -> str:
    """What the method is called, for messages."""
    if about.get("quant_method"):
        return shorten(str(about["quant_method"]), 40)
    if about.get("load_in_4bit") or about.get("load_in_8bit"):
        return "bitsandbytes"
    return "a method that config.json does not name"


def choose_scheme(name: str, about: Mapping[str, Any]) -> Scheme:
    """The scheme of the model `name`. Raises UserError if vxdist does not know it."""
    method = method_of(about)
    packed = f"model.path: {name} has packed weights ({method}"
    known = f"vxdist unpacks {', '.join(list(METHODS)[:-1])} and {list(METHODS)[-1]}"
    if method not in METHODS:
        raise UserError(f"{packed}), which vxdist cannot unpack; {known}; use the unpacked model")
    try:
        return METHODS[method](about)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        why = " ".join((str(error) if isinstance(error, ValueError) else repr(error)).split())
        raise UserError(
            f"{packed}: {shorten(why, 120)}), which is none of the kinds of {method} that vxdist "
            f"unpacks (docs/models.md lists them); use the unpacked model"
        ) from error
