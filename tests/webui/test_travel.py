"""Prompts that travel: what the UNet is told of every frame follows the formula, whatever else is in the prompt."""

import re

import pytest
import torch

from animatediff_ext.travel import BLENDS, parse_travel
from tests.webui.generations import script
from tests.webui.host import NUM_FRAMES


@pytest.fixture
def seen(host, monkeypatch):
    """Conditioning of every call of the denoiser: the prompt's rows and the negative's, as the WebUI would use them."""
    found = []
    original = host.callbacks.call

    def call(name, *args):
        original(name, *args)
        if name == "cfg_denoiser":
            found.append((args[0].text_cond.clone(), args[0].text_uncond.clone()))
            host.conds = args[0].denoiser.sampler.conds[0]

    monkeypatch.setattr(host.callbacks, "call", call)
    return found


def encode(host, text):
    return host.module("prompt_parser").encode(text)


def between(host, first, last, share, blend="slerp"):
    return BLENDS[blend](encode(host, first), encode(host, last), share)


TRAVELLING = "0: a cat\n4: a dog"
SHARES = [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("blend", BLENDS)
def test_every_frame_is_told_its_share(host, seen, blend, unchanged):
    host.generate({"prompt_blend": blend}, prompt=TRAVELLING)
    for cond, uncond in seen[-2:]:
        for row, share in zip(cond, SHARES, strict=True):
            torch.testing.assert_close(row, between(host, "a cat", "a dog", share, blend))
        torch.testing.assert_close(uncond, encode(host, "blue").expand(NUM_FRAMES, -1, -1))


def test_a_key_for_all_frames_is_the_prompt_alone(host):
    same = [picture.tobytes() for picture in host.generate({}, prompt="a cat").images]
    assert [picture.tobytes() for picture in host.generate({}, prompt="0: a cat").images] == same


def test_the_negative_prompt_travels_too(host, seen):
    host.generate({}, negative_prompt=TRAVELLING)
    cond, uncond = seen[-1]
    torch.testing.assert_close(cond, encode(host, "a cat").expand(NUM_FRAMES, -1, -1))
    for row, share in zip(uncond, SHARES, strict=True):
        torch.testing.assert_close(row, between(host, "a cat", "a dog", share))


def test_editing_stays_alive(host, seen):
    """``[a:b:0.5]`` changes half way, in the key and in every frame that it has a share in."""
    host.generate({}, prompt="0: [cat:fish:0.5]\n4: a dog", steps=4)
    for step, (cond, _) in enumerate(seen[-4:]):
        word = "cat" if step <= 2 else "fish"
        for row, share in zip(cond, SHARES, strict=True):
            torch.testing.assert_close(row, between(host, word, "a dog", share))


def test_and_has_as_many_parts_and_weights_between(host, seen):
    host.generate({}, prompt="0: a cat AND a tree :0.5\n4: a dog AND a house :1.5")
    cond, _ = seen[-1]
    assert len(cond) == 2 * NUM_FRAMES
    for frame, share in enumerate(SHARES):
        torch.testing.assert_close(cond[2 * frame], between(host, "a cat", "a dog", share))
        torch.testing.assert_close(cond[2 * frame + 1], between(host, "a tree", "a house", share))
    assert host.conds.shape == (NUM_FRAMES,)  # to which DDIM and PLMS look
    assert [parts[1].weight for parts in host.conds.batch] == pytest.approx([0.5, 0.75, 1.0, 1.25])


def test_keys_with_another_number_of_parts_are_refused(host):
    with pytest.raises(host.error, match="1 and 2 parts joined by AND"):
        host.generate({}, prompt="0: a cat AND a tree\n4: a dog")


def test_prompts_of_any_length_are_blended(host, seen):
    long = " ".join(f"word{i}" for i in range(12))
    host.generate({}, prompt=f"0: a cat\n4: {long}", negative_prompt="blue")
    cond, uncond = seen[-1]
    assert cond.shape == uncond.shape == (NUM_FRAMES, 6, 32)
    filled = torch.cat([encode(host, "a cat"), encode(host, "")])
    torch.testing.assert_close(cond[0], filled)
    torch.testing.assert_close(cond[2], BLENDS["slerp"](filled, encode(host, long), 0.5))


def test_lines_before_and_behind_are_in_every_prompt(host, seen):
    host.generate({}, prompt="red\n0: cat\n4: dog\nsoft")
    torch.testing.assert_close(seen[-1][0][2], between(host, "red, cat, soft", "red, dog, soft", 0.5))


@pytest.mark.parametrize(
    ("style", "whole"), [("art", "{}, art"), ("art of {prompt} in oil", "art of {} in oil"), ("", "{}")]
)
def test_styles_stand_around_the_whole_prompt(host, seen, style, whole):
    host.shared.prompt_styles.styles["mine"] = (style, "")
    host.generate({}, prompt=TRAVELLING, styles=["mine"])
    expected = between(host, whole.format("a cat"), whole.format("a dog"), 0.5)
    torch.testing.assert_close(seen[-1][0][2], expected)


def test_styles_that_another_script_has_changed_are_left_alone(host, seen):
    host.shared.prompt_styles.styles["mine"] = ("in __place__", "")

    def process(p, *_):
        p.all_prompts = [text.replace("__place__", "Paris") for text in p.all_prompts]

    host.generate({}, prompt="0: cat\n4: dog", styles=["mine"], scripts=[script(host, process=process)])
    torch.testing.assert_close(seen[-1][0][2], between(host, "cat", "dog, in Paris", 0.5))


def test_styles_of_the_hires_prompt_stand_around_it_too(host, seen):
    host.shared.prompt_styles.styles["mine"] = ("art", "")
    hires = {"enable_hr": True, "hr_second_pass_steps": 1, "hr_prompt": TRAVELLING}
    host.generate({}, prompt="a bird", styles=["mine"], **hires)
    torch.testing.assert_close(seen[-1][0][2], between(host, "a cat, art", "a dog, art", 0.5))


def test_a_lora_in_every_key_is_one_lora(host):
    """The WebUI adds a network as often as its tag stands in the prompt."""
    known = []

    def process_batch(p, *_, **__):
        known.append([network.items for network in p.extra_network_data["lora"]])

    prompt = "0: a cat <lora:x:0.5>\n2: a dog <lora:x:0.5>\n<lora:y:1>"
    host.generate({}, prompt=prompt, scripts=[script(host, process_batch=process_batch)])
    assert known == [[["x", "0.5"], ["y", "1"]]]


def test_in_a_prompt_that_stays_tags_are_the_webuis_affair(host):
    known = []

    def process_batch(p, *_, **__):
        known.append([network.items for network in p.extra_network_data["lora"]])

    prompt = "a cat <lora:x:0.5> <lora:x:0.2>"
    host.generate({}, prompt=prompt, scripts=[script(host, process_batch=process_batch)])
    assert known == [[["x", "0.5"], ["x", "0.2"]]]


def test_a_closed_loop_closes_the_prompt(host, seen):
    host.generate({"closed_loop": "R+P", "video_length": 8}, prompt=TRAVELLING)
    torch.testing.assert_close(seen[-1][0][6], between(host, "a cat", "a dog", 0.5))


def test_the_hires_pass_travels_as_well_and_its_own_prompt_may(host, seen):
    hires = {"enable_hr": True, "hr_second_pass_steps": 1}
    host.generate({}, prompt=TRAVELLING, **hires)
    torch.testing.assert_close(seen[-1][0][2], between(host, "a cat", "a dog", 0.5))
    host.generate({}, prompt="a bird", hr_prompt="0: a fish\n4: a dog", **hires)
    torch.testing.assert_close(seen[-1][0][2], between(host, "a fish", "a dog", 0.5))
    torch.testing.assert_close(seen[-2][0][2], encode(host, "a bird"))


def test_every_video_of_a_request_travels(host, seen):
    host.generate({}, prompt=TRAVELLING, n_iter=2)
    for cond, _ in (seen[0], seen[-1]):
        torch.testing.assert_close(cond[2], between(host, "a cat", "a dog", 0.5))


def test_a_list_of_prompts_travels_too(host, seen):
    """Other scripts make one; the old extension took no keys from it."""
    host.generate({}, prompt=["a bird", TRAVELLING])
    torch.testing.assert_close(seen[0][0][2], encode(host, "a bird"))
    torch.testing.assert_close(seen[-1][0][2], between(host, "a cat", "a dog", 0.5))


def test_sdxls_vector_goes_along_the_line_so_that_sizes_stay(host):
    """The pooled text and the sizes of the picture are one row."""
    frames = host.webui("travel")._frames
    parser = host.module("prompt_parser")
    travel = parse_travel("0: a\n4: b", num_frames=4)
    random = torch.Generator().manual_seed(0)
    sizes = torch.tensor([512.0, 512.0, 0.0])
    conds = [
        [
            parser.ScheduledPromptConditioning(
                9,
                {
                    "crossattn": torch.randn(3, 32, generator=random),
                    "vector": torch.cat([torch.randn(5, generator=random), sizes]),
                },
            )
        ]
        for _ in travel.prompts
    ]
    found = [schedule[0].cond for schedule in frames(travel, conds, (BLENDS["slerp"], BLENDS["lerp"]))]
    first, last = conds[0][0].cond, conds[1][0].cond
    for cond, share in zip(found, SHARES, strict=True):
        torch.testing.assert_close(cond["vector"], torch.lerp(first["vector"], last["vector"], share))
        assert cond["vector"][5:].equal(sizes)
        torch.testing.assert_close(cond["crossattn"], BLENDS["slerp"](first["crossattn"], last["crossattn"], share))


def test_what_is_cached_is_what_was_encoded(host, seen):
    """The WebUI keeps conditioning from generation to generation; another blend of the same keys is another clip."""
    p = host.p({"prompt_blend": "slerp"}, prompt=TRAVELLING)
    host.run(p)
    again = host.p({"prompt_blend": "lerp"}, prompt=TRAVELLING)
    again.cached_c, again.cached_uc = p.cached_c, p.cached_uc
    host.run(again)
    torch.testing.assert_close(seen[-1][0][2], between(host, "a cat", "a dog", 0.5, "lerp"))


def test_infotexts_have_the_prompt_as_it_was_written(host):
    processed = host.generate({}, prompt=TRAVELLING)
    assert processed.infotexts[0].startswith(TRAVELLING)


def test_the_api_tells_what_each_frame_was_told(host):
    processed = host.run(host.p({}, prompt=TRAVELLING, is_api=True))
    told = processed.extra_generation_params["AnimateDiff travel"]
    assert told == {
        "prompt": [
            {"a cat": 1.0},
            {"a cat": 0.75, "a dog": 0.25},
            {"a cat": 0.5, "a dog": 0.5},
            {"a cat": 0.25, "a dog": 0.75},
        ]
    }
    assert "AnimateDiff travel" not in host.run(host.p({}, is_api=True)).extra_generation_params


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("0: a cat\n2 = a dog", "Line 2 (2 = a dog) looks like a key"),
        ("0: a cat\n40: a dog", "at frame 40, but the last frame is 3"),
        ("0: a cat\n2: a dog\n2: a fish", "Line 3 is a second key for frame 2: the later one counts"),
        ("0: a cat <lora:x:1>\n2: a dog", "<lora:x:1> stands in some keys only"),
    ],
)
def test_what_may_be_meant_otherwise_is_said(host, prompt, words):
    p = host.p({}, prompt=prompt)
    host.run(p)
    assert any(words in comment for comment in p.comments)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("0: a\n2 smoth: b", "perhaps smooth"),
        ("0: a <lora:x:0->1>", "<lora:x:0->1> is to travel, but a LoRA has one weight"),
        ("0: a <lora:x:0.2>\n2: b <lora:x:1>", "x stands in the prompt with 0.2 and with 1"),
    ],
)
def test_what_cannot_be_is_one_sentence(host, prompt, words, unchanged):
    with pytest.raises(host.error, match=words):
        host.generate({}, prompt=prompt)


