// @ts-check
// The view: one render(state), the only place that writes the DOM, and only by textContent.

import { makeCard, renderCard } from './card.js';
import { part, write } from './dom.js';
import { isRetryable } from './queue.js';
import { about, progress, sizeLimit } from './words.js';

/** @type {Map<number, HTMLElement>} */
const cards = new Map();

/** @param {State} state */
export function render(state) {
  const { items, note, said, isDragging } = state;
  const focused = document.activeElement;
  const card = focused?.closest('.card') ?? null;
  const place = [...cards.values()].findIndex((other) => other === card);
  document.body.classList.toggle('dragging', isDragging);
  part(document, '#desk').classList.toggle('slim', items.length > 0);
  renderSettings(state);
  part(document, '#queue').hidden = items.length === 0;
  part(document, '#retry-failed').hidden = items.filter(isRetryable).length < 2;
  write(document, '#progress-text', progress(items));
  renderCards(state);
  write(document, '#note', note);
  // Said again, it must differ. It is never hidden: what appears with its text is not always read out.
  part(document, '#status').textContent = said.text + '\u00a0'.repeat(said.times % 2);
  keepFocus(focused, card, place);
}

/** A button can remove itself; the focus then moves to its neighbour. @param {Element | null} focused
 * @param {Element | null} card around it @param {number} place of the card */
function keepFocus(focused, card, place) {
  if (!focused || focused.checkVisibility()) return;
  const neighbour = [...cards.values()][Math.min(Math.max(place, 0), cards.size - 1)];
  const nearest = [card, neighbour, part(document, '#chooser')].find((other) => other?.checkVisibility());
  /** @type {HTMLElement} */ (nearest).focus();
}

/** @param {State} state */
function renderSettings({ options, service }) {
  const { limits } = service;
  renderSetting('#captions', options.captions, limits.beam_size);
  renderSetting('#beam-size', options.beamSize, limits.beam_size);
  /** @type {HTMLInputElement} */ (part(document, '#explain')).checked = options.explain;
  write(document, '#formats', `${limits.image_formats.join(', ')}, ${sizeLimit(limits)}.`);
  write(document, '#service', about(service));
}

/** @param {string} selector @param {number} value @param {number} most */
function renderSetting(selector, value, most) {
  const input = /** @type {HTMLInputElement} */ (part(document, selector));
  input.max = String(most);
  input.value = String(value);
  write(document, `${selector}-value`, input.value);
}

/** @param {State} state */
function renderCards(state) {
  for (const [id, card] of cards) {
    if (state.items.some((item) => item.id === id)) continue;
    card.remove();
    cards.delete(id);
  }
  const added = state.items.filter((item) => !cards.has(item.id)).map(addCard);
  for (const item of state.items) renderCard(/** @type {HTMLElement} */ (cards.get(item.id)), item, state);
  added[0]?.scrollIntoView({ block: 'nearest' });
}

/** @param {Item} item */
function addCard(item) {
  const card = makeCard(item);
  cards.set(item.id, card);
  part(document, '#cards').append(card);
  return card;
}
