// @ts-check
// The formats in which answers are copied and saved. Pure functions, no DOM.

import { predictUrl } from './api.js';
import { asSentence, readableLabel } from './words.js';

/** A name that no shell, no terminal and no `curl -F` reads as more than a name. Quoted, for the spaces. */
const PLAIN_NAME = /^[\p{L}\p{N}_][\p{L}\p{M}\p{N}_ .()+-]*$/u;

/** The form in which `item` is to be copied. @param {string} form @param {Item} item */
export function shared(form, { phase, name, options }) {
  if (form === 'curl') return curlCommand(name, options);
  if (phase.tag !== 'done') return '';
  const caption = asSentence(phase.prediction.captions[0]?.text ?? '');
  if (form === 'alt') return `alt="${entities(caption)}"`;
  if (form === 'markdown') return markdown(caption, name);
  return form === 'text' ? caption : JSON.stringify(phase.prediction, null, 2);
}

/** Text that is only text, in HTML and its attributes. @param {string} text */
export function entities(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** An image with its caption as text. @param {string} caption @param {string} name */
export function markdown(caption, name) {
  const text = entities(caption).replace(/[\\[\]*_`~]/g, '\\$&');
  return `![${text}](${encodeURIComponent(name).replaceAll('(', '%28').replaceAll(')', '%29')})`;
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

/** All answers, as the server gave them. @param {readonly Item[]} items */
export function asJson(items) {
  const answers = items.flatMap(({ name, phase }) => (phase.tag === 'done' ? [{ photo: name, ...phase.prediction }] : []));
  return JSON.stringify(answers, null, 2);
}

/** All answers as a table with one caption a row. @param {readonly Item[]} items */
export function asCsv(items) {
  const rows = [['photo', 'rank', 'caption', 'score', 'probability', 'classes']];
  for (const { name, phase } of items) {
    if (phase.tag !== 'done') continue;
    const { captions, classes } = phase.prediction;
    const seen = classes.map(({ label, probability }) => `${readableLabel(label)} ${probability}`).join('; ');
    captions.forEach(({ text, score, probability }, index) =>
      rows.push([plain(name), `${index + 1}`, plain(text), `${score}`, `${probability}`, plain(seen)]),
    );
  }
  const lines = rows.map((row) => row.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(','));
  return `\ufeff${lines.join('\r\n')}\r\n`; // the mark tells spreadsheets that it is UTF-8
}

/** A text that no spreadsheet takes for a formula. @param {string} text */
function plain(text) {
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}
