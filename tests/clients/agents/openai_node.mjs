// Calls openai for Node as lines of JSON say, and answers with lines of JSON.
// Runs with the client of a folder: `node openai_node.mjs FOLDER`. See official.py.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const require = createRequire(path.resolve(process.argv[2], "package.json"));
const { OpenAI, AzureOpenAI, APIError, toFile } = require("openai");

const opened = async (kind, file) => {
  const bytes = () => fs.readFileSync(file);
  if (kind === "bytes") return toFile(bytes(), "upload");
  if (kind === "tuple") return toFile(bytes(), path.basename(file), { type: "image/png" });
  const stream = fs.createReadStream(file);
  return kind === "list" ? [stream] : stream;
};

const made = ({ key, base, azure }) => {
  const options = { apiKey: key ?? "none", maxRetries: 0, timeout: 100_000 };
  if (azure) return new AzureOpenAI({ ...options, endpoint: azure, apiVersion: "2024-02-01" });
  const without = key ? {} : { defaultHeaders: { Authorization: null } };
  return new OpenAI({ ...options, baseURL: base, ...without });
};

const plain = (headers) =>
  Object.fromEntries(
    (typeof headers?.entries === "function" ? [...headers.entries()] : Object.entries(headers ?? {}))
      .map(([name, value]) => [name.toLowerCase(), String(value)]),
  );

const called = async (client, { call, args, extra, files, raw }) => {
  if (call === "models") return { body: { data: (await client.models.list()).data } };
  if (call === "model") return { body: await client.models.retrieve(args.model) };
  const body = {}; // files first, as OpenAI's own examples have them
  for (const [name, [kind, file]] of Object.entries(files)) body[name] = await opened(kind, file);
  Object.assign(body, args, extra);
  const name = call === "variation" ? "createVariation" : call;
  const pending = client.images[name](body);
  if (args.stream) {
    const events = [];
    for await (const event of await pending) events.push(event);
    return { body: { events } };
  }
  if (!raw) return { body: await pending };
  const { data, response } = await pending.withResponse();
  return { body: data, headers: plain(response.headers) };
};

const explained = (error) => ({
  ...(error.error ?? {}),
  code: error.code,
  param: error.param,
  type: error.type,
  class: error.constructor.name,
  status: error.status ?? null,
  text: error.message,
  headers: plain(error.headers),
});

for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let told;
  try {
    told = await called(made(asked), asked);
  } catch (error) {
    told = error instanceof APIError ? { error: explained(error) } : { broken: error.stack };
  }
  process.stdout.write(JSON.stringify(told) + "\n");
}
