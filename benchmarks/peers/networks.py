"""The measured networks in PyTorch: this package's architectures, parameter for parameter.

Nothing is trained here.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks import architectures

TRUNCATED_STD = 0.87962566103423978  # of a standard normal cut at two standard deviations


def build(model: str, *, tuned: bool) -> nn.Module:
    """Returns a network that maps images [batch, channels, height, width] to logits; `initialize` draws it.

    Args:
      tuned: channels last, with the normalization of AlexNet as a matrix product.
    """
    if model in architectures.MLPS:
        network: nn.Module = _mlp(architectures.MLPS[model])
    else:
        network = _alexnet(tuned) if model == "alexnet" else Inception(norm=model == "inception")
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == architectures.PARAMETERS[model], f"{trained:,} parameters"
    if tuned and model not in architectures.MLPS:
        network = network.to(memory_format=torch.channels_last)
    return network


def initialize(network: nn.Module) -> None:
    """Draws all parameters as this package does by default; the statistics of batch norm are left as they are."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            std = module.weight[0].numel() ** -0.5 / TRUNCATED_STD
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _mlp(hidden: tuple[int, ...]) -> nn.Sequential:
    sizes = (architectures.CROP**2 * architectures.CHANNELS, *hidden)
    inner: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        inner += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*inner, nn.Linear(sizes[-1], architectures.CLASSES))


def _alexnet(tuned: bool) -> nn.Sequential:
    size, channels = architectures.CROP, architectures.CHANNELS
    parts: list[nn.Module] = []
    for filters in architectures.ALEXNET_FILTERS:
        # nn.LocalResponseNorm divides its alpha by its size.
        norm = BandNorm(filters) if tuned else nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
        parts += [nn.Conv2d(channels, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), norm]
        size, channels = -(-size // 2), filters
    sizes = (size**2 * channels, *architectures.ALEXNET_HIDDEN)
    parts.append(nn.Flatten())
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        parts += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], architectures.CLASSES))


class BandNorm(nn.Module):
    """Local response normalization over 9 channels, the sums as a matrix product."""

    def __init__(self, channels: int):
        super().__init__()
        index = torch.arange(channels)
        band = (index[:, None] - index[None, :]).abs() <= 4
        self.register_buffer("band", band.float() * (0.001 / 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x.permute(0, 2, 3, 1)
        return (last * (1 + (last * last) @ self.band).pow(-0.75)).permute(0, 3, 1, 2)


class ConvNormReLU(nn.Module):
    """A convolution with batch norm that shifts and does not scale, or with a bias; ReLU."""

    def __init__(self, inputs: int, outputs: int, window: int, *, stride: int = 1, norm: bool):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, window, stride, padding=window // 2, bias=not norm)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.1) if norm else nn.Identity()
        if norm:
            self.norm.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.convolution(x)))


class Inception(nn.Module):
    """The small Inception: a 3x3 convolution, ten modules, the mean over positions, a linear layer."""

    def __init__(self, *, norm: bool):
        super().__init__()
        channels = architectures.INCEPTION_STEM
        self.stem = ConvNormReLU(architectures.CHANNELS, channels, 3, norm=norm)
        self.blocks = nn.ModuleList()
        for filters in architectures.INCEPTION_MODULES:
            if isinstance(filters, int):
                spatial = ConvNormReLU(channels, filters, 3, stride=2, norm=norm)
                branches: list[nn.Module] = [spatial, nn.MaxPool2d(3, 2, padding=1)]
                channels += filters
            else:
                branches = [ConvNormReLU(channels, width, 1 + 2 * i, norm=norm) for i, width in enumerate(filters)]
                channels = sum(filters)
            self.blocks.append(nn.ModuleList(branches))
        self.head = nn.Linear(channels, architectures.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for branches in self.blocks:
            x = torch.cat([branch(x) for branch in branches], dim=1)
        return self.head(x.mean(dim=(2, 3)))
