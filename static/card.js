// @ts-check
// One photo's card: made from the template, then brought up to date.

import { element, part, write } from './dom.js';
import { shade } from './looking.js';
import { asSentence, explain, fileSize, milliseconds, odds, percent, readableLabel, settings } from './words.js';

/** What every card shows now. @type {WeakMap<Element, { item: Item, options: Options, copied: string, look?: Look }>} */
const rendered = new WeakMap();

/** Where the words and classes looked whose maps are known, by their buttons. @type {WeakMap<Element, Look>} */
export const looks = new WeakMap();

/** @param {Item} item */
export function makeCard({ id, name, file, url }) {
  const { content } = /** @type {HTMLTemplateElement} */ (part(document, '#card'));
  const card = part(document.importNode(content, true), '.card');
  card.dataset.id = String(id);
  card.setAttribute('aria-labelledby', `name-${id}`);
  part(card, '.name').id = `name-${id}`;
  write(card, '.name', name);
  write(card, '.facts', fileSize(file.size));
  /** @type {HTMLImageElement} */ (part(card, '.photo')).src = url;
  part(card, '.remove').ariaLabel = `Remove ${name}`;
  part(card, '.cancel').ariaLabel = `Cancel ${name}`;
  part(card, '.copies').ariaLabel = `Copy the answer for ${name}`;
  return card;
}

/** @param {HTMLElement} card @param {Item} item @param {State} state */
export function renderCard(card, item, { options, copied, service, look }) {
  const before = rendered.get(card);
  rendered.set(card, { item, options, copied, look });
  if (before?.look !== look || before?.item !== item) renderLook(card, item, look);
  if (before?.item === item && before.options === options && before.copied === copied) return;
  renderActions(card, item, options, copied);
  part(card, '.photo').hidden = !item.hasPreview;
  part(card, '.no-preview').hidden = item.hasPreview;
  if (before?.item.phase === item.phase && before.options.explain === options.explain) return;
  const { phase } = item;
  card.dataset.phase = phase.tag;
  card.ariaBusy = String(phase.tag === 'sending');
  write(card, '.stage', stage(phase));
  part(card, '.problem').hidden = phase.tag !== 'failed';
  if (phase.tag === 'failed') {
    const { title, advice, detail } = explain(phase.problem, service.limits);
    write(card, '.problem-title', title);
    write(card, '.problem-advice', advice);
    write(card, '.problem-detail', detail && `The server said: ${detail}`);
  }
  renderAnswer(card, item, options.explain);
}

/** @param {Phase} phase */
function stage(phase) {
  const { tag } = phase;
  if (tag === 'waiting' && phase.busySeconds > 0) return `The server is busy. Trying again in ${phase.busySeconds} s.`;
  const done = tag === 'done' && phase.prediction.unlikeness > 1 ? 'Far from what it was trained on.' : '';
  return { waiting: 'Waiting for its turn', sending: 'Looking…', cancelled: 'Cancelled', done, failed: '' }[tag];
}

/** @param {HTMLElement} card @param {Item} item @param {Options} options @param {string} copied */
function renderActions(card, { id, name, phase, options: asked }, options, copied) {
  const hasMaps = asked.explain || !options.explain;
  const isSame = asked.captions === options.captions && asked.beamSize === options.beamSize && hasMaps;
  const canTry = phase.tag === 'cancelled' || (phase.tag === 'failed' && explain(phase.problem).canRetry);
  const again = phase.tag === 'done' && !isSame ? `Again with ${settings(options)}` : canTry ? 'Try again' : '';
  write(card, '.again', again);
  part(card, '.again').ariaLabel = `${again}: ${name}`;
  part(card, '.cancel').hidden = phase.tag !== 'waiting' && phase.tag !== 'sending';
  part(card, '.copies').hidden = phase.tag !== 'done';
  for (const button of card.querySelectorAll('[data-form]'))
    button.classList.toggle('copied', copied === `${id} ${button.getAttribute('data-form')}`);
}

