"""Gateway.model(): a model becomes known under a name, and the tools that it makes possible
appear."""

from ..errors import ConfigError
from ..registry import check_name
from .model import Model, ModelError
from .store import Store
from .tools import renew


def add(gw, name, source, verify=True, labels=None):
    """See Gateway.model()."""
    check_name(name)
    if gw.models is None:
        gw.models = Store(gw.config["model_ram"])
    try:
        model = Model(source, name=name, labels=labels, store=gw.models)
        if verify:
            model.verify()
        gw.models.add(name, model)
    except ModelError as e:
        raise ConfigError(str(e)) from None
    renew(gw)
    return model
