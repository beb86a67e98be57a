"""Timed calls: each draws N samples of one image, with all maps.

Other networks have random weights, which cost what trained ones cost. All run in inference
mode, with channels-last convolutions, in the data type of LatentFM on the same machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn

from benchmarks.accuracy.deterministic import DROPOUT, basic_unet, dynunet
from benchmarks.speed.job import Call, Job, card_at, photo
from benchmarks.speed.prompted import PROMPTED, own_size, prompted
from latentfm_core.config import SamplingConfig
from latentfm_core.inference.device import autocast, resolve_device, resolve_precision, to_device
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.folder import load_model, read_card

CPU = torch.device("cpu")
PIXEL_STEPS = 50
OWN = "LatentFM"

WITH_DROPOUT = ("DynUNet, MC-dropout", "BasicUNet, MC-dropout")
PLAIN = "DynUNet, plain pass"
ENSEMBLE = "DynUNet, ensemble"
ENSEMBLE_MEMBERS = 4
"""Networks of an ensemble that are held at once; more cost in proportion."""


def latentfm(job: Job) -> Call:
    """Return a call of the `Segmenter`: samples of one pass over the whole image, then all maps.

    Like the other networks, it has no second pass; that is in the rows of the promptable model.
    """
    model, card = load_model(resolve_model("isic2018"))
    segmenter, image = Segmenter(model, card_at(card, job.size)), photo(job.size)
    settings = SamplingConfig(n_samples=job.samples, steps=job.steps, refine=False)
    return lambda: segmenter.summarise(segmenter.sample(image, settings))


def _passes(network: nn.Module, job: Job, batch: int) -> Call:
    """Return a call of N passes with dropout on, in batches, and mean and variance of them.

    On a CPU drawing the dropout masks costs two to three times the pass itself; `_ensemble` is
    the same number of passes without it.
    """
    dtype = resolve_precision("auto", CPU)
    network = to_device(network, resolve_device("cpu")).eval()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    x = torch.rand(1, 3, job.size, job.size).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> object:
        drawn: list[Tensor] = []
        for start in range(0, job.samples, batch):
            count = min(batch, job.samples - start)
            with autocast(CPU, dtype):
                logits = network(x.expand(count, -1, -1, -1))
            drawn.append(logits.float().sigmoid())
        p = torch.cat(drawn)
        return p.mean(0), p.var(0, correction=0)

    return call


def _ensemble(networks: Sequence[nn.Module], job: Job) -> Call:
    """Return a call of one pass of each network, dropout off, and mean and variance of them.

    With one network it is a plain pass with a single output.
    """
    dtype = resolve_precision("auto", CPU)
    members = [to_device(network, CPU).eval() for network in networks]
    x = torch.rand(1, 3, job.size, job.size).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> object:
        drawn: list[Tensor] = []
        for member in members:
            with autocast(CPU, dtype):
                logits = member(x)
            drawn.append(logits.float().sigmoid())
        p = torch.cat(drawn)
        return p.mean(0), p.var(0, correction=0)

    return call


def _diffusion(network: nn.Module, x: Tensor, decoder: nn.Module | None) -> Call:
    dtype = resolve_precision("auto", CPU)
    network = to_device(network, CPU).eval()
    decoder = None if decoder is None else to_device(decoder, CPU).eval()
    x = x.contiguous(memory_format=torch.channels_last)
    t = torch.zeros(len(x))

    @torch.inference_mode()
    def call() -> object:
        with autocast(CPU, dtype):
            z = network(x, t)
            return z if decoder is None else decoder(z)

    return call


def pixel_diffusion(job: Job) -> Call:
    """Return one denoising step of one sample, of MedSegDiff's size (Wu et al. 2022).

    128 base channels with multipliers 1, 1, 2, 2, 4, 4, two blocks each, attention at the two
    coarsest levels; the noisy mask concatenated with the image.
    """
    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=4,
        out_channels=1,
        num_res_blocks=2,
        channels=(128, 128, 256, 256, 512, 512),
        attention_levels=(False, False, False, False, True, True),
        num_head_channels=64,
    )
    return _diffusion(network, torch.randn(1, 4, job.size, job.size), None)


class _Decode(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: Tensor) -> Tensor:
        """Decode latents."""
        out: Tensor = self.vae.decode(z)
        return out


def latent_diffusion(job: Job) -> Call:
    """Return one sample of a one-step model of SDSeg's size (Lin et al. 2024), with its decoder.

    Stable Diffusion v1's widths 320, 640, 1280, 1280 on latents at an eighth of the side, the
    image's latent concatenated with the noise; KL decoder of 128 base channels.
    """
    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=8,
        out_channels=4,
        num_res_blocks=2,
        channels=(320, 640, 1280, 1280),
        attention_levels=(True, True, True, False),
        num_head_channels=(40, 80, 160, 160),
    )
    vae = AutoencoderKL(
        spatial_dims=2,
        in_channels=3,
        out_channels=3,
        num_res_blocks=2,
        channels=(128, 256, 512, 512),
        attention_levels=(False, False, False, False),
        latent_channels=4,
    )
    side = job.size // 8
    return _diffusion(network, torch.randn(1, 8, side, side), _Decode(vae))


def make(job: Job, batch: int = 1) -> Call:
    """Return the call for `job`."""
    if job.name == OWN:
        return latentfm(job)
    if job.name in PROMPTED:
        return prompted(job)
    if job.name in WITH_DROPOUT:
        dyn = job.name.startswith("DynUNet")
        return _passes(dynunet(job.size, DROPOUT) if dyn else basic_unet(DROPOUT), job, batch)
    if job.name in (PLAIN, ENSEMBLE):
        # nnU-Net's network has no dropout layers.
        return _ensemble([dynunet(job.size, 0.0) for _ in range(job.samples)], job)
    if job.name == "pixel diffusion, 50 steps":
        return pixel_diffusion(job)
    return latent_diffusion(job)


def jobs(sizes: list[int], samples: list[int], steps: list[int]) -> list[Job]:
    """Return all cells of the table."""
    found = []
    for size in sizes:
        for n in samples:
            found += [Job(OWN, size, n, k) for k in steps]
            # Passes are independent: more than 16 cost in proportion.
            passes = Job("", size, min(n, 16), times=n / min(n, 16), shown=n)
            found += [replace(passes, name=name) for name in WITH_DROPOUT]
            members = min(n, ENSEMBLE_MEMBERS)
            found.append(Job(ENSEMBLE, size, members, times=n / members, shown=n))
            found += [
                Job("pixel diffusion, 50 steps", size, 1, times=PIXEL_STEPS * n, shown=n),
                Job("latent diffusion, 1 step", size, 1, times=n, shown=n),
            ]
        # A plain pass gives one mask for any N.
        found.append(Job(PLAIN, size, 1))
    return found


def prompted_jobs(sizes: list[int], model: str) -> list[Job]:
    """Return the cells of a promptable model, with the N and K that a user gets by default."""
    usual = read_card(resolve_model(model)).config.sampling
    return [
        Job(name, size, usual.n_samples, usual.ode_steps, model=model)
        for size in dict.fromkeys([*sizes, own_size(model)])
        for name in PROMPTED
    ]
