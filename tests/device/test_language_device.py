"""A language model as tools: on the unix build and on the emulated Pico, the text of the C core
on this machine."""

import http.client
import json
import subprocess

import own_models
import pytest
import rig
import targets
from mcpgw import native_llama
from mcpgw.convert import llama, llama2c
from mcpgw.sim import PicoSim
from mcpgw.tokenizer import mgt, readers
from romfs import flash_with
from waiting import PATIENCE_S, ReservedPort, until

from mcp_gw.infer import language

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
)


@pytest.fixture(scope="module", params=["stories260K", "own"])
def files(request):
    """{"stories.mgm": model, "stories.mgt": vocabulary}, and whether it writes sense."""
    if request.param == "own":
        model, vocabulary = own_models.language(positions=128)
    else:
        folder = request.getfixturevalue("data_dir") / "stories260K"
        model = llama.lower(llama2c.read(folder / "stories260K.bin"), "row")
        vocabulary = mgt.pack(readers.llama2c((folder / "tok512.bin").read_bytes()))
    return {"stories.mgm": model, "stories.mgt": vocabulary}, request.param != "own"


def here(files, prompt, monkeypatch, **options):
    """What the same package writes on this machine over the C core."""
    monkeypatch.setattr(language, "core", native_llama)
    made = language.Language(files["stories.mgm"], files["stories.mgt"], positions=128)
    text = made.generate(prompt, **options)
    return "".join(text), text.reason


@pytest.fixture
def serving(request, tmp_path):
    """serving(place, files): a wire to examples/story.py."""
    open_ones = []

    def serve(place, files):
        if place == "unix":
            for name, data in files.items():
                (tmp_path / name).write_bytes(data)
            target, arguments = targets.UnixTarget(tmp_path), [tmp_path]
        else:
            flash = flash_with(tmp_path / "flash.img", files)
            sim = PicoSim(targets.firmware("pico"), flash=flash)
            open_ones.append(sim.stop)
            target, arguments = targets.BoardTarget("pico", sim.start()), []
        context = rig.serving(target, rig.EXAMPLES / "story.py", *arguments)
        open_ones.append(lambda: context.__exit__(None, None, None))
        return context.__enter__()

    yield serve
    for close in reversed(open_ones):
        close()


@pytest.mark.parametrize("place", ["unix", "pico"])
def test_story(place, files, serving, monkeypatch):
    files, sense = files
    wire = serving(place, files)
    tools = {tool["name"] for tool in wire.ask("tools/list")["result"]["tools"]}
    assert tools == {"tell", "complete", "count_tokens"}
    options = {"max_tokens": 24 if place == "pico" else 60}
    params = {
        "name": "complete",
        "arguments": {"prompt": "Once upon a time", **options},
        "_meta": {"progressToken": "t"},
    }
    answer = wire.ask("tools/call", params)["result"]["structuredContent"]
    text, reason = here(files, "Once upon a time", monkeypatch, **options)
    assert answer == {"model": "story", "text": text, "ended": reason}
    told = [json.loads(line) for line in wire.lines if b"notifications/progress" in line]
    assert "".join(row["params"]["message"] for row in told) == text
    counts = [row["params"]["progress"] for row in told]
    assert counts == list(range(1, len(counts) + 1)) and len(counts) > 5
    if sense:
        assert STORY.startswith("Once upon a time" + text) or text.startswith(STORY[16:])
    # Drawn, with a seed; and cut at a stop string.
    drawn = {"temperature": 0.9, "top_p": 0.8, "seed": 7, "max_tokens": 12}
    again = wire.call("complete", prompt="A dog", **drawn)["structuredContent"]["text"]
    assert again == here(files, "A dog", monkeypatch, **drawn)[0]
    if len(text) > 4:
        stop = text[2:4]
        found = wire.call("complete", prompt="Once upon a time", stop=[stop], **options)
        assert found["structuredContent"] == {
            "model": "story",
            "text": text[: text.index(stop)],
            "ended": "stop",
        }
    count = wire.call("count_tokens", text="Once upon a time")["structuredContent"]
    assert count["tokens"] == (
        4 if sense else language.Tokenizer(files["stories.mgt"]).count("Once upon a time")
    )
    # This client cannot sample: the model writes for the app's own tool.
    if place == "unix":
        told = wire.call("tell", about="cat")["structuredContent"]
        assert told["by"] == "story" and told["story"].startswith(
            "Once upon a time, there was a cat"
        )
    found = wire.call("complete", prompt="word " * 300)
    assert found["isError"] and "the prompt takes" in found["content"][0]["text"]
    wire.check()


def test_others_are_answered_meanwhile(serving):
    """On the Pico, while a text is made."""
    model, vocabulary = own_models.language(positions=128)
    wire = serving("pico", {"stories.mgm": model, "stories.mgt": vocabulary})
    id = wire.send(
        "tools/call", {"name": "complete", "arguments": {"prompt": "Once", "max_tokens": 8}}
    )
    answered = 0
    answer = None
    while answer is None:
        ping = wire.send("ping")
        while (message := wire.message()).get("id") != ping:
            if message.get("id") == id:
                answer = message
        answered += 1
    assert "result" in answer and answered > 3
    wire.check()


def test_plain_calls(files, tmp_path, monkeypatch):
    """POST /v1/mcp/completions of the unix build."""
    files, _ = files
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    reserved = ReservedPort()
    app = (
        (rig.EXAMPLES / "story.py")
        .read_text()
        .replace("gw.run()", f'gw.run("http", port={reserved.number})')
    )
    (tmp_path / "app.py").write_text(app)
    command = [targets.firmware("unix"), tmp_path / "app.py", tmp_path]
    process = subprocess.Popen(command, env=rig.environment())

    def post(body):
        connection = http.client.HTTPConnection("127.0.0.1", reserved.number, timeout=PATIENCE_S)
        try:
            connection.request(
                "POST", "/v1/mcp/completions", body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError:
            return None
        finally:
            connection.close()

    try:
        row = {"tool": "complete", "arguments": {"prompt": "Once upon a time", "max_tokens": 20}}
        status, answer = until(lambda: post(json.dumps(row)))
        text, reason = here(files, "Once upon a time", monkeypatch, max_tokens=20)
        assert status == 200
        assert answer["structuredContent"] == {"model": "story", "text": text, "ended": reason}
        row = {"tool": "complete", "arguments": {"prompt": ""}}
        status, answer = post(json.dumps(row))
        assert status == 200
        row = {"tool": "complete", "arguments": {"prompt": "x", "temperature": 9}}
        status, answer = post(json.dumps(row))
        assert status == 200 and answer["isError"] and "maximum" in answer["content"][0]["text"]
    finally:
        process.kill()
        reserved.close()