def test_with_animatediff_off_keys_are_plain_text(host, seen):
    host.generate(prompt=TRAVELLING)
    torch.testing.assert_close(seen[-1][0][0], encode(host, TRAVELLING))


def test_the_request_is_as_it_was_afterwards(host):
    p = host.p({}, prompt=TRAVELLING)
    before = p.get_conds_with_caching
    host.run(p)
    assert p.get_conds_with_caching == before
    assert "get_conds_with_caching" not in vars(p)


def test_wildcards_make_a_travelling_prompt_of_their_own(host, seen):
    """Scripts that write prompts do so in *process*, after the settings were read."""

    def process(p, *_):
        p.all_prompts = ["0: a fish\n4: a bird"] * len(p.all_prompts)

    host.generate({}, prompt="__animal__", scripts=[script(host, process=process)])
    torch.testing.assert_close(seen[-1][0][2], between(host, "a fish", "a bird", 0.5))


@pytest.mark.parametrize("style", ["art <lora:x:1>", "<lora:x:1> art, {prompt}", "<lora:x:1>"])
def test_a_style_may_bring_a_lora(host, seen, style):
    host.shared.prompt_styles.styles["mine"] = (style, "")
    p = host.p({}, prompt=TRAVELLING, styles=["mine"])
    host.run(p)
    around = host.shared.prompt_styles.apply_styles_to_prompt
    whole = [re.sub("<.*?>", "", around(text, ["mine"])).strip() for text in ("a cat", "a dog")]
    torch.testing.assert_close(seen[-1][0][2], between(host, *whole, 0.5))
    assert not any("some keys only" in comment for comment in p.comments)


