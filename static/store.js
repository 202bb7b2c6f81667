// @ts-check
// The one state of the page, and the store that holds it. Types: tests/static/page.d.ts.

import { UNKNOWN_SERVICE } from './api.js';

/** The state, with an event for each change. */
export class Store extends EventTarget {
  /** @type {State} */
  state = {
    items: [],
    options: { captions: 3, beamSize: 3, explain: false },
    service: UNKNOWN_SERVICE,
    isDragging: false,
    note: '',
    said: { text: '', times: 0 },
    copied: '',
    look: undefined,
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
