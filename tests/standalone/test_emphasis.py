"""Words weigh what the WebUI's users mean by their brackets."""

import pytest
import torch

from animatediff_ext.standalone.emphasis import weighed


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("unbalanced)", [("unbalanced)", 1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("(smile:0)", [("smile", 0)]),
        ("(a: b:1.5)", [("a: b", 1.5)]),
        ("(a:-.5)", [("a", -0.5)]),
        ("[less]", [("less", 1 / 1.1)]),
        ("([b:1.2])", [("b:1.2", 1)]),
        ("time 12:30", [("time 12:30", 1)]),
        ("", [("", 1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
    ],
)
def test_brackets_weigh_as_in_the_webui(prompt, expected):
    """Most of these are the cases that the WebUI's own parser documents."""
    found = weighed(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


def test_a_weight_multiplies_what_the_encoder_made_of_the_word(spatial):
    plain, heavy = (spatial.encode_text([text]).tokens[0] for text in ("red cat", "red (cat:1.5)"))
    # each of the encoders keeps its mean
    sizes = [encoder.config.hidden_size for encoder in spatial.text_encoders]
    for before, after in zip(plain.split(sizes, dim=-1), heavy.split(sizes, dim=-1), strict=True):
        expected = before.clone()
        expected[2] *= 1.5  # the start, red, cat
        expected *= before.mean() / expected.mean()
        torch.testing.assert_close(after, expected)


def test_weights_of_one_change_nothing(spatial):
    torch.testing.assert_close(spatial.encode_text(["red (cat:1)"]).tokens, spatial.encode_text(["red cat"]).tokens)


def test_the_pooled_vector_and_other_prompts_stay_what_they_are(loaded):
    rows = loaded["SDXL"].encode_text(["dog", "(cat:1.5)"])
    alone = loaded["SDXL"].encode_text(["dog"])
    torch.testing.assert_close(rows.tokens[:1], alone.tokens)
    torch.testing.assert_close(rows.pooled[1:], loaded["SDXL"].encode_text(["cat"]).pooled)


def test_in_a_long_prompt_the_chunk_counts(loaded):
    words = ["cat"] * 80
    plain = loaded["SD 1.5"].encode_text([" ".join(words)]).tokens[0]
    heavy = loaded["SD 1.5"].encode_text([" ".join([*words[:-1], "(cat:1.5)"])]).tokens[0]
    torch.testing.assert_close(heavy[:77], plain[:77])
    assert not torch.allclose(heavy[77:], plain[77:])
