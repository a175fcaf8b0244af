"""The parts of the mini Stable Diffusion, built from diffusers' and transformers' own classes."""

from __future__ import annotations

from torch import nn

from course_lib.mini.config import IMAGE_SIZE, MAX_TOKENS, MiniSizes
from course_lib.schedules import NoiseSchedule

# The noise ends at abar = 2.5e-4 instead of Stable Diffusion's 4.7e-3. On a grid of 16 x 16 the
# mean of the noise is not small, so with the shorter schedule the brightness of the training
# picture would leak through it, and sampling from pure noise would start in the wrong place.
BETA_START, BETA_END = 0.00085, 0.02


def build_vae(sizes: MiniSizes):
    """`AutoencoderTiny`, f = 8: (B, 3, H, W) <-> (B, C, H/8, W/8).

    No block works at the full size, where four times the pixels cost four times the time: the
    encoder goes to half size at once, the decoder leaves it by one linear step, as networks for
    super-resolution do (arXiv:1609.05158). Without norms, colours are learned in minutes.
    """
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(sizes.vae_width,) * 4,
        decoder_block_out_channels=(sizes.vae_width,) * 4,
        num_encoder_blocks=sizes.vae_encoder_blocks,
        num_decoder_blocks=sizes.vae_decoder_blocks,
        latent_channels=sizes.latent_channels,
        scaling_factor=1.0,
    )


def build_unet(sizes: MiniSizes):
    """`UNet2DConditionModel` on 16 x 16 latents.

    Words enter by cross-attention at 8 x 8 and 4 x 4, as in Stable Diffusion. Besides, the whole
    prompt is summed up in one vector and added to the timestep's, as DeepFloyd IF does
    (`addition_embed_type="text"`): every block then knows of the hat, also before cross-attention
    has learned where to look.
    """
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        block_out_channels=sizes.unet_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=sizes.text_width,
        # In this class the argument of that name is the number of heads
        attention_head_dim=sizes.unet_heads,
        norm_num_groups=sizes.unet_groups,
        addition_embed_type="text",
        addition_embed_type_num_heads=sizes.unet_pool_heads,
    )
    # Small at first: a network trained without the summary can be trained further with it
    nn.init.constant_(unet.add_embedding.norm2.weight, 0.1)
    return unet


def build_text_encoder(sizes: MiniSizes, tokenizer):
    """`CLIPTextModel`: (B, 77) token ids -> (B, 77, width) hidden states."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.text_width,
        intermediate_size=sizes.text_inner,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=sizes.embedding,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def noise_schedule() -> NoiseSchedule:
    """The schedule that the U-Net is trained on, which is that of `build_scheduler`."""
    return NoiseSchedule.scaled_linear(beta_start=BETA_START, beta_end=BETA_END)


def build_scheduler():
    """DPM-Solver++(2M) on a scaled linear schedule, for a model that predicts v."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,  # as the pipeline demands; without effect on trailing timesteps
    )
