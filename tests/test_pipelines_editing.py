"""Editing pictures: against diffusers' pipelines and schedulers, and bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from test_pipelines_models import small_xl

import course_lib as cl
from course_lib.__main__ import main
from course_lib.device import make_generator
from course_lib.pipelines import load_pipeline, load_settings, make_scheduler, repaint, save_png
from course_lib.pipelines.editing import align_tokens, prepare_image, prepare_mask
from course_lib.pipelines.editing.img2img import from_image
from course_lib.pipelines.editing.inpainting import blended, feathered, latent_mask
from course_lib.pipelines.prompts import encode
from course_lib.pipelines.sampling import settings_for

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PROMPT = "a watercolor of a woman with red hair"


@pytest.fixture(scope="module")
def pipe():
    pipe = load_pipeline("mini", "cpu", verbose=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def portrait(pipe):
    return cl.paint(PROMPT, pipe, seed=1)[0]


@pytest.fixture(scope="module")
def small_sd(pipe):
    """Stable Diffusion 1.5's structure in small: an autoencoder that samples, 4 channels, eps."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=4,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=pipe.text_encoder.config.hidden_size,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    small = StableDiffusionPipeline(
        vae.eval(), pipe.text_encoder, pipe.tokenizer, unet.eval(), scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    small.set_progress_bar_config(disable=True)
    return load_pipeline(small, "cpu", verbose=False)


def stock(name, pipe, scheduler):
    import diffusers

    parts = {**pipe.components, "scheduler": make_scheduler(scheduler, pipe.scheduler)}
    other = getattr(diffusers, name)(**parts, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    return other


def last_latents(walk, pipe, settings, seeds):
    return [*walk(pipe, encode(pipe, [PROMPT] * len(seeds)), seeds, settings)][-1].latents_next


def noise_picture(edge):
    pixels = np.random.default_rng(0).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("scheduler", ["dpmpp_2m", "dpmpp_2m_sde", "euler", "heun", "ddim"])
@pytest.mark.parametrize("model", ["mini", "small_sd"])
def test_image_to_image_is_the_stock_pipeline(request, pipe, portrait, model, scheduler):
    pipe = request.getfixturevalue("small_sd") if model == "small_sd" else pipe
    settings = settings_for(pipe, steps=4, guidance=3, scheduler=scheduler)
    image = portrait if model == "mini" else noise_picture(16)
    pixels = prepare_image(image, settings)
    other = stock("StableDiffusionImg2ImgPipeline", pipe, scheduler)
    expected = other(
        [PROMPT] * 2, image=pixels / 2 + 0.5, strength=0.7, num_inference_steps=4, guidance_scale=3,
        output_type="latent", generator=[make_generator(seed) for seed in (5, 6)],
    ).images  # fmt: skip
    ours = last_latents(from_image(pixels, 0.7), pipe, settings, [5, 6])
    assert torch.equal(ours, expected)


@pytest.mark.filterwarnings("ignore")
def test_image_to_image_is_the_stock_pipeline_for_sdxl(pipe):
    from diffusers import StableDiffusionXLImg2ImgPipeline

    large = load_pipeline(small_xl(pipe.tokenizer), "cpu", verbose=False)
    settings = settings_for(large, steps=4, guidance=3, scheduler="ddim")
    pixels = prepare_image(noise_picture(16), settings)
    parts = {**large.components, "scheduler": make_scheduler("ddim", large.scheduler)}
    other = StableDiffusionXLImg2ImgPipeline(**parts, add_watermarker=False)
    other.set_progress_bar_config(disable=True)
    expected = other(
        PROMPT, image=pixels / 2 + 0.5, strength=0.7, num_inference_steps=4, guidance_scale=3,
        generator=make_generator(5), output_type="latent",
    ).images  # fmt: skip
    ours = last_latents(from_image(pixels, 0.7), large, settings, [5])
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_inpainting_is_the_stock_pipeline_for_four_channels(small_sd, strength):
    settings = settings_for(small_sd, steps=5, guidance=3, scheduler="ddim")
    image, mask = noise_picture(16), Image.new("L", (16, 16))
    mask.paste(255, (2, 4, 10, 12))
    chosen, pixels = prepare_mask(mask, image, settings), prepare_image(image, settings)
    expected = stock("StableDiffusionInpaintPipeline", small_sd, "ddim")(
        PROMPT, image=image, mask_image=mask, strength=strength, num_inference_steps=5,
        guidance_scale=3, generator=make_generator(5), output_type="latent", height=16, width=16,
    ).images  # fmt: skip
    walk = blended(pixels, latent_mask(chosen, small_sd.vae_scale_factor), strength)
    assert torch.allclose(last_latents(walk, small_sd, settings, [5]), expected, atol=1e-5)


@pytest.mark.parametrize("feather", [0, 5, None])
def test_pixels_outside_the_mask_stay_to_the_bit(pipe, portrait, feather):
    mask = Image.new("L", (128, 128))
    mask.paste(255, (21, 3, 110, 45))  # not on the grid of the latents
    made = cl.inpaint(
        f"{PROMPT} and a crown", portrait, mask, model=pipe, feather=feather, steps=2, n=2
    )
    for image in made:
        kept = np.asarray(mask) == 0
        assert np.array_equal(np.asarray(image)[kept], np.asarray(portrait)[kept])
        inside = np.asarray(image)[~kept].astype(int) - np.asarray(portrait)[~kept]
        assert np.abs(inside).mean() > 5
    assert not np.array_equal(*made)


def test_the_feather_falls_off_inside_the_mask():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:, :] = 1
    soft = feathered(mask, 8)[0, 0, :, 20]
    assert not soft[:10].any() and (soft[18:] == 1).all()
    assert (soft[10:18].diff() > 0).all() and 0 < soft[10] < 0.2
    assert torch.equal(feathered(mask, 0), mask)
    assert torch.equal(feathered(torch.ones_like(mask), 8), torch.ones_like(mask))


