// Asks as people do, and prints what came of it: node openai.mjs <url> <key> <photo>
import { readFile } from 'node:fs/promises';
import OpenAI from 'openai';

const [url, apiKey, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const photo = `data:image/jpeg;base64,${await readFile(path, 'base64')}`;
const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: photo } }] }];

const whole = await client.chat.completions.create({ model: 'any', messages, n: 2 });
let streamed = '';
for await (const chunk of await client.chat.completions.create({ model: 'any', messages, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? '';
}
const input = [{ role: 'user', content: [{ type: 'input_image', image_url: photo, detail: 'auto' }] }];
const response = await client.responses.create({ model: 'any', input });
const models = await client.models.list();
const link = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://example.org/a.jpg' } }] }];
const refused = await client.chat.completions.create({ model: 'any', messages: link }).catch((error) => error);
const stranger = await client.withOptions({ apiKey: 'of-a-stranger' }).models.list().catch((error) => error);

console.log(
  JSON.stringify({
    whole: whole.choices.map((choice) => choice.message.content),
    streamed,
    response: response.output_text,
    models: models.data.map((model) => model.id),
    refused: [refused instanceof OpenAI.BadRequestError, refused.code, refused.message],
    stranger: stranger instanceof OpenAI.AuthenticationError,
  }),
);