/** Dims the photo where a word of this card did not look. @param {HTMLElement} card @param {Item} item @param {Look} [look] */
function renderLook(card, { phase, hasPreview }, look) {
  const canvas = /** @type {HTMLCanvasElement} */ (part(card, '.shade'));
  const isOurs = look?.card === card && phase.tag === 'done';
  canvas.hidden = !isOurs || !hasPreview;
  write(card, '.where', isOurs ? look.told : '');
  if (isOurs) shade(canvas, look.map, phase.prediction);
}

/** @param {HTMLElement} card @param {Item} item @param {boolean} isExplained */
function renderAnswer(card, { phase, name, file, options }, isExplained) {
  const { captions, classes } = phase.tag === 'done' ? phase.prediction : { captions: [], classes: [] };
  const mark = marker(card, isExplained);
  part(card, '.captions').replaceChildren(...captions.map((caption) => captionItem(caption, mark)));
  part(card, '.captions').hidden = captions.length === 0;
  part(card, '.classes').replaceChildren(...classes.map((found) => classItem(found, mark)));
  part(card, '.seen').hidden = classes.length === 0;
  /** @type {HTMLImageElement} */ (part(card, '.photo')).alt = captions[0]?.text ?? name;
  if (phase.tag !== 'done') return write(card, '.timings', '');
  const { width, height, timings_ms: timings } = phase.prediction;
  write(card, '.facts', `${width} × ${height} pixels, ${fileSize(file.size)}`);
  const steps = Object.entries({ ...timings, 'in all': phase.roundTripMs });
  const taken = steps.map(([step, duration]) => `${step} ${milliseconds(duration)}`);
  write(card, '.timings', [`beam size ${options.beamSize}`, ...taken].join(' · '));
}

/** Returns what makes words and classes: buttons that show where they looked, if that is wanted and known.
 * @param {HTMLElement} card @param {boolean} isExplained */
function marker(card, isExplained) {
  return (/** @type {string} */ className, /** @type {string} */ text, /** @type {Mapped} */ { map, where }) => {
    if (!isExplained || !map) return element('span', className);
    const button = element('button', `${className} look`);
    looks.set(button, { card, map, told: `${text}: ${where}` });
    return button;
  };
}

/** @typedef {ReturnType<typeof marker>} Marker */

/** @param {Caption} caption @param {Marker} mark */
function captionItem({ text, words, score }, mark) {
  const item = element('li', 'caption');
  const sentence = element('p', 'sentence');
  sentence.dir = 'auto';
  const marks = element('span', 'words');
  marks.append(...words.map((word) => wordMark(word, mark)));
  const hasButtons = marks.querySelector('button') !== null;
  marks.ariaHidden = String(!hasButtons);
  sentence.append(element('span', 'visually-hidden', asSentence(text)), marks);
  const chance = element('p', 'chance small');
  chance.append(bar(Math.exp(score)), element('span', 'odds', `Score ${odds(score)}`));
  item.append(sentence, chance);
  const spoken = words.map((word) => `${word.text} ${percent(word.probability)}`).join(', ');
  if (!hasButtons) item.append(element('p', 'visually-hidden', `Word by word: ${spoken}`));
  return item;
}

/** @param {Word} word @param {Marker} mark */
function wordMark(word, mark) {
  const made = mark('word', word.text, word);
  made.style.setProperty('--sure', word.probability.toFixed(3));
  made.append(element('span', 'word-text', word.text), element('span', 'word-percent', percent(word.probability)));
  return made;
}

/** @param {ImageClass} imageClass @param {Marker} mark */
function classItem(imageClass, mark) {
  const item = element('li', 'class');
  const label = readableLabel(imageClass.label);
  const name = mark('class-label', label, imageClass);
  name.textContent = label;
  const { probability } = imageClass;
  item.append(name, ' ', element('span', 'class-percent', percent(probability)), bar(probability));
  return item;
}

/** @param {number} share from 0 to 1 */
function bar(share) {
  const track = element('span', 'bar');
  track.ariaHidden = 'true';
  track.style.setProperty('--share', share.toFixed(4));
  return track;
}
