"""What each stage minimises. A task holds the networks it trains and returns a scalar loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from course_lib.mini.data import UNSEEN
from course_lib.mini.emphasis import PERSON
from course_lib.mini.judge import scores_of
from course_lib.mini.principal import LARGEST
from course_lib.process import predict_x0_from_v, q_sample, velocity
from course_lib.schedules import NoiseSchedule

LATENT_NOISE = 0.01
SPREAD_WEIGHT = 1e-2
LARGEST_SNR = 5.0
NAMING_WEIGHT = 10.0  # naming the attributes is what the evaluation rests on
CRITIC_NOISE = 300  # timesteps: up to here there is more portrait than noise
# Helpers: at twice these weights, over 64 channels, their gradients left a grain in all pictures
CRITIC_WEIGHT = 0.05
ADVERSARIAL_WEIGHT = 0.0025


class VaeTask(nn.Module):
    """Reconstruct pictures through the latent: pixels, edges, and latents of a common scale.

    A little noise on the latent makes neighbouring latents mean neighbouring pictures, so that
    small errors of the denoiser stay small in the picture.
    """

    def __init__(self, vae: nn.Module):
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor) -> Tensor:
        z = self.vae.encode(x).latents
        x_hat = self.vae.decode(z + LATENT_NOISE * torch.randn_like(z)).sample
        return reconstruction_loss(x_hat, x) + SPREAD_WEIGHT * spread_loss(z)


def spread_loss(z: Tensor) -> Tensor:
    """How far latents have drifted: channels from mean 0, and the largest from its scale."""
    z = z.float()
    largest = z.std(dim=(0, 2, 3)).max()
    return z.mean(dim=(0, 2, 3)).square().mean() + (largest - LARGEST).square()


class DecoderTask(nn.Module):
    """Sharpen the decoder alone: the latents, and so everything learned on them, stay."""

    def __init__(self, vae: nn.Module):
        super().__init__()
        self.decoder = vae.decoder

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        z = z + LATENT_NOISE * torch.randn_like(z)
        return reconstruction_loss(self.decoder(z), x)


def reconstruction_loss(x_hat: Tensor, x: Tensor) -> Tensor:
    """Absolute and squared error of pixels, and absolute error of their differences.

    The differences are what a learner's eye goes by: without them, thin lines such as the rims of
    glasses cost little and are smoothed away.
    """
    x_hat = x_hat.float()
    error = x_hat - x
    edges = sum((error.diff(dim=axis)).abs().mean() for axis in (-1, -2))
    return error.abs().mean() + 4 * error.square().mean() + edges


class ClipTask(nn.Module):
    """Pictures and captions in one space (arXiv:2103.00020), and both able to name attributes.

    Captions leave things out: "a woman" fits half of all pictures, so the contrast alone teaches
    slowly. Naming the attributes, which the painter knows, teaches the towers what to look at.
    """

    def __init__(self, text_encoder: nn.Module, judge: nn.Module, words: nn.Module):
        super().__init__()
        self.text_encoder, self.judge, self.words = text_encoder, judge, words

    def forward(self, pixels: Tensor, ids: Tensor, seen: dict, said: dict) -> Tensor:
        pooled = self.text_encoder(ids).pooler_output
        judging = judge_loss(self.judge, pixels, pooled, seen)
        return judging + NAMING_WEIGHT * naming_loss(scores_of(self.words, pooled), said)


class JudgeTask(nn.Module):
    """The image tower alone, once the text encoder is finished and the U-Net depends on it."""

    def __init__(self, judge: nn.Module):
        super().__init__()
        self.judge = judge

    def forward(self, pixels: Tensor, pooled: Tensor, seen: dict) -> Tensor:
        return judge_loss(self.judge, pixels, pooled, seen)


class WordsTask(nn.Module):
    """The text encoder alone, once the judge is finished, and the U-Net's summary of a prompt.

    Both must be able to name all that a caption says. Left to the noise, the summary learns a hat
    only after every other thing that moves more pixels; taught beforehand, it hands the denoiser
    the hat from the first step.

    Parameters
    ----------
    text_encoder : Module
    summary : Module
        The U-Net's ``add_embedding``.
    heads, summary_heads : ModuleDict
        `words_heads` for the encoder's pooled output and for the summary.
    similarity : callable
        `Judge.similarity`, which is not trained.
    """

    def __init__(self, text_encoder, summary, heads, summary_heads, similarity):
        super().__init__()
        self.text_encoder, self.summary = text_encoder, summary
        self.heads, self.summary_heads = heads, summary_heads
        self.similarity = similarity

    def forward(self, ids: Tensor, features: Tensor, said: dict) -> Tensor:
        text = self.text_encoder(ids)
        summary = self.summary(text.last_hidden_state)
        naming = naming_loss(scores_of(self.heads, text.pooler_output), said)
        summed_up = scores_of(self.summary_heads, standardised(summary))
        naming = naming + naming_loss(summed_up, said)
        return contrast_loss(self.similarity(features, text.pooler_output)) + NAMING_WEIGHT * naming


def standardised(x: Tensor) -> Tensor:
    """Each row with mean 0 and deviation 1: what is said must show in its direction."""
    return F.layer_norm(x, x.shape[-1:])


def judge_loss(judge: nn.Module, pixels: Tensor, pooled: Tensor, seen: dict) -> Tensor:
    """The contrast between pictures and captions, and the naming of what is seen."""
    features = judge.features(pixels)
    contrast = contrast_loss(judge.similarity(features, pooled))
    return contrast + NAMING_WEIGHT * naming_loss(scores_of(judge.heads, features), seen)


def contrast_loss(logits: Tensor) -> Tensor:
    """Each picture finds its caption and each caption its picture, (B, B) scaled cosines."""
    pairs = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def naming_loss(scores: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Mean cross-entropy over the attributes; hidden ones do not count."""
    losses = []
    for name, values in scores.items():
        if (labels[name] != UNSEEN).any():
            losses.append(F.cross_entropy(values, labels[name], ignore_index=UNSEEN))
        else:
            losses.append(0.0 * values.sum())  # keeps the parameter in the graph
    return torch.stack(losses).mean()