def test_pictures_of_any_kind_are_read(pipe, portrait, tmp_path):
    settings = settings_for(pipe)
    plain = prepare_image(portrait, settings)
    assert plain.shape == (1, 3, 128, 128)
    with_alpha = portrait.copy()
    with_alpha.putalpha(255)
    assert torch.equal(prepare_image(with_alpha, settings), plain)
    deep = Image.fromarray(np.asarray(portrait.convert("L")).astype(np.uint16) * 257)
    gray = prepare_image(portrait.convert("L"), settings)
    assert torch.equal(prepare_image(deep, settings), gray)
    turned = portrait.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 270 degrees
    turned.save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(prepare_image(tmp_path / "turned.png", settings), plain)
    with pytest.warns(UserWarning, match="300 x 200 pixels is cut to its centre and resized"):
        wide = prepare_image(portrait.resize((300, 200)), settings)
    assert wide.shape == plain.shape
    with pytest.warns(UserWarning, match="256 x 256 pixels is resized to 128 x 128"):
        prepare_image(portrait.resize((256, 256)), settings)


def test_bad_input_is_explained(pipe, portrait, tmp_path):
    mask, text = Image.new("L", (128, 128), 255), tmp_path / "text.png"
    text.write_text("no picture")
    cases = [
        (ValueError, "strength 0.1 of 5 steps leaves no step", {"strength": 0.1}),
        (ValueError, "strength must be a number from 0 to 1, not 1.5", {"strength": 1.5}),
        (FileNotFoundError, "no file .*gone.png", {"image": tmp_path / "gone.png"}),
        (ValueError, "not a picture", {"image": text}),
        (TypeError, "PIL image or the path", {"image": 3}),
        (ValueError, "mask is 64 x 64 pixels, but the picture is 128 x 128",
         {"mask": mask.resize((64, 64))}),
        (ValueError, "mask is black everywhere", {"mask": Image.new("L", (128, 128))}),
        (ValueError, "mask is black everywhere", {"mask": Image.new("RGBA", (128, 128))}),
        (ValueError, "feather must be a whole number", {"mask": mask, "feather": -1}),
    ]  # fmt: skip
    for kind, says, given in cases:
        function = cl.inpaint if "mask" in given else cl.image_to_image
        with pytest.raises(kind, match=says):
            function(PROMPT, **{"image": portrait, "model": pipe} | given)
    with pytest.raises(ValueError, match="cross must be a number from 0 to 1"):
        cl.prompt_to_prompt(PROMPT, PROMPT, cross=2, model=pipe)
    with pytest.raises(ValueError, match="at most 75 tokens"):
        cl.prompt_to_prompt(PROMPT, "red hair " * 60, model=pipe)

    class Flux2KleinPipeline:
        components = {}  # noqa: RUF012

    for edit in (cl.image_to_image, cl.ddim_inversion):
        with pytest.raises(TypeError, match="not with Flux2KleinPipeline"):
            edit("a man", portrait, model=Flux2KleinPipeline())


def test_the_recipe_says_that_it_needs_the_picture_again(pipe, portrait, tmp_path):
    image = cl.image_to_image(PROMPT, portrait, strength=0.5, model=pipe, steps=2)[0]
    assert "Denoising strength: 0.5" in image.info["parameters"]
    path = save_png(image, tmp_path / "a.png")
    assert load_settings(path)["init_image"] is True
    with pytest.raises(ValueError, match="from another picture.*--init-image"):
        repaint(path, pipe)
    pair = cl.prompt_to_prompt(PROMPT, "a watercolor of a man", model=pipe, steps=1)
    with pytest.raises(ValueError, match="prompt_to_prompt"):
        repaint(pair[1], pipe)


