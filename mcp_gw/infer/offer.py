"""Gateway.model(): a model becomes known under a name, and the tools that it makes possible
appear."""

from ..errors import ConfigError
from ..registry import check_name
from .model import LANGUAGE, Model, ModelError, _opened
from .model import verify as check_sum
from .store import Store


def add(gw, name, source, verify=True, sampling=False, **options):
    """See Gateway.model()."""
    check_name(name)
    if gw.models is None:
        gw.models = Store(gw.config["model_ram"])
    try:
        buf = _opened(source, name)
        if bytes(buf[:4]) == b"MGT1":
            return _vocabulary(gw, name, buf, **options)
        # A file cut short is told from one of another kind by the model itself.
        kind = buf[6] if len(buf) > 6 else 0
        if kind == LANGUAGE:
            model = _language(gw, name, buf, **options)
        else:
            if sampling:
                raise ModelError("%s: sampling takes a language model" % name)
            model = Model(buf, name=name, store=gw.models, **options)
        if verify:
            check_sum(buf, model.size, name)
        gw.models.add(name, model)
    except (ModelError, ValueError, OSError) as e:
        raise ConfigError(str(e)) from None
    if kind == LANGUAGE:
        from .language_tools import renew

        if sampling:
            from .sampling import sampler

            gw.dispatch.sampler = sampler(model)
    else:
        from .tools import renew
    renew(gw)
    return model


def _language(gw, name, buf, tokenizer=None, **options):
    from .language import Language

    if tokenizer is None:
        raise ModelError("%s: a language model takes tokenizer=, its vocabulary" % name)
    return Language(buf, tokenizer, name=name, store=gw.models, **options)


def _vocabulary(gw, name, buf):
    from .language_tools import renew
    from .tokenizer import Tokenizer

    if gw.tokenizers is None:
        gw.tokenizers = {}
    if name in gw.tokenizers or name in gw.models:
        raise ModelError("model %s is there already" % name)
    made = gw.tokenizers[name] = Tokenizer(buf)
    renew(gw)
    return made
