// @ts-check
// The formats in which an answer is copied. Pure functions, no DOM.

import { predictUrl } from './api.js';
import { asSentence } from './words.js';

/** @typedef {import('./api.js').Options} Options */
/** @typedef {import('./store.js').Item} Item */

/** A name that no shell, no terminal and no `curl -F` reads as more than a name. Quoted, for the spaces. */
const PLAIN_NAME = /^[\p{L}\p{N}_][\p{L}\p{M}\p{N}_ .()+-]*$/u;

/** @type {Record<string, string>} */
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** The form in which `item` is to be copied. @param {string} form @param {Item} item */
export function shared(form, { phase, name, options }) {
  if (form === 'curl') return curlCommand(name, options);
  if (phase.tag !== 'done') return '';
  const { prediction } = phase;
  const caption = asSentence(prediction.captions[0]?.text ?? '');
  return { text: caption, alt: altAttribute(caption), json: JSON.stringify(prediction, null, 2) }[form] ?? '';
}

/** @param {string} text */
export function altAttribute(text) {
  return `alt="${text.replace(/[&<>"]/g, (character) => ENTITIES[character])}"`;
}

/**
 * The request as a command for a shell. Other names are replaced, so that the command is safe to paste.
 * @param {string} name of the photo
 * @param {Options} options
 */
export function curlCommand(name, options) {
  const file = PLAIN_NAME.test(name) ? name : 'photo.jpg';
  return `curl -F 'image=@${file}' '${predictUrl(options)}'`;
}
