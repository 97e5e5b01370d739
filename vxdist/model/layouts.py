"""The feed-forward blocks of the model families that vxdist knows.

A neuron is unit j of the hidden layer of a feed-forward block; its activation is what comes out
of the activation function, before a gate's partner multiplies it (arXiv 2504.04994). In every
layout below that function is a module of its own, so its output is the neurons' activations.
"""

from dataclasses import dataclass

LAYERS = ("layers", "h")
"""Names that decoders give to their list of layers."""
EXPERT_PARTS = {"experts", "gate", "router"}
"""All that a block of experts may hold: a shared expert's neurons would go unseen."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Module names below a decoder layer, and the model types that are tested to have them."""

    name: str
    first: tuple[str, ...]
    """What tells this layout from the others."""
    activation: str
    output: str
    """Where the neurons' work comes out: the down projection, or the module of all experts."""
    families: tuple[str, ...]
    experts: bool = False
    """A neuron is then (layer, expert, unit); the function runs once for each expert in use."""

    def describe(self) -> str:
        """For messages: what is looked for in a layer."""
        inside = dict.fromkeys((*self.first, self.activation, self.output))
        return f"{self.name} ({', '.join(inside)})"


LAYOUTS = (
    Layout(
        name="gated",
        first=("mlp.gate_proj", "mlp.up_proj"),
        activation="mlp.act_fn",
        output="mlp.down_proj",
        families=(
            "cohere",
            "cohere2",
            "gemma",
            "gemma2",
            "gemma3",
            "gemma3_text",
            "granite",
            "llama",
            "ministral",
            "ministral3",
            "mistral",
            "olmo",
            "olmo2",
            "olmo3",
            "qwen2",
            "qwen3",
            "seed_oss",
            "smollm3",
            "stablelm",
        ),
    ),
    Layout(
        name="gated, fused",
        first=("mlp.gate_up_proj",),
        activation="mlp.activation_fn",
        output="mlp.down_proj",
        families=("glm", "glm4", "phi3"),
    ),
    Layout(
        name="up and down",
        first=("mlp.up_proj",),
        activation="mlp.act_fn",
        output="mlp.down_proj",
        families=("apertus", "arcee", "nemotron"),
    ),
    Layout(
        name="GPT-2",
        first=("mlp.c_fc",),
        activation="mlp.act",
        output="mlp.c_proj",
        families=("gpt2", "gpt_bigcode", "gpt_neo", "starcoder2"),
    ),
    Layout(
        name="GPT-NeoX",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.act",
        output="mlp.dense_4h_to_h",
        families=("falcon", "gpt_neox", "persimmon"),
    ),
    Layout(
        name="BLOOM",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.gelu_impl",
        output="mlp.dense_4h_to_h",
        families=("bloom",),
    ),
    Layout(
        name="GPT-J",
        first=("mlp.fc_in",),
        activation="mlp.act",
        output="mlp.fc_out",
        families=("codegen", "gptj"),
    ),
    Layout(
        name="Phi",
        first=("mlp.fc1",),
        activation="mlp.activation_fn",
        output="mlp.fc2",
        families=("phi",),
    ),
    Layout(
        name="OPT",
        first=("fc1",),
        activation="activation_fn",
        output="fc2",
        families=("opt", "xglm"),
    ),
    Layout(
        name="experts",
        first=("mlp.experts",),
        activation="mlp.experts.act_fn",
        output="mlp.experts",
        families=("mixtral", "olmoe", "qwen3_moe"),
        experts=True,
    ),
)
