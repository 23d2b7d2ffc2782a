"""What a tool, a resource or a prompt can do beside returning a value."""

from .asking import Question, ask, capabilities_of, meta_of, sampled
from .errors import ToolError
from .protocol.jsonvalue import checked
from .protocol.results import LEVELS, notification, progress

_SAMPLING = "sampling/createMessage"


class Context:
    """One call, seen by the function that carries it out.

    Declare it with the keyword under which the function wants it: @gw.tool("...", ctx=Context).
    Awaiting needs an async function.
    """

    is_context = True

    def __init__(self, request, config, sampler=None):
        self._request = request
        self._config = config
        self._sampler = sampler
        self._questions = 0

    @property
    def cancelled(self):
        """Whether nobody waits for the result any more."""
        return self._request.stale

    @property
    def client(self):
        """The client's name and version as it gave them (dict)."""
        request = self._request
        if request.revision.modern:
            return meta_of(request).get("io.modelcontextprotocol/clientInfo") or {}
        return request.session.client or {}

    @property
    def capabilities(self):
        """What the client says it can do (dict)."""
        return capabilities_of(self._request)

    @property
    def principal(self):
        """Who is authenticated (str), or None."""
        return self._request.session.principal

    @property
    def meta(self):
        """_meta of the request (dict)."""
        return meta_of(self._request)

    @property
    def state(self):
        """What the function keeps from one round of questions to the next (anything with a JSON
        form); None at first. It travels through the client, readable but sealed."""
        return self._request.state

    @state.setter
    def state(self, value):
        self._request.state = value

    def progress(self, value, total=None, message=None):
        """Report progress; a client that did not ask for it hears nothing."""
        told = progress(self._request, value, total, message)
        if told and not self._request.stale:
            self._request.port.send(told)

    def log(self, level, data, logger=None):
        """Send a log message to the client. level: one of results.LEVELS (syslog's names); data:
        str or anything with a JSON form; logger: name of the part that speaks."""
        if level not in LEVELS:
            raise ValueError("log level %r: %s" % (level, ", ".join(LEVELS)))
        request = self._request
        if request.stale or LEVELS.index(level) < self._least():
            return
        row = {"level": level, "data": data}
        if logger is not None:
            row["logger"] = logger
        params = checked(row)
        if params is None:
            raise ValueError("log data without a JSON form")
        request.port.send(notification("notifications/message", params))

    def _least(self):
        request = self._request
        if request.revision.modern:
            level = meta_of(request).get("io.modelcontextprotocol/logLevel")
            return LEVELS.index(level) if level in LEVELS else len(LEVELS)
        level = request.session.log_level
        return LEVELS.index("info") if level is None else level

    def close_stream(self):
        """Over HTTP: end the response that waits for this call; a client of 2025-11-25 comes back
        for the rest. Elsewhere nothing happens."""
        self._request.port.close_stream()

    # Questions to the client.

    async def ask(self, **questions):
        """Ask the client several things at once. questions: key -> Context.sampling(...),
        Context.elicitation(...) or Context.root_list(). Returns key -> answer (dict).

        With clients of 2026-07-28 the function runs again from its beginning once the answers are
        there: ask before you act. Raises ToolError when the client refuses, or does not answer
        within the setting ask_timeout_ms. Sampling that the client cannot do is done by the
        gateway's own model where there is one that gw.model() was told to use so.
        """
        return await self._ask(questions)

    async def _one(self, question):
        self._questions += 1
        key = "input_%d" % self._questions
        return (await self._ask({key: question}))[key]

    async def _ask(self, questions):
        found = {}
        if self._sampler:
            capabilities = self.capabilities
            for key, question in questions.items():
                if question.method == _SAMPLING and question.missing(capabilities):
                    found[key] = await sampled(self._sampler, question.params)
            if found:
                questions = {key: q for key, q in questions.items() if key not in found}
        found.update(await ask(self._request, questions, self._config["ask_timeout_ms"]))
        return found

    async def sample(self, messages, max_tokens=512, **more):
        """Have the client's model write. messages: str, or a list of str, content.Message and
        dicts. more: as in the specification (systemPrompt, temperature, ...). Returns the
        CreateMessageResult (dict)."""
        return await self._one(Context.sampling(messages, max_tokens, **more))

    async def elicit(self, message, schema):
        """Ask the user by a form. schema: dict of name -> Param, or a JSON Schema. Returns a dict:
        action ("accept", "decline", "cancel") and, accepted, content (dict, checked)."""
        return await self._one(Context.elicitation(message, schema))

    async def elicit_url(self, message, url, id):
        """Send the user to a URL. id: under which the outcome will be known. Returns a dict with
        action."""
        params = {"mode": "url", "message": message, "url": url}
        if not self._request.revision.modern:
            params["elicitationId"] = id
        return await self._one(Question("elicitation/create", params))

    async def roots(self):
        """The client's roots: a list of dicts with uri and, where known, name."""
        return (await self._one(Context.root_list()))["roots"]

    @staticmethod
    def sampling(messages, max_tokens=512, **more):
        """A question for ask(): see sample()."""
        rows = []
        for item in messages if isinstance(messages, list) else [messages]:
            if isinstance(item, str):
                item = {"role": "user", "content": {"type": "text", "text": item}}
            elif hasattr(item, "role"):
                item = {"role": item.role, "content": item.content.row}
            rows.append(item)
        return Question(_SAMPLING, dict(more, messages=rows, maxTokens=max_tokens))

    @staticmethod
    def elicitation(message, schema):
        """A question for ask(): see elicit()."""
        return Question("elicitation/create", {"message": message}, schema)

    @staticmethod
    def root_list():
        """A question for ask(): see roots()."""
        return Question("roots/list", {})

    # Tasks.

    async def start_task(self):
        """For tools declared with task="later": go on as a task, whose handle the client gets now.
        Ask what must be known before with ask(); what is asked later is asked within the task.

        Raises ProtocolError when a client of 2026-07-28 knows no tasks; with older clients the
        call simply goes on.
        """
        request = self._request
        if request.task or not request.revision.modern:
            return
        if not request.start_task:
            raise ToolError('start_task() is for tools with task="later"')
        request.start_task()
