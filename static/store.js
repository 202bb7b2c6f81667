// @ts-check
// The one state of the page, and the store that holds it.

import { UNKNOWN_SERVICE } from './api.js';

/** @typedef {import('./api.js').Options} Options */
/** @typedef {import('./api.js').Prediction} Prediction */
/** @typedef {import('./api.js').Problem} Problem */
/**
 * Where a photo stands. One that waits may have been turned away by a busy server, for some seconds.
 * @typedef {{ tag: 'waiting', busySeconds: number }
 *   | { tag: 'sending' }
 *   | { tag: 'done', prediction: Prediction, roundTripMs: number }
 *   | { tag: 'failed', problem: Problem }
 *   | { tag: 'cancelled' }} Phase
 */
/**
 * A photo in the queue; changed by replacing it, so that the view sees by identity what has changed.
 * @typedef {object} Item
 * @property {number} id
 * @property {File} file
 * @property {string} name
 * @property {string} url of the preview
 * @property {boolean} hasPreview false where the browser cannot show the file
 * @property {Options} options
 * @property {number} refusals how often a busy server has turned it away
 * @property {Phase} phase
 */
/**
 * @typedef {object} State
 * @property {readonly Item[]} items in the order in which they are sent
 * @property {Options} options of the next request
 * @property {import('./api.js').Service} service
 * @property {boolean} isDragging
 * @property {string} note for everyone to read
 * @property {{ text: string, times: number }} said to screen readers
 * @property {string} copied what was copied last: a card's id and the form, such as "3 json"
 */

/** The state, with an event for each change. */
export class Store extends EventTarget {
  /** @type {State} */
  state = {
    items: [],
    options: { captions: 3, beamSize: 3 },
    service: UNKNOWN_SERVICE,
    isDragging: false,
    note: '',
    said: { text: '', times: 0 },
    copied: '',
  };

  /** @param {Partial<State>} changes */
  update(changes) {
    this.state = { ...this.state, ...changes };
    this.dispatchEvent(new Event('change'));
  }

  /** Changes one photo; nothing happens if it is gone. @param {number} id @param {Partial<Item>} changes */
  change(id, changes) {
    this.update({ items: this.state.items.map((item) => (item.id === id ? { ...item, ...changes } : item)) });
  }

  /** @param {number} id */
  find(id) {
    return this.state.items.find((item) => item.id === id);
  }

  /** Tells screen readers, even what they have been told before. @param {string} text */
  say(text) {
    this.update({ said: { text, times: this.state.said.times + 1 } });
  }
}
