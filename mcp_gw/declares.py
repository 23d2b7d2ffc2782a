"""What a user declares on a Gateway: tools, resources, prompts, upstreams, a queue, models."""

from .errors import ConfigError
from .registry import Resource, Tool, check_name


class Declares:
    """The part of Gateway that takes declarations."""

    models = None  # the infer.store.Store, once there is a model
    tokenizers = None  # name -> infer.tokenizer.Tokenizer, of vocabularies without a model
    streams = None  # name -> infer.stream.Stream
    built_in = None  # names of the tools that are offered for them

    def tool(self, description="", **kw):
        """Decorator: offer a function as a tool.

        Each keyword whose value is a Param declares the parameter of that name; one whose value is
        the class Context makes the function get the call's Context under that name. name=: another
        name than the function's; title=, annotations=, icons=, meta=: as in the specification;
        input_schema=: a JSON Schema in place of Params, the function then gets the arguments as
        one dict; output_schema=: what structured results are checked against; task=: "optional",
        "required" or "later" (the function calls start_task()) let calls run as tasks.

        The function may be plain (it blocks the board while it runs), async, or a generator that
        yields progress (a number, or a tuple progress, total, message) and returns its result. It
        returns str, a number, a dict (structured content), a list, None or what mcp_gw.content
        offers, and may raise ToolError.
        """
        options, declared = _sorted_out(
            kw, "title", "annotations", "icons", "meta", "input_schema", "output_schema", "task"
        )
        name = options.pop("name", None)

        def register(func):
            tool = Tool(name or func.__name__, func, declared, description=description, **options)
            if tool.task:
                self.tasks()
            self.registry.tools.add(tool)
            return func

        return register

    def resource(self, uri, description="", **kw):
        """Decorator: offer what a function returns as the resource `uri`.

        With {variables} in it, `uri` is a template, and the function gets them as keywords; a
        Param under a variable's name describes it. name=, title=, mime_type=, size=, annotations=,
        icons=, meta=: as in the specification; a keyword whose value is Context: see tool().
        The function, plain or async, returns str, bytes, or anything with a JSON form.
        """
        options, declared = _sorted_out(
            kw, "title", "mime_type", "size", "annotations", "icons", "meta"
        )
        name = options.pop("name", None)

        def register(func):
            title = name or func.__name__
            if "{" in uri:
                from .offers import Template

                item = Template(uri, func, declared, title, description=description, **options)
                self.registry.templates.add(item)
            else:
                item = Resource(uri, func, declared, title, description=description, **options)
                self.registry.resources.add(item)
            return func

        return register

    def prompt(self, description="", **kw):
        """Decorator: offer a function as a prompt.

        Each keyword whose value is a Param (of str) declares an argument; its complete= or enum=
        serve for completion. name=, title=, icons=, meta=, Context: as for tool(). The function
        returns str, a message (mcp_gw.content) or a list of them.
        """
        options, declared = _sorted_out(kw, "title", "icons", "meta")
        name = options.pop("name", None)

        def register(func):
            from .offers import Prompt

            item = Prompt(name or func.__name__, func, declared, description, **options)
            self.registry.prompts.add(item)
            return func

        return register

    def remove_tool(self, name):
        self.registry.tools.remove(name)

    def remove_resource(self, uri):
        """uri: of a resource or a template."""
        registry = self.registry
        (registry.templates if uri in registry.templates else registry.resources).remove(uri)

    def remove_prompt(self, name):
        self.registry.prompts.remove(name)

    def upstream(
        self,
        name,
        url=None,
        queueable=(),
        expiry_s=None,
        sampling=None,
        offers=None,
        same_as=None,
        **options,
    ):
        """Forward to an upstream MCP server; its tools appear as NAME_TOOL.

        url: of its Streamable HTTP endpoint; None: the server that the bridge at the other end of
        the serial line knows under this name. queueable: its tools that may wait in the queue
        while it cannot be reached, names or Queueables; such a call expires after expiry_s seconds
        (default: the setting queue_expiry_s). sampling: a function(params: dict) -> str or dict,
        plain or async, that answers the server's requests for sampling in place of the client.
        offers: what of it clients are shown: some of "tools", "prompts", "resources" (default: all
        of it over HTTP, tools over a serial line). same_as: name of an upstream declared before
        that offers the same: clients see one, and requests go to the first that can take them
        (docs/routing.md). Further options are HttpUpstream's.
        """
        check_name(name)
        if url is None:
            from .route.link_upstream import LinkUpstream

            upstream = LinkUpstream(name, self.server.info)
        else:
            try:
                from .route.http_upstream import HttpUpstream
            except ImportError:
                why = "upstream %s: this firmware has no network; leave url= out" % name
                raise ConfigError(why) from None
            upstream = HttpUpstream(name, url, **options)
            upstream.clock = self.clock
        upstream.sampling = sampling
        if offers is not None:
            upstream.offers = offers
        if same_as is not None:
            upstream.same_as = same_as
            self.routing()
        self._hub().add(upstream, queueable, expiry_s or self.config["queue_expiry_s"])
        if queueable and self.upstreams.forwarder.outbox is None:
            self.queue()
        return upstream

    def routing(self, settings=None, **options):
        """Choose where requests are carried out: here, at one of several upstreams, in the queue
        (docs/routing.md). settings: dict of the same options, as from a configuration file, which
        keywords win over.

        Returns the Routing. Raises ConfigError.
        """
        hub = self._hub()
        if hub.routing is None:
            from .route.routing import Routing

            hub.routing = Routing(hub, self)
        hub.routing.configure(settings, options)
        return hub.routing

    def queue(self, device=None, overflow="refuse"):
        """Keep queueable calls in `device` (mcp_gw.queue.nor); default: the board's own queue
        region. overflow: what becomes of a call when there is no room: "refuse" it, or "drop" the
        oldest of those of a lower priority for it.

        Returns the Outbox, or None on a port that has no such region.
        """
        from .queue.nor import default_device
        from .queue.outbox import Outbox
        from .queue.ring import Ring

        if device is None:
            device = default_device()
            if device is None:
                return None
        if overflow not in ("refuse", "drop"):
            raise ConfigError("queue: overflow is refuse or drop")
        ring = Ring(device)
        ring.mount()
        outbox = Outbox(ring, self.clock.unix, overflow=overflow)
        self._hub().keep(outbox)
        return outbox

    def model(self, name, source, **options):
        """Run the model in a file (path, or a buffer with it) under this name, and offer the tools
        that it makes possible (docs/models.md): `classify` for one with labels, `analyze` for an
        autoencoder, `complete` and `count_tokens` for a language model, `count_tokens` for the
        vocabulary of a tokenizer.

        labels: names of its classes, in place of those in the file. tokenizer: path of a language
        model's vocabulary; positions: tokens that a text and its continuation have at most;
        sampling: whether it also writes for ctx.sample() where a client cannot. verify: whether
        the file's checksum is looked at now (default: True).

        Returns the Model, Language or Tokenizer; models take RAM when they run, within the setting
        model_ram. Raises ConfigError.
        """
        from .infer.offer import add

        return add(self, name, source, **options)


def _sorted_out(kw, *known):
    """(options, declarations) of what a decorator was given; unknown is what is neither."""
    options = {}
    declared = {}
    for key, value in kw.items():
        if hasattr(value, "schema") or getattr(value, "is_context", False):
            declared[key] = value
        elif key == "name" or key in known:
            options[key] = value
        else:
            raise ConfigError("%s is neither a Param nor an option" % key)
    return options, declared
