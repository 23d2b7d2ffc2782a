"""The paired gateway's model: llama.cpp's own server behind it, or a small model in it, which the
openai package then uses as a client."""

import json
import re
import socket
import subprocess
import sys

import anyio
import httpx
import language_models
import llama_server
import openai
import pytest
import targets
from http_process import HttpProcess
from http_program import sdk_client
from pi_rig import HERE, MCPGW, Pi, Process, SDKServer, environment, mcpgw, server_table
from waiting import PATIENCE_S, until

PROMPT = "ab the ab"
KEY = "sk-of-the-test"


class LlamaServer(Process):
    def __init__(self, folder, model, *keys, name="llama"):
        super().__init__(folder, name, [sys.executable, HERE / "llama_server.py", model, *keys])
        until(lambda: "http://" in self.output(), self.output)
        self.url = re.search(r"http://\S+", self.output())[0] + "/v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def gguf(folder):
    return llama_server.write_model(folder / "tiny.gguf")


@pytest.fixture(scope="module")
def llama(folder, gguf):
    server = LlamaServer(folder, gguf, KEY)
    yield server
    server.close()


@pytest.fixture(scope="module")
def office(folder):
    server = SDKServer(folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pi(folder, llama, office):
    config = f'[model]\nurl = "{llama.url}"\nkey = "env:THE_KEY"\nmax_tokens = 24\n'
    config += "temperature = 0\n" + server_table("office", url=office.url)
    place = folder / "llama-pi"
    place.mkdir()
    pi = Pi(place, config, env=environment(THE_KEY=KEY))
    yield pi.up("office")
    pi.close()


@pytest.fixture(scope="module")
def builtin(folder):
    """A gateway with a small model in it."""
    place = folder / "builtin-pi"
    place.mkdir()
    model, vocabulary = language_models.both(5)
    (place / "tiny.mgm").write_bytes(model)
    (place / "tiny.mgt").write_bytes(vocabulary)
    pi = Pi(place, f'[model]\nmodel = "builtin:{place}/tiny.mgm"\nmax_tokens = 200\n')
    yield pi
    pi.close()


@pytest.fixture(scope="module")
def client(builtin):
    token = mcpgw("pi", "token", "add", "me", "--config", builtin.config).strip()

    def known():
        fields = {"Authorization": f"Bearer {token}"}
        return httpx.get(builtin.address + "/v1/models", headers=fields).status_code == 200

    until(known)
    with openai.OpenAI(
        base_url=builtin.address + "/v1", api_key=token, max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


def by_itself(url, content, most, key=KEY):
    """What the endpoint says to that without a gateway."""
    with openai.OpenAI(base_url=url, api_key=key, timeout=PATIENCE_S) as client:
        return client.chat.completions.create(
            model="x",
            messages=[{"role": "user", "content": content}],
            max_tokens=most,
            temperature=0,
        )


def text_of(answer):
    assert not answer["result"].get("isError"), answer
    return answer["result"]["content"][0]["text"]


def test_a_tool_asks_the_endpoint(pi, llama):
    answer = pi.call("ask", {"prompt": PROMPT, "max_tokens": 12})
    own = by_itself(llama.url, PROMPT, 12)
    assert text_of(answer) == own.choices[0].message.content
    usage = answer["result"]["_meta"]["mcp-gw/usage"]
    assert usage["completion_tokens"] == own.usage.completion_tokens == 12
    assert usage["prompt_tokens"] == own.usage.prompt_tokens
    assert usage["ended"] == "length" and usage["model"]
    # No more than the configuration allows.
    answer = pi.call("ask", {"prompt": PROMPT, "max_tokens": 400})
    assert answer["result"]["_meta"]["mcp-gw/usage"]["completion_tokens"] == 24


def test_the_text_is_told_as_progress(pi):
    said = []

    async def scenario():
        async def progress(done, total, message):
            said.append(message)

        async with sdk_client(pi.url, "auto") as client:
            return await client.call_tool(
                "ask", {"prompt": PROMPT, "max_tokens": 12}, progress_callback=progress
            )

    result = anyio.run(scenario)
    assert len(said) > 4 and "".join(said) == result.content[0].text


def test_it_answers_what_servers_ask_a_clients_model(pi, llama):
    """The client of this test has no model, and says so."""
    text = text_of(pi.call("office_praise", {"cup": "mug"}))
    assert text == by_itself(llama.url, "Praise a mug", 24).choices[0].message.content


def test_a_board_asks_through_the_gateway(folder, pi, llama):
    """Board, gateway, endpoint: the unix build over HTTP."""
    app = folder / "board_app.py"
    app.write_text((HERE / "pi_board_app.py").read_text())
    token = mcpgw("pi", "token", "add", "greenhouse", "--board", "--config", pi.config).strip()
    arguments = pi.address + "/mcp", token, folder / "board.queue"
    with HttpProcess(folder, targets.firmware("unix"), app, *arguments) as board:

        async def scenario():
            async with sdk_client(board.url, "auto") as client:
                with anyio.fail_after(PATIENCE_S):
                    while "pi_ask" not in [t.name for t in (await client.list_tools()).tools]:
                        await anyio.sleep(0.05)
                return await client.call_tool("pi_ask", {"prompt": PROMPT, "max_tokens": 8})

        result = anyio.run(scenario)
    assert result.content[0].text == by_itself(llama.url, PROMPT, 8).choices[0].message.content


def failing(folder, name, url, key="", more=""):
    """What the tool says where the endpoint is at `url`."""
    place = folder / name
    place.mkdir()
    pi = Pi(place, f'[model]\nurl = "{url}"\n{key}\n{more}\n')
    try:
        answer = pi.call("ask", {"prompt": PROMPT})
        # And then it goes on serving.
        assert "status" in pi.health()
    finally:
        pi.close()
    assert answer["result"]["isError"], answer
    return answer["result"]["content"][0]["text"]


def test_endpoints_that_fail(folder, llama):
    assert "401" in failing(folder, "wrong-key", llama.url, 'key = "another"')
    assert "answers 404" in failing(folder, "no-path", llama.url + "/nowhere", f'key = "{KEY}"')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "http://127.0.0.1:%d/v1" % silent.getsockname()[1]
        told = failing(folder, "silent", url, more="timeout_s = 0.5")
        assert "took more than 0.5 s" in told
    assert "cannot be reached" in failing(folder, "closed", url)


def test_a_configuration_that_cannot_work(folder):
    for number, (row, why) in enumerate(
        (
            ("", "give it a url"),
            ('model = "builtin:/no/such.mgm"', "there is no file /no/such.mgm"),
            ('url = "ftp://x"', "must begin with http://"),
            ('url = "http://x/v1"\nkey = "env:NOT_SET_HERE"', "NOT_SET_HERE is not set"),
            ('url = "http://x/v1"\nmax_token = 4', "max_tokens"),
            (f'model = "builtin:{__file__}"\nvocabulary = "{__file__}"', "model"),
        )
    ):
        file = folder / "wrong.toml"
        state = json.dumps(str(folder / f"wrong-{number}"))
        file.write_text(f"[pi]\nport = 0\nstate = {state}\n[model]\n{row}\n")
        done = subprocess.run(
            [*MCPGW, "pi", "--config", file], capture_output=True, text=True, env=environment()
        )
        assert done.returncode == 1 and why in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


def expected(prompt, **options):
    model, vocabulary = language_models.both(5)
    found = language_models.load(model, vocabulary, positions=1 << 20)
    text = found.generate(prompt, **options)
    return "".join(text), text


def test_the_small_model_for_openais_client(client):
    assert [row.id for row in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "mcpgw"
    messages = [{"role": "system", "content": "ab"}, {"role": "user", "content": "ba"}]
    done = client.chat.completions.create(
        model="tiny", messages=messages, max_tokens=9, temperature=0.75, top_p=1, seed=3
    )
    text, made = expected("ab\nba", max_tokens=9, temperature=0.75, seed=3)
    assert done.choices[0].message.content == text and done.object == "chat.completion"
    assert done.usage.prompt_tokens == made.prompt_tokens
    assert done.usage.completion_tokens == made.tokens
    assert done.choices[0].finish_reason == ("length" if made.reason == "length" else "stop")
    plain = client.completions.create(
        model="tiny", prompt="ab ba", max_tokens=20, temperature=0, stop=["é", "b a"]
    )
    assert plain.choices[0].text == expected("ab ba", max_tokens=20, stop=("é", "b a"))[0]


def test_streams_for_openais_client(client):
    ask = {"model": "tiny", "max_tokens": 30, "temperature": 0, "stream": True}
    rows = list(
        client.chat.completions.create(
            messages=[{"role": "user", "content": "ab ba"}],
            stream_options={"include_usage": True},
            **ask,
        )
    )
    text, made = expected("ab ba", max_tokens=30)
    pieces = [row.choices[0].delta.content for row in rows if row.choices]
    assert "".join(filter(None, pieces)) == text and len(pieces) > 3
    assert rows[-1].usage.completion_tokens == made.tokens
    assert rows[-2].choices[0].finish_reason in ("stop", "length")
    rows = list(client.completions.create(prompt="ab ba", **ask))
    assert "".join(row.choices[0].text for row in rows) == text


def test_errors_for_openais_client(client, builtin):
    hello = {"messages": [{"role": "user", "content": "ab"}]}
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="gpt", **hello)
    assert e.value.code == "model_not_found" and e.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="tiny", n=2, **hello)
    assert e.value.param == "n"
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model="tiny", prompt="ab " * 500)
    assert e.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as e:  # the same where a stream was asked for
        client.completions.create(model="tiny", prompt="ab " * 500, stream=True)
    for body, status in (
        (b"{", 400),
        (b"[]", 400),
        (b'{"messages": "hello"}', 400),
        (b'{"messages": []}', 400),
        (b'{"messages": [{"role": "user"}]}', 400),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400),
        (b'{"messages": [{"role": "user", "content": "a"}], "temperature": 9}', 400),
        (b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": "many"}', 400),
        (b" " * ((1 << 20) + 1), 413),
    ):
        answer = httpx.post(builtin.address + "/v1/chat/completions", content=body)
        assert answer.status_code == status, (body[:80], answer.text)
        assert answer.json()["error"]["message"]
    assert httpx.get(builtin.address + "/v1/chat/completions").status_code == 405
    with pytest.raises(openai.AuthenticationError, match="not known"):
        client.with_options(api_key="another").models.list()
    # A page of somebody else's in a browser on this machine.
    answer = httpx.get(builtin.address + "/v1/models", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    # All else is served as ever, and so is a client that went away in the middle.
    with httpx.stream(
        "POST",
        builtin.address + "/v1/completions",
        json={"prompt": "ab", "max_tokens": 200, "stream": True},
    ) as answer:
        next(answer.iter_bytes())
    assert client.completions.create(model="tiny", prompt="ab", max_tokens=3).choices
    assert builtin.health()["status"] == "ok"


def test_one_gateway_asks_the_model_of_another(folder, builtin):
    place = folder / "second"
    place.mkdir()
    config = f'[model]\nurl = "{builtin.address}/v1"\nmodel = "tiny"\ntemperature = 0\n'
    pi = Pi(place, config)
    try:
        answer = pi.call("ask", {"prompt": "ab ba", "max_tokens": 20})
    finally:
        pi.close()
    text, made = expected("ab ba", max_tokens=20)
    assert text_of(answer) == text
    usage = answer["result"]["_meta"]["mcp-gw/usage"]
    assert usage["completion_tokens"] == made.tokens and usage["model"] == "tiny"
