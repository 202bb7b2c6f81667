// Asks as people do, and prints what came of it: node ollama.mjs <url> <key> <photo>
import { readFile } from 'node:fs/promises';
import { Ollama } from 'ollama';

const [host, key, path] = process.argv.slice(2);
const client = new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });
const photo = await readFile(path);

const whole = await client.generate({ model: 'llava', prompt: 'What is this?', images: [photo] });
let streamed = '';
const messages = [{ role: 'user', content: 'What is this?', images: [photo] }];
for await (const part of await client.chat({ model: 'llava', messages, stream: true })) {
  streamed += part.message.content;
}
const labels = await client.generate({ model: 'llava', prompt: 'Labels?', images: [photo], format: 'json' });
const models = await client.list();
const shown = await client.show({ model: 'llava' });
const refused = await client.generate({ model: 'llava', prompt: 'Hello?' }).catch((error) => error);
const stranger = await new Ollama({ host }).list().catch((error) => error);

console.log(
  JSON.stringify({
    whole: whole.response,
    streamed,
    labels: JSON.parse(labels.response).labels.length,
    models: models.models.map((model) => model.name),
    sees: shown.capabilities.includes('vision'),
    refused: [refused.status_code, refused.message],
    stranger: stranger.status_code,
  }),
);
