// @ts-check
// The view: one render(state), the only place that writes the DOM, and with textContent alone.

import {
  asSentence,
  exact,
  explain,
  fileSize,
  milliseconds,
  odds,
  percent,
  readableLabel,
  sizeLimit,
} from './words.js';

/** @typedef {import('./api.js').Prediction} Prediction */
/** @typedef {import('./api.js').Caption} Caption */
/** @typedef {import('./api.js').ImageClass} ImageClass */
/** @typedef {import('./api.js').Problem} Problem */
/** @typedef {import('./api.js').Service} Service */
/**
 * @typedef {{ tag: 'idle' }
 *   | { tag: 'sending' }
 *   | { tag: 'done', prediction: Prediction, roundTripMs: number }
 *   | { tag: 'failed', problem: Problem }} Phase
 */
/** @typedef {{ name: string, bytes: number, url: string, preview: 'loading' | 'shown' | 'impossible' }} Photo */
/** @typedef {{ phase: Phase, photo: Photo | null, isDragging: boolean, note: string, service: Service }} State */

const STEPS = ['read', 'queue', 'encode', 'search'];

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element with the id "${id}".`);
  return found;
}

/** @param {string} name @param {string} className @param {string} [text] */
function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** @param {string} id @param {string} text */
function write(id, text) {
  const target = byId(id);
  if (target.textContent !== text) target.textContent = text; // a live region must not repeat itself
}

/** @param {string} id @param {boolean} isShown */
function show(id, isShown) {
  byId(id).hidden = !isShown;
}

/** @type {Phase | null} */
let renderedPhase = null;

/** @param {State} state */
export function render(state) {
  const { phase, photo, isDragging, note, service } = state;
  byId('frame').classList.toggle('dragging', isDragging);
  renderPhoto(photo, phase);
  renderActions(phase);
  renderService(service);
  write('note', note);
  write('status', announcement(state));
  if (phase === renderedPhase) return;
  renderedPhase = phase;
  renderPhase(state);
}

/** @param {Photo | null} photo @param {Phase} phase */
function renderPhoto(photo, phase) {
  const image = /** @type {HTMLImageElement} */ (byId('photo'));
  if (photo && image.getAttribute('src') !== photo.url) image.src = photo.url;
  if (!photo) image.removeAttribute('src');
  image.alt = phase.tag === 'done' ? (phase.prediction.captions[0]?.text ?? '') : (photo?.name ?? '');
  show('photo', photo?.preview === 'shown');
  show('no-preview', photo?.preview === 'impossible');
  show('invitation', photo === null);
  show('formats', photo === null);
  show('file', photo !== null);
  write('file-name', photo?.name ?? '');
  write('file-size', photo ? fileSize(photo.bytes) : '');
}

/** @param {Phase} phase */
function renderActions(phase) {
  show('cancel', phase.tag === 'sending');
  show('progress', phase.tag === 'sending');
  show('another', phase.tag === 'done' || phase.tag === 'failed');
  byId('tell').setAttribute('aria-busy', String(phase.tag === 'sending'));
}

/** @param {Service} service */
function renderService({ name, version, limits }) {
  write('service', name && `Model: ${name} ${version}`);
  write('formats', `JPEG, PNG, WebP, GIF, BMP or TIFF, ${sizeLimit(limits)}.`);
  write('command', `curl -F image=@photo.jpg ${location.origin}/v1/predict`);
}

/** @param {State} state @returns {string} what a screen reader is told; a failure is told by its alert */
function announcement({ phase, note }) {
  if (phase.tag === 'sending') return `${note} Looking at the photo.`.trim();
  if (phase.tag === 'done') return `${note} Done. ${asSentence(phase.prediction.captions[0]?.text ?? '')}`.trim();
  return note;
}

/** @param {State} state */
function renderPhase({ phase, service }) {
  show('waiting', phase.tag === 'idle' || phase.tag === 'sending');
  show('problem', phase.tag === 'failed');
  show('result', phase.tag === 'done');
  byId('ghost').classList.toggle('alive', phase.tag === 'sending');
  write('waiting-line', phase.tag === 'sending' ? 'Looking…' : 'What it sees appears here.');
  if (phase.tag === 'failed') renderProblem(explain(phase.problem, service.limits));
  if (phase.tag === 'done') renderPrediction(phase.prediction, phase.roundTripMs);
}

/** @param {import('./words.js').Explanation} explanation */
function renderProblem({ title, advice, detail, canRetry }) {
  write('problem-title', title);
  write('problem-advice', advice);
  write('problem-detail', detail && `The server said: ${detail}`);
  show('retry', canRetry);
}

/** @param {Prediction} prediction @param {number} roundTripMs */
function renderPrediction({ captions, classes, timings_ms: timings, width, height }, roundTripMs) {
  const highest = Math.max(...captions.map((caption) => caption.log_probability));
  byId('captions').replaceChildren(...captions.map((caption) => captionItem(caption, highest)));
  byId('classes').replaceChildren(...classes.map(classItem));
  show('classes-block', classes.length > 0);
  const steps = STEPS.filter((step) => step in timings).map((step) => `${step} ${milliseconds(timings[step])}`);
  write('timings', [`${width} × ${height} pixels`, ...steps, `in all ${milliseconds(roundTripMs)}`].join(' · '));
}

/** @param {Caption} caption @param {number} highest the best log-probability in the list @returns {HTMLElement} */
function captionItem(caption, highest) {
  const share = Math.exp(caption.log_probability - highest);
  const item = element('li', 'caption');
  const sentence = element('p', 'sentence');
  sentence.append(element('span', 'visually-hidden', asSentence(caption.text)));
  const marked = element('span', 'words');
  marked.setAttribute('aria-hidden', 'true');
  marked.append(...caption.words.map(wordMark));
  sentence.append(marked);

  const facts = element('div', 'facts small');
  facts.append(bar(share), element('span', 'share', share === 1 ? 'most likely' : `${percent(share)} as likely`));
  const value = element('span', 'odds', odds(caption.log_probability));
  value.title = `log-probability ${caption.log_probability.toFixed(2)}`;
  const values = element('span', 'values');
  values.append(value, element('span', 'exact', `p = ${exact(caption.probability)}`));
  facts.append(values);
  const spoken = caption.words.map((word) => `${word.text} ${percent(word.probability)}`).join(', ');
  item.append(sentence, facts, element('p', 'visually-hidden', `Word by word: ${spoken}`));
  return item;
}

/** @param {import('./api.js').Word} word @returns {HTMLElement} */
function wordMark({ text, probability }) {
  const mark = element('span', 'word');
  mark.title = `“${text}”: ${percent(probability)} sure`;
  mark.style.setProperty('--sure', probability.toFixed(3));
  mark.append(element('span', 'word-text', text), element('span', 'word-percent', percent(probability)));
  return mark;
}

/** @param {ImageClass} imageClass @returns {HTMLElement} */
function classItem({ id, label, probability }) {
  const item = element('li', 'class');
  item.title = id;
  item.append(
    element('span', 'class-label', readableLabel(label)),
    element('span', 'class-percent', percent(probability)),
    bar(probability),
  );
  return item;
}

/** @param {number} share from 0 to 1 @returns {HTMLElement} */
function bar(share) {
  const track = element('span', 'bar');
  track.setAttribute('aria-hidden', 'true');
  track.style.setProperty('--share', share.toFixed(4));
  return track;
}
