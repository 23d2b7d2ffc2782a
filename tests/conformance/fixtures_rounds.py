"""Tools that need input in several rounds or of several kinds, and a prompt that needs some."""

from fixtures_ask import told

from mcp_gw import Context, Param

CONFIRM = Context.elicitation("Please confirm", {"ok": Param(bool)})
NAME = Context.elicitation("What is your name?", {"name": Param(str)})


def add(gw):
    @gw.tool("Asks for a name", ctx=Context)
    async def test_input_required_result_elicitation(ctx):
        answers = await ctx.ask(user_name=NAME)
        return "Hello, %s!" % name_of(answers["user_name"])

    @gw.tool("Has the client's model answer", ctx=Context)
    async def test_input_required_result_sampling(ctx):
        question = Context.sampling("What is the capital of France?", 100)
        answers = await ctx.ask(capital_question=question)
        return answers["capital_question"]["content"]["text"]

    @gw.tool("Asks for the client's roots", ctx=Context)
    async def test_input_required_result_list_roots(ctx):
        answers = await ctx.ask(client_roots=Context.root_list())
        return "Roots: %s" % ", ".join(root["uri"] for root in answers["client_roots"]["roots"])

    @gw.tool("Asks for a confirmation and keeps a state meanwhile", ctx=Context)
    async def test_input_required_result_request_state(ctx):
        kept = ctx.state
        ctx.state = "asked"
        answers = await ctx.ask(confirm=CONFIRM)
        if kept != "asked":
            return "no state: %r" % (kept,)
        return "state-ok, %s" % told(answers["confirm"])

    @gw.tool("Asks three things at once", ctx=Context)
    async def test_input_required_result_multiple_inputs(ctx):
        answers = await ctx.ask(
            user_name=NAME,
            greeting=Context.sampling("Generate a greeting", 50),
            client_roots=Context.root_list(),
        )
        greeting = answers["greeting"]["content"]["text"]
        count = len(answers["client_roots"]["roots"])
        return "%s %s, %d roots" % (greeting, name_of(answers["user_name"]), count)

    @gw.tool("Asks twice", ctx=Context)
    async def test_input_required_result_multi_round(ctx):
        first = Context.elicitation("Step 1: What is your name?", {"name": Param(str)})
        name = name_of((await ctx.ask(step1=first))["step1"])
        second = Context.elicitation("Step 2: What is your favorite color?", {"color": Param(str)})
        answers = await ctx.ask(step2=second)
        return "%s: %s" % (name, told(answers["step2"]))

    @gw.tool("Asks for a confirmation", ctx=Context)
    async def test_input_required_result_tampered_state(ctx):
        answers = await ctx.ask(confirm=CONFIRM)
        return told(answers["confirm"])

    @gw.tool("Asks what the client is able to answer", ctx=Context)
    async def test_input_required_result_capabilities(ctx):
        questions = {}
        if "elicitation" in ctx.capabilities:
            questions["user_name"] = NAME
        if "sampling" in ctx.capabilities:
            questions["greeting"] = Context.sampling("Generate a greeting", 50)
        answers = await ctx.ask(**questions)
        return "Answered: %s" % ", ".join(sorted(answers))

    @gw.prompt("A prompt that asks for its context", ctx=Context)
    async def test_input_required_result_prompt(ctx):
        question = Context.elicitation(
            "What context should the prompt use?", {"context": Param(str)}
        )
        answer = (await ctx.ask(user_context=question))["user_context"]
        return "Use this context: %s" % (answer.get("content") or {}).get("context")


def name_of(answer):
    """The name given in an answer to NAME."""
    return (answer.get("content") or {}).get("name", "stranger")
