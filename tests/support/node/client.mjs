// What OpenAI's client for Node.js gets of /v1, as JSON. Only its base URL and its key are changed.
// node client.mjs FOLDER_OF_THE_CLIENT BASE_URL KEY ASSISTANT
import { createRequire } from "node:module";

const [folder, baseURL, apiKey, assistant] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "alpha beta" }];

async function told(stream) {
  let text = "";
  const annotations = [];
  for await (const chunk of stream) {
    const delta = chunk.choices[0]?.delta ?? {};
    text += delta.content ?? "";
    annotations.push(...(delta.annotations ?? []));
  }
  return { text, annotations };
}

async function refused(asking) {
  try {
    await asking;
  } catch (error) {
    return [error.constructor.name, error.status, error.code, error.param];
  }
  return null;
}

const plain = await client.chat.completions.create({ model: "echo", messages });
const stream = await client.chat.completions.create({ model: "echo", messages, stream: true });
const responding = client.responses.stream({ model: "gpt-r", input: "alpha beta" });
const cited = { model: assistant, messages: [{ role: "user", content: "When does the harbour open in the morning?" }] };
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const embedded = await client.embeddings.create({ model: "words", input: ["a", "b"], encoding_format: "float" });
const wrong = new OpenAI({ baseURL, apiKey: `tk_${"x".repeat(40)}`, maxRetries: 0 });
console.log(
  JSON.stringify({
    plain: plain.choices[0].message.content,
    stream: await told(stream),
    response: (await responding.finalResponse()).output_text,
    cited: (await client.chat.completions.create(cited)).choices[0].message,
    citedStream: await told(await client.chat.completions.create({ ...cited, stream: true })),
    models,
    vectors: embedded.data.length,
    missing: await refused(client.chat.completions.create({ model: "no-such", messages })),
    denied: await refused(wrong.chat.completions.create({ model: "echo", messages })),
    limited: await refused(client.chat.completions.create({ model: "429:1:7", messages })),
    failed: await refused(client.chat.completions.create({ model: "401", messages })),
  }),
);
