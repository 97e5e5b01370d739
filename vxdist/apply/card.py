"""What is written beside the weights: the model card, and the ablation as JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxdist.apply.neurons import UNCLAIMED, Chosen
from vxdist.model.source import PACKAGE, ModelSource
from vxstore.blocks import Blocks
from vxstore.mask_file import MASK_FORMAT, MASK_VERSION
from vxstore.text import plural

CARD, ABLATION = "README.md", "vxdist_ablation.json"
_LICENCE = re.compile(r"^(license(?:_name|_link)?): *(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class About:
    """All that the card and the JSON say."""

    source: ModelSource
    chosen: Chosen
    intervention: Mapping[str, Any]
    """Its name and settings."""
    store_digest: str
    num_layers: int
    num_neurons: int
    num_experts: int
    blocks: Blocks | None
    """The blocks of each layer, if layers differ or have several; None if all are alike."""
    version: str
    unpacked: bool
    """Whether the weights come from a GGUF file, unpacked to float32."""

    @property
    def base(self) -> str:
        """The base model's name, without the folders of this machine."""
        name = self.source.name
        local = not name.startswith(PACKAGE) and Path(name).exists()
        return Path(name).resolve().name if local else name

    @property
    def total(self) -> int:
        """Number of neurons of the base model."""
        if self.blocks is not None:
            return int(self.blocks.exists().sum())
        return self.num_layers * self.num_neurons


def to_json(about: About, fingerprint: str, changed: Sequence[str]) -> str:
    """The ablation: a mask file (see `vxstore.mask_file`) that says more.

    `fingerprint` is the new checkpoint's, `changed` the tensors that differ from the base model's.
    """
    chosen = about.chosen
    by_layer = {str(layer): number_N.tolist() for layer, number_N in chosen.neurons.items()}
    content = {
        "format": MASK_FORMAT,
        "format_version": MASK_VERSION,
        "model": about.base,
        "model_revision": about.source.revision,
        "model_fingerprint": about.source.fingerprint,
        "layers": about.num_layers,
        "neurons": about.num_neurons,
        "score": chosen.score,
        **_describe_blocks(about),
        "masks": {chosen.value: {chosen.language: by_layer}},
        "masks_digest": chosen.masks,
        "intervention": about.intervention,
        "claims": {"fdr": chosen.fdr, "neurons": chosen.levels},
        "store_digest": about.store_digest,
        "fingerprint": fingerprint,
        "changed": list(changed),
        "vxdist": about.version,
    }
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[\n[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
    return text + "\n"


def _describe_blocks(about: About) -> dict[str, Any]:
    if about.blocks is not None:
        return {"blocks": about.blocks.described()}
    return {"experts": about.num_experts} if about.num_experts else {}


def to_card(about: About) -> str:
    """The model card, in Markdown."""
    chosen = about.chosen
    neurons = plural(chosen.count, "neuron")
    by = (
        f"the mask file {chosen.masks[:12]}... lists"
        if chosen.masks
        else f"the score `{chosen.score}` of an activation store lists"
    )
    return "\n".join(
        [
            *_front_matter(about),
            f"# {about.base} without {neurons} ({chosen.value}, {chosen.language})",
            "",
            f"In this model {neurons} of the feed-forward blocks are ablated: those that {by} for "
            f"the value {chosen.value} in {chosen.language}. "
            f"{_what_was_done(about)} All other tensors are those of the base model, to the bit.",
            "",
            "**This is not a safe or aligned model**: neurons were removed, and nothing more. What "
            "that does to the model's answers is not known from how it was made; it may do "
            "nothing, or harm what has nothing to do with the value. Measure it before you use it.",
            "",
            *_table(("", ""), _facts(about)),
            "",
            "## What can be claimed of these neurons",
            "",
            *_claims(chosen),
            "",
            "## Neurons by layer",
            "",
            *_table(
                ("layer", "neurons"),
                [(str(layer), str(len(n))) for layer, n in chosen.neurons.items()],
            ),
            "",
            f"`{ABLATION}` lists them. Layers and neurons count from 0.",
            "",
        ]
    )


def _what_was_done(about: About) -> str:
    if about.intervention["name"] == "zero":
        return "Their columns of the down projections are zero, as if they were never active."
    return (
        f"Their activations are replaced as by vxdist's intervention "
        f"`{about.intervention['name']}`, folded into the down projections."
    )


def _facts(about: About) -> list[tuple[str, str]]:
    chosen, source = about.chosen, about.source
    settings = "".join(f", {k} {v}" for k, v in about.intervention["settings"].items())
    revision = f", revision {source.revision}" if source.revision else ""
    licences = sorted({f.name for f in source.directory.glob("LICEN[CS]E*")})
    return [
        ("base model", f"{about.base}{revision}"),
        ("its fingerprint", f"`{source.fingerprint}`"),
        (
            "its licence",
            ", ".join(f"[{name}]({name})" for name in licences)
            or "no licence file is among its files; its terms hold for this model too",
        ),
        *([("weights", "unpacked from GGUF to float32")] if about.unpacked else []),
        ("value, language", f"{chosen.value}, {chosen.language}"),
        ("neurons", f"{chosen.count:,} of {about.total:,}"),
        ("intervention", f"{about.intervention['name']}{settings}"),
        ("activation store", f"`{about.store_digest}`" if about.store_digest else "has no digest"),
        ("made by", f"vxdist {about.version}"),
    ]


def _claims(chosen: Chosen) -> list[str]:
    if not chosen.levels:
        return ["They are listed, and nothing is claimed of them: no test of them is in the store."]
    rows = [(level, f"{count:,}") for level, count in chosen.levels.items()]
    lines = [
        f"Each neuron by the highest claim that the tests of the score `{chosen.score}` allow, at "
        f"a false discovery rate of {chosen.fdr:g}. Whether these tests hold their level on this "
        "store, `vxstore null` says.",
        "",
        *_table(("highest claim", "neurons"), rows),
    ]
    if UNCLAIMED in chosen.levels:
        lines += ["", f"{UNCLAIMED}: the score neither lists the neuron nor claims anything of it."]
    return lines


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    lines = [head, ("---", "---"), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]


def _front_matter(about: About) -> list[str]:
    """What the Hub reads of a card; a licence only if the base model's own card names one."""
    card = about.source.directory / CARD
    licence: list[str] = []
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        head = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
        licence = [f"{key}: {name.strip()}" for key, name in _LICENCE.findall(head)]
    on_hub = bool(about.source.revision)
    return [
        "---",
        "library_name: transformers",
        *([f"base_model: {about.base}"] if on_hub else []),
        *licence,
        "tags: [vxdist, ablation]",
        "---",
        "",
    ]
