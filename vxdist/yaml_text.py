"""YAML that may be a stranger's: plain data only, of bounded size, however its aliases multiply."""

from typing import Any

import yaml

LONGEST = 256 << 10
"""Characters: pyyaml reads some 50,000 a second."""
MOST_ITEMS = 100_000
"""Items once all aliases are followed."""


class NotYaml(ValueError):
    """What is wrong with a text, in one line."""


def load_yaml(text: str) -> Any:
    """The plain data of a YAML document. Raises NotYaml."""
    if len(text) > LONGEST:
        raise NotYaml(f"holds {len(text):,} characters, expected at most {LONGEST:,}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return None
        if _count(root, {}) > MOST_ITEMS:
            raise NotYaml(
                f"holds more than {MOST_ITEMS:,} items once its aliases (*NAME) are followed; "
                "expected plain settings"
            )
        return yaml.safe_load(text)
    except RecursionError as error:
        raise NotYaml("not YAML that can be read: nested too deeply") from error
    except NotYaml:
        raise
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise NotYaml(f"not YAML: {' '.join(str(error).split())}") from error


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Items of a node, each alias counted as what it stands for."""
    if id(node) not in known:
        known[id(node)] = MOST_ITEMS + 1  # of one that holds itself
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [item for pair in node.value for item in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        known[id(node)] = 1 + sum(_count(item, known) for item in inner)
    return known[id(node)]
