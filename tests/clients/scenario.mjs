// What both TypeScript clients are made to do: `NAME.mjs MODULES ERA WHO URL|COMMAND ...`. MODULES is a
// node_modules folder, ERA legacy, auto or modern, WHO a name that no other client of the server has.
// Prints what the client got as one JSON object; see EXPECTED in tests/device/test_real_clients.py.
import { createRequire } from "node:module";

export const [folder, era, who, ...target] = process.argv.slice(2);
export const load = createRequire(folder + "/");
export const url = /^https?:/.test(target[0]) ? new URL(target[0]) : null;
// The environment of this program, which a client's own default would cut down.
export const server = { command: target[0], args: target.slice(1), env: process.env };

// Answers a question of the server's: yes for apples, no for the rest.
export function answer(request, asked) {
  asked.push([request.params.message, Object.keys(request.params.requestedSchema.properties)]);
  return request.params.message.includes("apple")
    ? { action: "accept", content: { litres: 7, where: "leaf" } }
    : { action: "decline" };
}

// client: connected; call(params, options): its callTool; asked: what answer() was asked.
export async function run(client, revision, call, asked) {
  const report = { revision };
  const name = client.getServerVersion();
  report.server = `${name.name} ${name.version}: ${client.getInstructions()}`;
  report.tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
  report.resources = (await client.listResources()).resources.map((one) => one.uri);
  report.templates = (await client.listResourceTemplates()).resourceTemplates.map(
    (one) => one.uriTemplate,
  );
  report.prompts = (await client.listPrompts()).prompts.map((one) => one.name);

  report.sum = (await call({ name: "add", arguments: { a: 41 } })).structuredContent;
  // Each report is confirmed: these SDKs lose what they read in one go with the answer to the call.
  report.progress = [];
  const pruned = await call(
    { name: "prune", arguments: { rows: 3, overseer: who } },
    {
      onprogress: ({ progress, total, message }) => {
        report.progress.push([progress, total, message]);
        call({ name: "go_on", arguments: { overseer: who } });
      },
    },
  );
  report.called = pruned.content[0].text;
  const read = async (uri) => (await client.readResource({ uri })).contents[0].text;
  report.read = await read("orchard://sorts");
  report.tree = JSON.parse(await read("orchard://tree/plum"));
  const { messages } = await client.getPrompt({ name: "letter", arguments: { sort: "fig" } });
  report.prompt = messages.map(({ role, content }) => [role, content.text]);
  const complete = async (ref, value) =>
    (await client.complete({ ref, argument: { name: "sort", value } })).completion.values;
  report.completion = [
    await complete({ type: "ref/prompt", name: "letter" }, "ap"),
    await complete({ type: "ref/resource", uri: "orchard://tree/{sort}" }, "p"),
  ];
  report.cancelled = await cancel(call);
  const water = async (sort) =>
    (await call({ name: "water", arguments: { sort } })).content[0].text;
  report.accepted = await water("apple");
  report.declined = await water("pear");
  report.asked = asked;
  return report;
}

// Begins a call that never ends and cancels it once it works. Returns how the client took it, and
// whether the server says that this very work was stopped.
async function cancel(call) {
  const aborter = new AbortController();
  const digs = async () => (await call({ name: "digs", arguments: {} })).structuredContent;
  let seen = false;
  const dug = call(
    { name: "dig", arguments: { name: who } },
    {
      signal: aborter.signal,
      onprogress: async () => {
        if (!seen) {
          seen = true;
          if (!(await digs()).digging.includes(who)) throw new Error("nobody digs");
          aborter.abort("enough");
        }
      },
    },
  );
  const ended = await dug.then(
    () => "answered",
    () => "given up",
  );
  for (;;) {
    const { digging, stopped } = await digs();
    if (stopped.includes(who)) return [ended, digging.includes(who) ? "digs" : "stopped"];
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

export async function main(connected) {
  const { client, revision, call, asked } = await connected;
  console.log(JSON.stringify(await run(client, revision, call, asked)));
  await client.close();
}
