"""Models of other shapes: SDXL's two text encoders in small, and SD 1.5 in its full size."""

from __future__ import annotations

import pytest
import torch

from course_lib.device import make_generator
from course_lib.memory import system_memory
from course_lib.pipelines import encode_prompt, load_pipeline, paint, paint_steps
from course_lib.pipelines.registry import SHIPPED

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(SHIPPED / "mini" / "tokenizer")


def text_config(tokenizer, width, **options):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=max(len(tokenizer), options.pop("vocab_size", 0)), hidden_size=width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, **options,
    )  # fmt: skip


def scheduler():
    from diffusers import PNDMScheduler

    return PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
        steps_offset=1,
    )  # fmt: skip


def small_xl(tokenizer):
    """SDXL's structure with channels for a second of computing."""
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    small = {"intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = text_config(tokenizer, 32, projection_dim=32, hidden_act="gelu", **small)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=(2, 4),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=64,
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = StableDiffusionXLPipeline(
        vae=vae, text_encoder=CLIPTextModel(config), unet=unet, tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(config), tokenizer_2=tokenizer,
        scheduler=scheduler(), add_watermarker=False,
    )  # fmt: skip
    for part in (vae, unet, pipe.text_encoder, pipe.text_encoder_2):
        part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("negative", ["hat", ""])
def test_sdxl_is_painted_as_the_stock_pipeline_does(tokenizer, negative):
    pipe = load_pipeline(small_xl(tokenizer), "cpu", verbose=False)
    assert pipe.course_report.settings.scheduler == "dpmpp_2m"  # PNDM needs twice the steps
    stock = pipe(
        "an old man", negative_prompt=negative or None, num_inference_steps=3, guidance_scale=4.0,
        generator=make_generator(5), output_type="latent",
    ).images  # fmt: skip
    *_, last = paint_steps(pipe, "an old man", negative_prompt=negative, seed=5, steps=3,
                           guidance=4.0)  # fmt: skip
    torch.testing.assert_close(last.latents_next, stock, atol=1e-3, rtol=1e-3)
    assert encode_prompt(pipe, "a (man:1.2)", "")[0].shape == (1, 77, 64)
    images = paint("an old man", pipe, n=2, steps=2)
    assert [image.size for image in images] == [(16, 16)] * 2


def fill_with_noise(module):
    """Random weights by copying one block of noise again and again: seconds, not minutes."""
    noise = torch.randn(2**20, generator=make_generator(0)) * 0.02
    for name, parameter in module.named_parameters():
        flat = parameter.data.view(-1)
        if "norm" in name:
            flat.fill_(float(name.endswith("weight")))
            continue
        for start in range(0, len(flat), len(noise)):
            part = flat[start : start + len(noise)]
            part.copy_(noise[: len(part)])


def build(cls, config):
    """A network of the given configuration in 16 bit, without the usual slow initialisation."""
    with torch.device("meta"):
        module = cls.from_config(config) if hasattr(cls, "from_config") else cls(config)
    module = module.bfloat16().to_empty(device="cpu").eval()
    fill_with_noise(module)
    embeddings = [m for m in module.modules() if hasattr(m, "position_ids")]
    for part in embeddings:  # a buffer, which to_empty leaves without values
        part.position_ids.copy_(torch.arange(part.position_ids.shape[-1])[None])
    return module


@pytest.mark.skipif(
    0 < system_memory() < 6 * 2**30, reason="SD 1.5 in 16 bit takes 3 GB; less than 6 are here"
)
def test_sd15_in_full_size_paints(tokenizer):
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = build(UNet2DConditionModel, {"sample_size": 64, "cross_attention_dim": 768})
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964  # as SD 1.5 has
    width = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    vae = build(AutoencoderKL, {
        **width, "down_block_types": ("DownEncoderBlock2D",) * 4, "latent_channels": 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "sample_size": 512,
    })  # fmt: skip
    config = text_config(
        tokenizer, 768, vocab_size=49408, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, projection_dim=768,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=build(CLIPTextModel, config), tokenizer=tokenizer, unet=unet,
        scheduler=scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    # Half the memory of the course's choice for most CPUs, float32: workers share what there is
    pipe = load_pipeline(pipe, "cpu", like="sd15", dtype="bfloat16", verbose=False)
    settings = pipe.course_report.settings
    assert (settings.size, settings.steps, settings.guidance) == (512, 25, 7.0)
    # 64 pixels: the weights are what is large, and every layer of them is used
    images = paint("a portrait of a woman", pipe, steps=2, size=64)
    assert images[0].size == (64, 64)
    assert "DPM++ 2M, Schedule type: Karras" in images[0].info["parameters"]
    assert len(images[0].getcolors(64 * 64)) > 1