def test_the_command_line_paints_from_a_picture(portrait, tmp_path, capsys):
    first, mask, out = (tmp_path / name for name in ("in.png", "mask.png", "out.png"))
    save_png(portrait, first)
    drawn = Image.new("L", (128, 128))
    drawn.paste(255, (0, 0, 128, 40))
    drawn.save(mask)
    paint = ["paint", PROMPT, "--steps", "2", "-o", str(out), "--init-image", str(first)]
    assert main([*paint, "--strength", "0.5"]) == 0
    again = ["paint", "--from-image", str(out), "-o", str(tmp_path / "again.png")]
    assert main(again) != 0
    assert "--init-image" in capsys.readouterr().err
    assert main([*again, "--init-image", str(first)]) == 0
    assert np.array_equal(Image.open(out), Image.open(tmp_path / "again.png"))
    assert main([*paint, "--mask", str(mask)]) == 0
    assert np.array_equal(np.asarray(Image.open(out))[40:], np.asarray(portrait)[40:])
    assert main(["paint", PROMPT, "--mask", str(mask)]) != 0
    assert "add --init-image FILE" in capsys.readouterr().err
    assert main([*paint, "--init-image", str(tmp_path / "gone.png")]) != 0
    assert "no file" in capsys.readouterr().err


def test_aligned_tokens_hand_their_attention_on():
    mapper, own = align_tokens([0, 1, 2, 3, 9, 9], [0, 1, 7, 8, 3, 9])  # one token became two
    assert mapper[2].tolist() == [0, 0, 0.5, 0.5, 0, 0]
    assert mapper[1].tolist() == [0, 1, 0, 0, 0, 0] and mapper[3].tolist() == [0, 0, 0, 0, 1, 0]
    assert not own.any()
    mapper, own = align_tokens([0, 1, 2, 9, 9, 9], [0, 1, 5, 2, 9, 9])  # one is new
    assert own.tolist() == [0, 0, 1, 0, 0, 0] and not mapper[:, 2].any()


def test_prompt_to_prompt_holds_what_it_should(pipe, portrait):
    before = dict(pipe.unet.attn_processors)
    same = cl.prompt_to_prompt(PROMPT, PROMPT, model=pipe, seed=1)
    # Rows of one batch may differ by rounding, so a pixel by one level
    assert np.abs(np.subtract(*(np.asarray(image).astype(int) for image in same))).max() <= 1
    assert np.abs(np.asarray(same[0]).astype(int) - np.asarray(portrait)).max() <= 2
    edited = PROMPT.replace("red", "black")
    alone = cl.prompt_to_prompt(PROMPT, edited, cross=0, self_attention=0, model=pipe, seed=1)[1]
    plain = cl.paint(edited, pipe, seed=1)[0]
    assert np.abs(np.asarray(alone).astype(int) - np.asarray(plain)).max() <= 2
    injected = cl.prompt_to_prompt(PROMPT, edited, model=pipe, seed=1)[1]
    assert not np.array_equal(injected, alone)
    assert pipe.unet.attn_processors == before


@pytest.mark.parametrize("model", ["mini", "small_sd"])
def test_inversion_is_the_stock_schedulers(request, pipe, portrait, model):
    from diffusers import DDIMInverseScheduler

    pipe = request.getfixturevalue("small_sd") if model == "small_sd" else pipe
    image = portrait if model == "mini" else noise_picture(16)
    found = cl.ddim_inversion(image, PROMPT, model=pipe, steps=5, first_step=True)
    assert found.latents.shape[0] == 6 and torch.equal(found.latents[5:], found.noise)
    stock = DDIMInverseScheduler.from_config(
        pipe.scheduler.config, set_alpha_to_one=False, clip_sample=False,
        timestep_spacing=make_scheduler("ddim", pipe.scheduler).config.timestep_spacing,
    )  # fmt: skip
    stock.set_timesteps(5)
    x, context = found.latents[:1], encode(pipe, PROMPT).prompt
    for t in stock.timesteps:
        with torch.no_grad():
            output = pipe.unet(x, t, encoder_hidden_states=context, return_dict=False)[0]
        x = stock.step(output, t, x, return_dict=False)[0]
    assert found.timesteps == stock.timesteps.tolist()
    torch.testing.assert_close(found.noise, x, rtol=1e-3, atol=1e-3)


def test_an_inverted_picture_comes_back(pipe, portrait):
    def error(**options):
        found = cl.ddim_inversion(portrait, PROMPT, model=pipe, steps=8, **options)
        back = cl.paint_steps(
            pipe, PROMPT, noise=found.noise, scheduler="ddim", steps=8, guidance=1
        )
        *_, last = back
        return float((last.latents_next - found.latents[0]).square().mean().sqrt())

    assert error(refine=2) < 0.7 * error() < 0.7 * error(first_step=True)


def test_no_notice_for_a_picture_of_the_right_size(pipe, portrait):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        cl.image_to_image(PROMPT, portrait, model=pipe, steps=1, strength=1.0)
