// @ts-check
// Wording of numbers and problems. Pure functions, no DOM.

import { UNKNOWN_SERVICE } from './api.js';

/** Statuses of a busy server, or of a proxy in front of it. */
export const BUSY = [429, 502, 503, 504];

/** By status or kind: title, advice, whether to try again. @type {Record<string, [string, string, boolean]>} */
const REASONS = {
  400: ['The server did not understand the request', 'Reload the page, then try again.', true],
  401: ['This server asks for a key', 'The page has none to give. Ask from a program that has one.', false],
  408: ['The upload took too long', 'Try again on a faster connection, or with a smaller photo.', true],
  413: ['That photo is too large', 'Save it smaller, or choose another photo.', false],
  415: ['That file is not an image we can read', 'Save it as JPEG or PNG first.', false],
  422: ['That image could not be opened', 'It seems to be damaged or cut short. Save it again, or choose another.', false],
  503: ['The server is busy', 'Wait a moment, then try again.', true],
  unreachable: ['The server could not be reached', 'Check that it is running, then try again.', true],
  timeout: ['The server took too long', 'It may be busy, or the connection slow. Try again.', true],
  'unreadable-answer': ['The answer could not be read', 'Something on the way may have changed it. Try again.', true],
  'unreadable-file': ['That file could not be read', 'It may be a folder, or moved or deleted since. Choose it again.', false],
};

/** @param {Limits} limits */
export function sizeLimit(limits) {
  const megapixels = Math.round(limits.image_pixels / 1e5) / 10;
  return `up to ${fileSize(limits.body_bytes)} and ${megapixels} megapixels`;
}

/** @param {Problem} problem @param {Limits} [limits] @returns {Explanation} */
export function explain({ kind, status, detail, retryAfterSeconds }, limits = UNKNOWN_SERVICE.limits) {
  let [title, advice, canRetry] = REASONS[BUSY.includes(status) ? 503 : status || kind] ?? [
    'Something went wrong on the server',
    `It is not your photo’s fault (status ${status}). Try again.`,
    true,
  ];
  if (status === 415) advice = `Accepted: ${limits.image_formats.join(', ')}. ${advice}`;
  if (status === 413) advice = `Photos of ${sizeLimit(limits)} are accepted. ${advice}`;
  if (retryAfterSeconds > 1) advice = `Try again in ${retryAfterSeconds} seconds.`;
  return { title, advice, detail, canRetry };
}

/** @param {number} probability from 0 to 1 */
export function percent(probability) {
  if (probability > 0 && probability < 0.01) return '<1%';
  if (probability > 0.99 && probability < 1) return '>99%';
  return `${Math.round(probability * 100)}%`;
}

/** A score that does not count the words is small: "1 in 1,490". @param {number} score natural logarithm */
export function odds(score) {
  const probability = Math.exp(score);
  const oneIn = (1 / probability).toLocaleString('en', { maximumSignificantDigits: 3 });
  return probability >= 0.1 ? percent(probability) : `1 in ${oneIn}`;
}

/** @param {number} bytes */
export function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  const kibibytes = bytes / 1024;
  return kibibytes < 1000 ? `${Math.round(kibibytes)} KiB` : `${Math.round(kibibytes / 102.4) / 10} MiB`;
}

/** @param {number} duration in milliseconds */
export function milliseconds(duration) {
  return `${duration.toFixed(duration < 10 ? 1 : 0)}\u00a0ms`;
}

/** @param {string} label */
export function readableLabel(label) {
  return label.replaceAll('_', ' ');
}

/** @param {string} text */
export function asSentence(text) {
  const stop = /[ก-໿]$/.test(text) ? '' : /[⺀-鿿]$/.test(text) ? '。' : '.';
  return text ? text[0].toUpperCase() + text.slice(1) + stop : 'No words at all.';
}

/** @param {Options} options */
export function settings({ captions, beamSize }) {
  return `${captions} ${captions === 1 ? 'caption' : 'captions'}, beam size ${beamSize}`;
}

/** @param {Service} service */
export function about({ name, version, parameters, good_at: good, bad_at: bad }) {
  const size = (parameters / 1e6).toFixed(1);
  return name && `${name} ${version}, ${size} million parameters.${good && ` Good at ${good}.`}${bad && ` Bad at ${bad}.`}`;
}

/** "2 of 10 done, 1 failed" @param {readonly Item[]} items */
export function progress(items) {
  const count = (/** @type {string} */ tag) => items.filter(({ phase }) => phase.tag === tag).length;
  const others = ['failed', 'cancelled'].filter((tag) => count(tag) > 0).map((tag) => `, ${count(tag)} ${tag}`);
  return `${count('done')} of ${items.length} done${others.join('')}`;
}
