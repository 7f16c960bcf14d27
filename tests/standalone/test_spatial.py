"""What the image model's parts compute, against transformers and diffusers called directly."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from transformers import CLIPTokenizerFast

from animatediff_ext.motion import IMAGE_SCHEDULE
from animatediff_ext.params import Animation
from animatediff_ext.standalone import Conditioning, load_spatial_model
from animatediff_ext.standalone.sampling import SAMPLERS, animate, seeded_frames
from animatediff_ext.standalone.spatial import FRAMES_AT_ONCE
from tests.command_line import python
from tests.models.spatial import vae, write_file

LONG = "red cat " * 60  # 120 tokens


def ids_of(model, text, pad):
    """One prompt as one row of 77 ids, padded by hand."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [model.tokenizer.bos_token_id, *ids, model.tokenizer.eos_token_id]
    return torch.tensor([ids + [pad] * (77 - len(ids))])


# text


def test_sd15_text_is_the_last_layer_through_the_final_norm(loaded):
    model = loaded["SD 1.5"]
    ids = ids_of(model, "a red cat!", model.tokenizer.eos_token_id)
    expected = model.text_encoders[0](ids).last_hidden_state
    torch.testing.assert_close(model.encode_text(["a red cat!"]).tokens, expected)


def test_clip_skip_2_is_the_layer_before_the_last_through_the_final_norm(loaded):
    model = loaded["SD 1.5"]
    encoder = model.text_encoders[0]
    ids = ids_of(model, "a red cat", model.tokenizer.eos_token_id)
    expected = encoder.text_model.final_layer_norm(encoder(ids, output_hidden_states=True).hidden_states[-2])
    torch.testing.assert_close(model.encode_text(["a red cat"], clip_skip=2).tokens, expected)


@pytest.mark.parametrize("clip_skip", [0, 4])
def test_a_clip_skip_beyond_the_layers_says_what_there_is(clip_skip, loaded):
    with pytest.raises(ValueError, match=rf"^Clip skip is {clip_skip}: give a whole number from 1 to 3.$"):
        loaded["SD 1.5"].encode_text(["a"], clip_skip=clip_skip)


def test_sdxl_text_is_the_layer_before_the_last_of_both_encoders_and_the_projection_of_the_second(loaded):
    model = loaded["SDXL"]
    prompts = ["a red cat!", "dog"]
    first = torch.cat([ids_of(model, prompt, model.tokenizer.eos_token_id) for prompt in prompts])
    second = torch.cat([ids_of(model, prompt, 0) for prompt in prompts])
    outputs = [
        encoder(ids, output_hidden_states=True)
        for encoder, ids in zip(model.text_encoders, (first, second), strict=True)
    ]
    actual = model.encode_text(prompts)
    torch.testing.assert_close(actual.tokens, torch.cat([output.hidden_states[-2] for output in outputs], dim=-1))
    end = [len(model.tokenizer(prompt)["input_ids"]) - 1 for prompt in prompts]
    pooled = outputs[1].last_hidden_state[[0, 1], end] @ model.text_encoders[1].text_projection.weight.T
    torch.testing.assert_close(actual.pooled, pooled)


def test_long_prompts_are_chunks_that_are_encoded_one_by_one(spatial):
    both = spatial.encode_text([LONG, "dog"])
    assert both.tokens.shape[:2] == (2, 2 * 77)
    words = LONG.split()  # a token each
    expected = spatial.encode_text([" ".join(words[:75]), " ".join(words[75:]), "dog", ""])
    parts = expected.tokens
    torch.testing.assert_close(both.tokens[0], torch.cat([parts[0], parts[1]]))
    torch.testing.assert_close(both.tokens[1], torch.cat([parts[2], parts[3]]))
    if both.pooled is not None:
        torch.testing.assert_close(both.pooled, expected.pooled[[0, 2]])


