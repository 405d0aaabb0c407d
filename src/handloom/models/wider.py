"""A net begun with a narrower one's weights: it says the same, and has room to learn more (Chen et al. 2016, Net2Net).

The channels that the narrow net lacks begin as a fresh net's do, and those that it has do not listen to them yet.
"""

from torch import Tensor, nn

from handloom.models.unet import UNet
from handloom.models.upright import single


def begin_with(net: nn.Module, narrow: nn.Module) -> None:
    """Give a net the weights of one of the same levels and outputs; raises ValueError where that is wider somewhere."""
    net, narrow = single(net), single(narrow)
    fresh, known = net.state_dict(), narrow.state_dict()
    joins, own_joins = (each.joins if isinstance(each, UNet) else {} for each in (net, narrow))
    begun = {
        name: _begun(fresh[name], values, joins.get(name, 0), own_joins.get(name, 0)) for name, values in known.items()
    }
    net.load_state_dict(begun)


def _begun(fresh: Tensor, known: Tensor, join: int, own_join: int) -> Tensor:
    """Give a weight, or what batch norm keeps of its channels, that does with known channels what it did.

    Of inputs that are two levels', `join` and `own_join` are the first's.
    """
    if any(wide < narrow for wide, narrow in zip(fresh.shape, known.shape, strict=True)):
        raise ValueError(f"narrower: {tuple(fresh.shape)} for {tuple(known.shape)}")
    if not fresh.dim():
        return known
    begun = fresh.clone()
    own = begun[: len(known)]
    if fresh.dim() == 1:
        own[:] = known
    else:
        own.zero_()
        own[:, :own_join] = known[:, :own_join]
        own[:, join : join + known.shape[1] - own_join] = known[:, own_join:]
    return begun
