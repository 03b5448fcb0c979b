"""`only_for` of a space: it embeds only samples that the main space has chosen.

space: small
spaces:
  small: {image: ..., text: ...}
  large: {image: ..., text: ..., only_for: kept}
  other: {image: ..., text: ..., only_for: {text_image_rank: {max: 0.4}}}
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from store.config.policy import ROW_OPERATORS, Policy

OPTION = "only_for"
KEPT = "kept"


def parse_only_for(
    space: Mapping[str, Any], main: str, towers: Mapping[str, Any]
) -> Literal["kept"] | Policy | None:
    """Which samples a space embeds, beside passing the prefilter.

    Args:
        space: its entry in `spaces`.
        main: the name of the main space.
        towers: the entry of the main space, for which limits of similarities must be made.

    Returns:
        `kept`: those that the decisions keep. A policy: also those that pass its rules for single
        samples. None: all.

    Raises:
        ValueError: the entry is neither, or has rules that look at more than one sample.
    """
    chosen = space.get(OPTION)
    if chosen is None or chosen == KEPT:
        return chosen
    allowed = f"{OPTION}: allowed are `{KEPT}`, or rules such as {{text_image_rank: {{max: 0.4}}}}"
    if not isinstance(chosen, Mapping) or not chosen:
        raise ValueError(f"{allowed}, not {chosen!r}")
    try:
        policy = Policy.model_validate(chosen)
    except ValidationError as error:
        raise ValueError(f"{OPTION}: {error.errors()[0]['msg']}") from None
    operators = {operator for rule in policy.rules.values() for operator, _ in rule.limits()}
    if set(policy.written()) != set(policy.rules) or not operators <= set(ROW_OPERATORS):
        raise ValueError(f"{allowed}, whose tests are {', '.join(ROW_OPERATORS)}")
    policy.check_space(main, towers)
    return policy
