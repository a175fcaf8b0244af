"""The networks of the mini Stable Diffusion: classes of diffusers and transformers as they are."""

from __future__ import annotations

from torch import nn

from course_lib.mini.config import IMAGE_SIZE, MAX_TOKENS, MiniConfig
from course_lib.schedules import NoiseSchedule

# The noise ends at alphas_cumprod = 2.5e-4 instead of Stable Diffusion's 4.7e-3. On a grid of
# 16 x 16 the mean of the noise is not small, so with the shorter schedule the brightness of the
# training image would leak through it, and sampling would start from noise unlike that of training.
BETA_START, BETA_END = 0.00085, 0.02


def build_vae(config: MiniConfig):
    """`AutoencoderTiny`, f = 8: (B, 3, H, W) <-> (B, C, H/8, W/8).

    No block works at full resolution, where four times the pixels cost four times the time: the
    encoder goes to half resolution at once, and the decoder leaves it by one linear step, as
    sub-pixel super-resolution does (arXiv:1609.05158). There are no norms, so colours are learned
    within minutes.
    """
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(config.vae_width,) * 4,
        decoder_block_out_channels=(config.vae_width,) * 4,
        num_encoder_blocks=config.vae_encoder_blocks,
        num_decoder_blocks=config.vae_decoder_blocks,
        latent_channels=config.latent_channels,
        scaling_factor=1.0,
    )


def build_unet(config: MiniConfig):
    """`UNet2DConditionModel` on 16 x 16 latents.

    Tokens enter by cross-attention at 8 x 8 and 4 x 4, as in Stable Diffusion. Besides, the whole
    prompt is pooled into one vector and added to the timestep embedding, as in DeepFloyd IF
    (``addition_embed_type="text"``): every block is conditioned on the prompt even before
    cross-attention has learned where to look.
    """
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.unet_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=config.text_width,
        # In this class the argument of that name is the number of heads
        attention_head_dim=config.unet_heads,
        norm_num_groups=config.unet_groups,
        addition_embed_type="text",
        addition_embed_type_num_heads=config.unet_pool_heads,
    )
    # The pooled prompt begins as a small correction of the timestep embedding, not as its equal
    nn.init.constant_(unet.add_embedding.norm2.weight, 0.1)
    return unet


def build_text_encoder(config: MiniConfig, tokenizer):
    """`CLIPTextModel`: (B, 77) token ids -> (B, 77, text_width) hidden states."""
    from transformers import CLIPTextConfig, CLIPTextModel

    settings = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.text_width,
        intermediate_size=config.text_inner,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=config.embedding,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(settings)


def noise_schedule() -> NoiseSchedule:
    """The schedule that the U-Net is trained on, which is that of `build_scheduler`."""
    return NoiseSchedule.scaled_linear(beta_start=BETA_START, beta_end=BETA_END)


def build_scheduler(prediction_type: str = "sample"):
    """DPM-Solver++(2M) on a scaled linear schedule.

    `prediction_type` is ``sample`` for a U-Net that predicts the clean latent, or ``v_prediction``.
    """
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        steps_offset=1,  # as the pipeline demands; without effect on trailing timesteps
    )
