"""Queued calls as tasks, for the official SDK's client in both eras: on the unix build over stdio
and on the emulated Pico through the bridge. They survive restarts."""

from typing import Literal

import anyio
import pytest
import rig
import targets
from mcp.client.extension import ClientExtension, ResultClaim
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    CancelTaskRequest,
    CancelTaskRequestParams,
    CancelTaskResult,
    CreateTaskResult,
    GetTaskPayloadRequest,
    GetTaskPayloadRequestParams,
    GetTaskRequest,
    GetTaskRequestParams,
    GetTaskResult,
    ListTasksRequest,
    ListTasksResult,
    Request,
    RequestParams,
    Result,
)
from waiting import PATIENCE_S

WORKBENCH = rig.APPS / "workbench.py"
EXTENSION = "io.modelcontextprotocol/tasks"


class Anything(Result):
    """A result with whatever members."""

    model_config = {"extra": "allow"}


class ExtensionParams(RequestParams):
    model_config = {"extra": "allow"}


async def ask(client, method, **params):
    """A request of the Tasks extension, of which the SDK has no models."""
    request = Request[ExtensionParams, str](method=method, params=ExtensionParams(**params))
    result = await client.session.send_request(request, Anything)
    return result.model_dump(by_alias=True)


class Created(Result):
    """The result of a call that became a task."""

    result_type: Literal["task"]
    model_config = {"extra": "allow"}


class Tasks(ClientExtension):
    """The extension as a client would implement it with the SDK: it polls."""

    identifier = EXTENSION

    def __init__(self):
        self.created = []

    def claims(self):
        return [ResultClaim(result_type="task", model=Created, resolve=self._resolve)]

    async def _resolve(self, created, context):
        self.created.append(created.model_extra["taskId"])
        return await self.result(context, self.created[-1])

    async def result(self, client, id):
        with anyio.fail_after(PATIENCE_S):
            while (task := await ask(client, "tasks/get", taskId=id))["status"] == "working":
                await anyio.sleep(task["pollIntervalMs"] / 1000)
        assert task["status"] == "completed"
        return CallToolResult.model_validate(task["result"])


@pytest.fixture(params=["unix", "pico"])
def place(request, tmp_path):
    """(target, function(office) that gives the command of a client for the app there)."""
    target = targets.make_target(request.param, tmp_path)

    def command(office):
        if not target.is_board:
            return [target.micropython, WORKBENCH, office.url, tmp_path / "queue.nor"]
        return rig.bridge(target.sim, tmp_path, upstream=office)

    if target.is_board:
        rig.put(target, WORKBENCH)
    yield target, command
    target.close()


def drive(command, folder, mode, scenario, **options):
    async def main():
        with open(folder / "stderr.log", "a") as log, anyio.fail_after(3 * PATIENCE_S):
            async with rig.sdk_client(command, mode, log, **options) as client:
                await scenario(client)

    anyio.run(main)


def restart(target):
    if target.is_board:
        target.sim.reset()


def test_the_experimental_form(place, tmp_path):
    target, command = place
    office = rig.Office(tmp_path)
    command = command(office)
    ids = []

    async def call(client, plot):
        # The SDK's own send_request() takes no other result of a call than the ordinary one.
        params = {"name": "office_log_reading", "arguments": {"plot": plot, "percent": 50}}
        params["task"] = {"ttl": 60000}
        raw = await client.session._dispatcher.send_raw_request("tools/call", params, {})
        return CreateTaskResult.model_validate(raw, by_name=False).task

    async def get(client, id):
        request = GetTaskRequest(params=GetTaskRequestParams(task_id=id))
        return await client.session.send_request(request, GetTaskResult)

    async def put_in(client):
        assert client.server_capabilities.tasks.requests.tools.call is not None
        for plot in range(3):
            task = await call(client, plot)
            assert task.status == "working" and task.ttl
            ids.append(task.task_id)
        assert (await get(client, ids[0])).status == "working"
        cancel = CancelTaskRequest(params=CancelTaskRequestParams(task_id=ids[1]))
        cancelled = await client.session.send_request(cancel, CancelTaskResult)
        assert cancelled.status == "cancelled"
        with pytest.raises(MCPError):
            await client.session.send_request(cancel, CancelTaskResult)
        with pytest.raises(MCPError):
            await get(client, "nothing-like-it")

    async def take_out(client):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["office_log_reading"].execution.task_support == "optional"
        listed = await client.session.send_request(ListTasksRequest(), ListTasksResult)
        assert {task.task_id for task in listed.tasks} == set(ids)
        request = GetTaskPayloadRequest(params=GetTaskPayloadRequestParams(task_id=ids[2]))
        result = await client.session.send_request(request, CallToolResult)
        assert rig.text_of(result) == "noted: plot 2 at 50 percent"
        task = await get(client, ids[2])
        assert task.status == "completed" and task.last_updated_at >= task.created_at
        assert (await get(client, ids[1])).status == "cancelled"

    drive(command, tmp_path, "legacy", put_in)
    restart(target)
    with office:
        drive(command, tmp_path, "legacy", take_out)
        # Both may have gone in one batch, whose calls are carried out side by side.
        assert sorted(row["plot"] for row in office.executed()) == [0, 2]


def test_the_extension(place, tmp_path):
    target, command = place
    office = rig.Office(tmp_path)
    command = command(office)
    ids = []

    async def put_in(client):
        arguments = {"plot": 7, "percent": 70}
        for _ in range(2):
            created = await client.session.call_tool(
                "office_log_reading", arguments, allow_claimed=True
            )
            assert created.model_extra["status"] == "working"
            ids.append(created.model_extra["taskId"])
        await ask(client, "tasks/cancel", taskId=ids[1])
        assert (await ask(client, "tasks/get", taskId=ids[1]))["status"] == "cancelled"

    async def take_out(client):
        result = await tasks.result(client, ids[0])
        assert rig.text_of(result) == "noted: plot 7 at 70 percent"
        # While the upstream is there a call is an ordinary one.
        result = await client.call_tool("office_log_reading", {"plot": 8, "percent": 80})
        assert rig.text_of(result) == "noted: plot 8 at 80 percent" and not tasks.created

    tasks = Tasks()
    more = {"extensions": [tasks]}
    drive(command, tmp_path, "auto", put_in, **more)
    restart(target)
    with office:
        drive(command, tmp_path, "auto", take_out, **more)
        assert [row["plot"] for row in office.executed()] == [7, 8]
