import re

import pytest

from sepme.core.backend import CROSS_ATTN_KV


@pytest.mark.parametrize(
    ("module", "matches"),
    [
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", True),
        ("mid_block.attentions.0.transformer_blocks.0.attn2.to_v", True),
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k", False),
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q", False),
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A", False),
    ],
)
def test_default_target_modules(module: str, matches: bool) -> None:
    assert bool(re.fullmatch(CROSS_ATTN_KV, module)) is matches
