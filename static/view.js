// @ts-check
// The view: one render(state), the only place that writes the DOM, and only by textContent.

import { makeCard, renderCard } from './card.js';
import { isRetryable } from './queue.js';
import { curlCommand } from './sharing.js';
import { progress, sizeLimit } from './words.js';

/** @typedef {import('./store.js').Item} Item */
/** @typedef {import('./store.js').State} State */

/** @type {Map<number, HTMLElement>} */
const cards = new Map();

/** @param {string} id */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element with the id "${id}".`);
  return found;
}

/** @param {string} id @param {string} text */
function write(id, text) {
  const target = byId(id);
  if (target.textContent !== text) target.textContent = text; // a live region must not repeat itself
}

/** @param {State} state */
export function render(state) {
  const focused = document.activeElement;
  const card = focused?.closest('.card') ?? null;
  const place = [...cards.values()].findIndex((other) => other === card);
  document.body.classList.toggle('dragging', state.isDragging);
  byId('desk').classList.toggle('slim', state.items.length > 0);
  renderSettings(state);
  renderQueue(state);
  renderCards(state);
  write('note', state.note);
  write('status', state.said.text + '\u00a0'.repeat(state.said.times % 2)); // said again, it must differ
  keepFocus(focused, card, place);
}

/** A button can remove itself; the focus then moves to its neighbour. @param {Element | null} focused
 * @param {Element | null} card around it @param {number} place of the card */
function keepFocus(focused, card, place) {
  if (!focused || isShown(focused)) return;
  const neighbour = [...cards.values()][Math.min(Math.max(place, 0), cards.size - 1)];
  const nearest = [card, neighbour, byId('chooser')].find((other) => other && isShown(other));
  /** @type {HTMLElement} */ (nearest).focus();
}

/** @param {Element} element */
function isShown(element) {
  return element.isConnected && element.getClientRects().length > 0;
}

/** @param {State} state */
function renderSettings({ options, service: { name, version, limits }, copied }) {
  renderSetting('captions', options.captions, limits.beam_size);
  renderSetting('beam-size', options.beamSize, limits.beam_size);
  write('formats', `${limits.image_formats.join(', ')}, ${sizeLimit(limits)}.`);
  write('command', curlCommand('photo.jpg', options));
  byId('copy-command').classList.toggle('copied', copied === 'command');
  write('service', name && `Model: ${name} ${version}`);
}

/** @param {string} id @param {number} value @param {number} most */
function renderSetting(id, value, most) {
  const input = /** @type {HTMLInputElement} */ (byId(id));
  input.max = String(most);
  if (input.value !== String(value)) input.value = String(value);
  write(`${id}-value`, String(value));
}

/** @param {State} state */
function renderQueue({ items }) {
  const bar = /** @type {HTMLProgressElement} */ (byId('progress'));
  bar.max = items.length || 1;
  bar.value = items.filter(({ phase }) => phase.tag !== 'waiting' && phase.tag !== 'sending').length;
  bar.hidden = bar.value === bar.max;
  byId('queue').hidden = items.length === 0;
  byId('retry-failed').hidden = items.filter(isRetryable).length < 2;
  write('progress-text', progress(items));
}

/** @param {State} state */
function renderCards(state) {
  const kept = new Set(state.items.map((item) => item.id));
  for (const [id, card] of cards) {
    if (kept.has(id)) continue;
    card.remove();
    cards.delete(id);
  }
  const added = state.items.filter((item) => !cards.has(item.id)).map(addCard);
  for (const item of state.items) renderCard(/** @type {HTMLElement} */ (cards.get(item.id)), item, state);
  added[0]?.scrollIntoView({ block: 'nearest' });
}

/** @param {Item} item */
function addCard(item) {
  const card = makeCard(/** @type {HTMLTemplateElement} */ (byId('card')), item);
  cards.set(item.id, card);
  byId('cards').append(card);
  return card;
}