@pytest.mark.parametrize(("num_words", "num_chunks"), [(0, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_a_chunk_holds_75_tokens(num_words, num_chunks, loaded):
    assert loaded["SD 1.5"].encode_text(["cat " * num_words]).tokens.shape == (1, 77 * num_chunks, 64)


def test_rows_repeat_stream_by_stream():
    conditioning = Conditioning(torch.arange(2.0).view(2, 1, 1), torch.arange(2.0).view(2, 1))
    repeated = conditioning.repeat_frames(3)
    assert repeated.tokens.flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert repeated.pooled.flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert repeated.row(4).tokens.tolist() == [[[1]]]
    assert [part.tokens.flatten().tolist() for part in repeated.split(4)] == [[0, 0, 0, 1], [1, 1]]
    joined = Conditioning.cat([repeated.row(5), repeated.row(0)])
    assert joined.tokens.flatten().tolist() == joined.pooled.flatten().tolist() == [1, 0]
    assert repeated.to(dtype=torch.float16).tokens.dtype == repeated.to(dtype=torch.float16).pooled.dtype


def test_prompts_of_different_lengths_cannot_be_joined(loaded):
    parts = [loaded["SD 1.5"].encode_text([text]) for text in (LONG, "a")]
    with pytest.raises(ValueError, match=r"^Prompts of \[77, 154\] tokens cannot be joined: encode them in one call.$"):
        Conditioning.cat(parts)


# pictures


def test_frames_have_the_moments_of_the_vae_times_the_scale(spatial):
    pixels = torch.rand(FRAMES_AT_ONCE + 2, 3, 32, 48) * 2 - 1
    mean, std = spatial.encode_frames(pixels)
    posterior = spatial.vae.encode(pixels).latent_dist
    assert mean.shape == (FRAMES_AT_ONCE + 2, 4, 4, 6)
    torch.testing.assert_close(mean, posterior.mean * spatial.latent_scale)
    torch.testing.assert_close(std, posterior.std * spatial.latent_scale)


def test_decoded_frames_are_pixels_one_after_the_other(spatial):
    latents = torch.randn(3, 4, 4, 6)
    frames = spatial.decode(latents)
    assert iter(frames) is frames
    frames = list(frames)
    assert [(frame.shape, frame.dtype) for frame in frames] == [((32, 48, 3), np.uint8)] * 3
    expected = spatial.vae.decode(latents / spatial.latent_scale).sample.detach()
    for frame, pixels in zip(frames, expected, strict=True):
        levels = ((pixels.permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
        assert np.abs(frame - levels).max() < 0.501


# predictions


def test_gradients_flow_through_a_prediction_and_nothing_else(spatial):
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    conditioning = spatial.encode_text(["a", "b"])
    assert not conditioning.tokens.requires_grad
    spatial.predict(x, torch.tensor([1, 500]), conditioning).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in spatial.unet.parameters())
    assert not spatial.encode_frames(torch.rand(1, 3, 32, 32, requires_grad=True))[0].requires_grad


def test_a_half_precision_model_answers_in_the_dtype_that_it_is_asked_in(models, loaded):
    half = load_spatial_model(models["SDXL"][1], dtype=torch.bfloat16)
    x, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([1, 500])
    answer = half.predict(x, timesteps, half.encode_text(["a", "b"]))
    assert answer.dtype == torch.float32
    expected = loaded["SDXL"].predict(x, timesteps, loaded["SDXL"].encode_text(["a", "b"]))
    torch.testing.assert_close(answer, expected, rtol=0.1, atol=0.1)


def test_a_prediction_runs_under_autocast(spatial):
    with torch.autocast("cpu", torch.bfloat16):
        answer = spatial.predict(torch.randn(1, 4, 8, 8), torch.tensor([5]), spatial.encode_text(["a"]))
    assert answer.isfinite().all()


def pipeline_of(model, scheduler):
    """Diffusers' own pipeline around the same networks."""
    vocabulary = model.tokenizer.backend_tokenizer
    tokenizers = [
        CLIPTokenizerFast(tokenizer_object=vocabulary, model_max_length=77, pad_token=pad)
        for pad in (model.tokenizer.eos_token, "!")
    ]
    shared = {
        "vae": model.vae,
        "unet": model.unet,
        "scheduler": scheduler,
        "text_encoder": model.text_encoders[0],
        "tokenizer": tokenizers[0],
    }
    if model.base == "SD 1.5":
        return StableDiffusionPipeline(**shared, safety_checker=None, feature_extractor=None)
    return StableDiffusionXLPipeline(**shared, text_encoder_2=model.text_encoders[1], tokenizer_2=tokenizers[1])


@pytest.mark.parametrize("negative", ["dog", ""])
def test_stills_are_those_of_diffusers_own_pipeline(spatial, negative):
    """Text, added conditions, guidance and sampling, all at once, against code that shares none of ours."""
    animation = Animation(num_frames=2)
    settings = {"width": 64, "height": 48, "num_steps": 4, "cfg": 3.0, "seed": 7, "sampler": "Euler"}
    actual = animate(spatial, None, prompt="a red cat", negative=negative, animation=animation, **settings)
    pipeline = pipeline_of(spatial, SAMPLERS["Euler"](IMAGE_SCHEDULE, "epsilon"))
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        ["a red cat"] * 2,
        negative_prompt=[negative] * 2 if negative else None,
        width=64,
        height=48,
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=seeded_frames(7, 2, (4, 6, 8))[0],
        output_type="latent",
    ).images
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


# fingerprints


def test_fingerprints_are_the_same_in_another_process(models, loaded):
    code = (
        "import sys; from animatediff_ext.standalone import load_spatial_model; m = load_spatial_model(sys.argv[1]); "
        "print(m.text_fingerprint, m.vae_fingerprint)"
    )
    printed = python("-c", code, models["SD 1.5"][0], variables={"PYTHONHASHSEED": "1"}).stdout.split()
    assert printed == [loaded["SD 1.5"].text_fingerprint, loaded["SD 1.5"].vae_fingerprint]


def test_fingerprints_tell_weights_and_scales_apart(loaded, tmp_path):
    changed = vae(0.18215)
    with torch.no_grad():
        changed.decoder.conv_out.bias[0] += 1e-3
    model = load_spatial_model(write_file(tmp_path / "changed.safetensors", "SD 1.5", vae=changed))
    other = loaded["SD 1.5"]
    assert model.text_fingerprint == other.text_fingerprint != loaded["SDXL"].text_fingerprint
    assert model.vae_fingerprint != other.vae_fingerprint != loaded["SDXL"].vae_fingerprint