class CriticTask(nn.Module):
    """Name the person's attributes from latents under a little noise.

    Noise hides what no eye would see either, so the critic goes by things as large as the things
    themselves, and its gradient draws them, where that of a critic of clean latents would find some
    faint pattern that pleases it (arXiv:1906.09453 says so of classifiers hardened otherwise).
    """

    def __init__(self, critic: nn.Module, schedule: NoiseSchedule):
        super().__init__()
        self.critic, self.schedule = critic, schedule

    def forward(self, x_0: Tensor, seen: dict) -> Tensor:
        return person_loss(self.critic(lightly_noised(x_0, self.schedule)), seen)


def person_loss(scores: dict[str, Tensor], seen: dict[str, Tensor]) -> Tensor:
    """`naming_loss` of what is said of the person, in which the expression counts four times.

    It is a few numbers at the mouth and the brows, and the last thing to be learned.
    """
    person = {name: values for name, values in scores.items() if name in PERSON}
    expression = {name: values for name, values in person.items() if name == "expression"}
    return naming_loss(person, seen) + 3 / len(PERSON) * naming_loss(expression, seen)


def lightly_noised(x_0: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Each latent at a random timestep below `CRITIC_NOISE`."""
    t = torch.randint(CRITIC_NOISE, (len(x_0),))
    return q_sample(x_0, t, schedule, torch.randn_like(x_0))


class UnetTask(nn.Module):
    """Predict v from a noisy latent and the caption's hidden states.

    The weight of each latent is (min(SNR, 5) + 1) / (SNR + 1), Min-SNR (arXiv:2303.09556) with one
    added above and below the line: on the error of x_0 it runs from 1 at pure noise, where the
    layout is decided, to 6 where details are, and no further. Within a latent, `weights`,
    (C, H, W), say how much each number counts; `emphasis` makes them.

    With a `critic` the clean latent that the prediction implies must also show the portrait's
    attributes. The squared error alone is content with the mean of all portraits that may be meant,
    in which a smile is a smudge; the critic sees that it is no smile. It is asked about the person
    alone: asked about style and quality, which are textures, it was content with a dither all over.

    With a `discriminator`, which learns beside the U-Net, that latent must also look painted, for a
    portrait that shows what this one does (arXiv:2311.17042; on latents under noise,
    arXiv:2403.12015). It sees what pleases the critic and no painter would do, and what the mean
    leaves out.

    Parameters
    ----------
    critic : Module, optional
        A finished `Critic`. It does not become a part of this module, so nothing here trains it.
    discriminator : Module, optional
        A `Discriminator`, trained here.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseSchedule,
        weights: Tensor,
        critic: nn.Module | None = None,
        discriminator: nn.Module | None = None,
    ):
        super().__init__()
        self.unet, self.schedule = unet, schedule
        self.discriminator = discriminator
        self.scores = None if critic is None else critic.forward
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor, text: Tensor, seen: dict) -> Tensor:
        loss, believed = self.denoise(x_0, t, noise, text)
        return loss + self.marks(believed, x_0, seen, self.trust(t, x_0))

    def denoise(self, x_0: Tensor, t: Tensor, noise: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The squared error, and the clean latents that the predictions imply."""
        x_t = q_sample(x_0, t, self.schedule, noise)
        v_hat = self.unet(x_t, t, text).sample.float()
        error = F.mse_loss(v_hat, velocity(x_0, noise, t, self.schedule), reduction="none")
        share = self.trust(t, error) / (self.schedule.snr.to(error)[t] + 1)
        loss = ((error * self.weights).mean(dim=(1, 2, 3)) * share).mean()
        return loss, predict_x0_from_v(x_t, t, v_hat, self.schedule)

    def trust(self, t: Tensor, like: Tensor) -> Tensor:
        """The weight of an error of x_0 at timesteps (B,), in the type and place of `like`."""
        return self.schedule.snr.to(like)[t].clamp(max=LARGEST_SNR) + 1

    def marks(self, believed: Tensor, painted: Tensor, seen: dict, trust: Tensor) -> Tensor:
        """What the helpers say of believed latents, and the discriminator of painted ones too."""
        believed, loss = lightly_noised(believed, self.schedule), believed.new_zeros(())
        if self.scores is not None:
            loss = loss + CRITIC_WEIGHT * person_loss(self.scores(believed), seen)
        if self.discriminator is not None:
            painted = lightly_noised(painted, self.schedule)
            contest = adversarial_loss(self.discriminator, painted, believed, seen, trust)
            loss = loss + ADVERSARIAL_WEIGHT * contest
        return loss


def adversarial_loss(
    discriminator: nn.Module,
    painted: Tensor,
    believed: Tensor,
    seen: dict[str, Tensor],
    trust: Tensor,
) -> Tensor:
    """Both sides of the contest in one sum: the hinge loss of arXiv:1705.02894.

    The discriminator learns from latents that are cut off from the U-Net, and the U-Net from one
    whose parameters are cut off, so each gets its own gradient and one optimiser serves both.

    Parameters
    ----------
    discriminator : Module
        (B, C, H, W) and labels -> (B, ...), positive for what looks painted.
    painted, believed : Tensor, shape (B, C, H, W)
        Latents of the same portraits, both under the same kind of noise.
    seen : dict
        Attribute -> what those portraits show, (B,).
    trust : Tensor, shape (B,)
        How much each belief should mind what it looks like.
    """
    fixed = {name: tensor.detach() for name, tensor in discriminator.named_parameters()}
    looks = functional_call(discriminator, fixed, (believed, seen)).flatten(1).mean(dim=1)
    told = F.relu(1 - discriminator(painted, seen))
    told = told + F.relu(1 + discriminator(believed.detach(), seen))
    return told.mean() - (looks * trust).mean()
