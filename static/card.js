// @ts-check
// One photo's card: made from the template, then brought up to date.

import { asSentence, explain, fileSize, milliseconds, odds, percent, readableLabel, settings } from './words.js';

/** @typedef {import('./api.js').Caption} Caption */
/** @typedef {import('./store.js').Item} Item */

const STEPS = ['read', 'queue', 'encode', 'search'];

/** What every card shows now. @type {WeakMap<Element, { item: Item, options: object, copied: string }>} */
const rendered = new WeakMap();

/** @param {string} name @param {string} className @param {string} [text] */
function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** @param {Element} card @param {string} selector */
function part(card, selector) {
  const found = card.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`The template of a card has no "${selector}".`);
  return found;
}

/** @param {Element} card @param {string} selector @param {string} text */
function write(card, selector, text) {
  const target = part(card, selector);
  target.textContent = text;
  target.hidden = text === '';
}

/** @param {HTMLTemplateElement} template @param {Item} item */
export function makeCard(template, { id, name, file, url }) {
  const card = /** @type {HTMLElement} */ (document.importNode(template.content, true).firstElementChild);
  card.dataset.id = String(id);
  card.setAttribute('aria-labelledby', `name-${id}`);
  part(card, '.name').id = `name-${id}`;
  write(card, '.name', name);
  write(card, '.facts', fileSize(file.size));
  /** @type {HTMLImageElement} */ (part(card, '.photo')).src = url;
  part(card, '.remove').setAttribute('aria-label', `Remove ${name}`);
  part(card, '.cancel').setAttribute('aria-label', `Cancel ${name}`);
  part(card, '.copies').setAttribute('aria-label', `Copy the answer for ${name}`);
  return card;
}

/** @param {HTMLElement} card @param {Item} item @param {import('./store.js').State} state */
export function renderCard(card, item, { options, copied, service }) {
  const before = rendered.get(card);
  if (before?.item === item && before.options === options && before.copied === copied) return;
  rendered.set(card, { item, options, copied });
  renderActions(card, item, options, copied);
  part(card, '.photo').hidden = !item.hasPreview;
  part(card, '.no-preview').hidden = item.hasPreview;
  if (before?.item.phase === item.phase) return;
  const { phase } = item;
  card.dataset.phase = phase.tag;
  card.setAttribute('aria-busy', String(phase.tag === 'sending'));
  write(card, '.stage', stage(phase));
  part(card, '.problem').hidden = phase.tag !== 'failed';
  if (phase.tag === 'failed') renderProblem(card, explain(phase.problem, service.limits));
  renderAnswer(card, item);
}

/** @param {import('./store.js').Phase} phase */
function stage(phase) {
  if (phase.tag === 'waiting' && phase.busySeconds > 0)
    return `The server is busy. Trying again in ${phase.busySeconds} s.`;
  return { waiting: 'Waiting for its turn', sending: 'Looking…', cancelled: 'Cancelled', done: '', failed: '' }[
    phase.tag
  ];
}

/** @param {HTMLElement} card @param {Item} item @param {import('./api.js').Options} options @param {string} copied */
function renderActions(card, { id, name, phase, options: asked }, options, copied) {
  const isSame = asked.captions === options.captions && asked.beamSize === options.beamSize;
  const canTry = phase.tag === 'cancelled' || (phase.tag === 'failed' && explain(phase.problem).canRetry);
  const again = phase.tag === 'done' && !isSame ? `Again with ${settings(options)}` : canTry ? 'Try again' : '';
  write(card, '.again', again);
  part(card, '.again').setAttribute('aria-label', `${again}: ${name}`);
  part(card, '.cancel').hidden = phase.tag !== 'waiting' && phase.tag !== 'sending';
  part(card, '.copies').hidden = phase.tag !== 'done';
  for (const button of card.querySelectorAll('[data-form]'))
    button.classList.toggle('copied', copied === `${id} ${button.getAttribute('data-form')}`);
}

/** @param {HTMLElement} card @param {import('./words.js').Explanation} explanation */
function renderProblem(card, { title, advice, detail }) {
  write(card, '.problem-title', title);
  write(card, '.problem-advice', advice);
  write(card, '.problem-detail', detail && `The server said: ${detail}`);
}

/** @param {HTMLElement} card @param {Item} item */
function renderAnswer(card, { phase, name, file, options }) {
  const { captions, classes } = phase.tag === 'done' ? phase.prediction : { captions: [], classes: [] };
  const highest = Math.max(...captions.map((caption) => caption.log_probability));
  part(card, '.captions').replaceChildren(...captions.map((caption) => captionItem(caption, highest)));
  part(card, '.captions').hidden = captions.length === 0;
  part(card, '.classes').replaceChildren(...classes.map(classItem));
  part(card, '.seen').hidden = classes.length === 0;
  /** @type {HTMLImageElement} */ (part(card, '.photo')).alt = captions[0]?.text ?? name;
  if (phase.tag !== 'done') return write(card, '.timings', '');
  const { width, height, timings_ms: timings } = phase.prediction;
  const steps = STEPS.filter((step) => step in timings).map((step) => `${step} ${milliseconds(timings[step])}`);
  write(card, '.facts', `${width} × ${height} pixels, ${fileSize(file.size)}`);
  write(
    card,
    '.timings',
    [`beam size ${options.beamSize}`, ...steps, `in all ${milliseconds(phase.roundTripMs)}`].join(' · '),
  );
}

/** @param {Caption} caption @param {number} highest the best log-probability of all */
function captionItem(caption, highest) {
  const item = element('li', 'caption');
  const sentence = element('p', 'sentence');
  sentence.dir = 'auto';
  const marked = element('span', 'words');
  marked.setAttribute('aria-hidden', 'true');
  marked.append(...caption.words.map(wordMark));
  sentence.append(element('span', 'visually-hidden', asSentence(caption.text)), marked);
  const chance = element('p', 'chance small');
  const value = element('span', 'odds', odds(caption.log_probability));
  value.title = `log-probability ${caption.log_probability.toFixed(2)}`;
  chance.append(bar(Math.exp(caption.log_probability - highest)), value);
  chance.append(' ', element('span', 'exact', `p = ${Number(caption.probability.toPrecision(3))}`));
  const spoken = caption.words.map((word) => `${word.text} ${percent(word.probability)}`).join(', ');
  item.append(sentence, chance, element('p', 'visually-hidden', `Word by word: ${spoken}`));
  return item;
}

/** @param {import('./api.js').Word} word */
function wordMark({ text, probability }) {
  const mark = element('span', 'word');
  mark.style.setProperty('--sure', probability.toFixed(3));
  mark.append(element('span', 'word-text', text), element('span', 'word-percent', percent(probability)));
  return mark;
}

/** @param {import('./api.js').ImageClass} imageClass */
function classItem({ id, label, probability }) {
  const item = element('li', 'class');
  item.title = id;
  item.append(element('span', 'class-label', readableLabel(label)), ' ');
  item.append(element('span', 'class-percent', percent(probability)), bar(probability));
  return item;
}

/** @param {number} share from 0 to 1 */
function bar(share) {
  const track = element('span', 'bar');
  track.setAttribute('aria-hidden', 'true');
  track.style.setProperty('--share', share.toFixed(4));
  return track;
}