def test_tags_may_stand_in_front_of_a_key(host, seen):
    known = []

    def process_batch(p, *_, **__):
        known.append([network.items for network in p.extra_network_data["lora"]])

    prompt = "<lora:x:1> 0: a cat\n<lora:x:1> 4: a dog"
    host.generate({}, prompt=prompt, scripts=[script(host, process_batch=process_batch)])
    assert known == [[["x", "1"]]]
    torch.testing.assert_close(seen[-1][0][2], between(host, "a cat", "a dog", 0.5))


def test_a_lora_in_the_keys_of_the_hires_prompt_alone_is_one_lora(host):
    known = []

    def process_batch(p, *_, **__):
        known.append([network.items for network in p.hr_extra_network_data["lora"]])

    hires = {"enable_hr": True, "hr_second_pass_steps": 1, "hr_prompt": "0: a cat <lora:x:1>\n2: a dog <lora:x:1>"}
    host.generate({}, prompt="a bird", scripts=[script(host, process_batch=process_batch)], **hires)
    assert known == [[["x", "1"]]]


def test_weights_may_travel_behind_the_tag_of_a_lora(host):
    assert host.generate({}, prompt="0: a cat <lora:x:0.5> (smile:0->1.2), (frown:1->0)\n2: a dog <lora:x:0.5>")
