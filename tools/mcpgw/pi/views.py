"""What different principals are shown and may ask for: a board sees servers, and no boards."""

from mcp_gw.protocol.revisions import TASKS

from .gateway import hidden_from

_LISTS = {
    b'"prompts/list"': "_list_prompts",
    b'"resources/list"': "_list_resources",
    b'"resources/templates/list"': "_list_templates",
}


def install(gateway):
    """Have a PiGateway list for each principal what it may see."""
    server, hub = gateway.server, gateway.hub
    tools_result = server.tools_result

    def as_seen(make):
        def seen(request, *more):
            lists = [one for one in (hub.router, hub.others) if one is not None]
            for one in lists:
                one.hides = hidden_from(request.session.principal)
            try:
                return make(request, *more)
            finally:
                for one in lists:
                    one.hides = None

        return seen

    def with_tasks(request):
        if not request.revision.features & TASKS:
            return tools_result(request)
        plain = server.older_tools  # Routing puts another one there
        server.older_tools = lambda after: gateway.as_tasks.listed(plain(after))
        try:
            return tools_result(request)
        finally:
            server.older_tools = plain

    def owner(request, buf):
        return hub.others.owner(request.name)

    def prompt(request, buf):
        found = hub.others.prompt(request.name)
        return found and found[0]

    def completed(request, buf):
        found = hub.others.completed(server.params(buf, server.spans).get("ref"))
        return found and found[0]

    def unless_hidden(ask, find):
        """A method of the Hub that says that nobody has what is not shown to who asks."""

        def asked(request, port, buf):
            hides = hidden_from(request.session.principal)
            if hides and hub.others is not None:
                upstream = find(request, buf)
                if upstream is not None and hides(upstream):
                    return False
            return ask(request, port, buf)

        return asked

    hub.read = unless_hidden(hub.read, owner)
    hub.get_prompt = unless_hidden(hub.get_prompt, prompt)
    hub.complete = unless_hidden(hub.complete, completed)
    server.tools_result = as_seen(with_tasks)
    server.add_methods({name: as_seen(getattr(server, method)) for name, method in _LISTS.items()})
