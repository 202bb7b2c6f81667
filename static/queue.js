// @ts-check
// The queue: sends the photos in order, a few at a time, and tries again when the server says so.

import { Problem, predict } from './api.js';
import { BUSY, asSentence, explain, progress } from './words.js';

const AT_ONCE = 2;
const MOST_REFUSALS = 3; // by a busy server; then the person decides
const LONGEST_PAUSE_SECONDS = 30;

/** Works through the photos of a store. */
export class Queue {
  #nextId = Date.now();
  #pauses = 0;
  /** @type {Map<number, AbortController>} */
  #requests = new Map();

  /** @param {import('./store.js').Store} store */
  constructor(store) {
    this.store = store;
  }

  /** @param {readonly File[]} files */
  add(files) {
    const { items, options } = this.store.state;
    const added = files.map((file) => ({
      id: this.#nextId++,
      file,
      name: file.name || 'Pasted picture',
      url: URL.createObjectURL(file),
      hasPreview: true,
      options,
      refusals: 0,
      phase: waiting(),
    }));
    this.store.update({ items: [...items, ...added], note: '' });
    this.store.say(`Added: ${names(added)}.`);
    this.#proceed();
  }

  /** Asks again, with the settings of now. @param {(item: Item) => boolean} isWanted */
  again(isWanted) {
    const { items, options } = this.store.state;
    const retried = items.map((item) => (isWanted(item) ? { ...item, options, refusals: 0, phase: waiting() } : item));
    this.store.update({ items: retried });
    this.#proceed();
  }

  /** @param {number} id */
  cancel(id) {
    this.store.change(id, { phase: { tag: 'cancelled' } });
    this.store.say(`Cancelled: ${this.store.find(id)?.name}.`);
    this.#abort(id);
  }

  /** @param {(item: Item) => boolean} isWanted */
  remove(isWanted) {
    const gone = this.store.state.items.filter(isWanted);
    this.store.update({ items: this.store.state.items.filter((item) => !isWanted(item)) });
    this.store.say(`Removed: ${names(gone)}.`);
    for (const { id, url } of gone) {
      URL.revokeObjectURL(url);
      this.#abort(id);
    }
  }

  /** Sends what may be sent now. */
  #proceed() {
    while (this.#pauses === 0 && this.#requests.size < AT_ONCE) {
      const next = this.store.state.items.find((item) => item.phase.tag === 'waiting');
      if (!next) return;
      this.#send(next);
    }
  }

  /** @param {Item} item */
  async #send(item) {
    const request = new AbortController();
    this.#requests.set(item.id, request);
    this.store.change(item.id, { phase: { tag: 'sending' } });
    const started = performance.now();
    try {
      const prediction = await predict(item.file, item.options, this.store.state.service.limits, request.signal);
      if (request.signal.aborted) return;
      this.#finish(item, { tag: 'done', prediction, roundTripMs: performance.now() - started });
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof Problem)) console.error(error);
      this.#fail(item, error instanceof Problem ? error : new Problem('unreadable-answer'));
    }
  }

  /** @param {Item} item @param {Problem} problem */
  #fail(item, problem) {
    const seconds = problem.retryAfterSeconds;
    const isBusy = BUSY.includes(problem.status) && seconds > 0 && seconds <= LONGEST_PAUSE_SECONDS;
    if (!isBusy || item.refusals >= MOST_REFUSALS) return this.#finish(item, { tag: 'failed', problem });
    this.store.change(item.id, { refusals: item.refusals + 1, phase: { tag: 'waiting', busySeconds: seconds } });
    this.store.say(`${item.name}: the server is busy. Trying again in ${seconds} s.`);
    this.#pauses++; // for all: the others would be turned away too
    setTimeout(() => {
      this.#pauses--;
      this.#proceed();
    }, seconds * 1000);
    this.#release(item.id);
  }

  /** @param {Item} item @param {Phase} phase */
  #finish({ id, name }, phase) {
    this.store.change(id, { phase });
    const outcome =
      phase.tag === 'done'
        ? asSentence(phase.prediction.captions[0]?.text ?? '')
        : phase.tag === 'failed' && `${explain(phase.problem, this.store.state.service.limits).title}.`;
    this.store.say(`${name}: ${outcome} ${progress(this.store.state.items)}.`);
    this.#release(id);
  }

  /** @param {number} id */
  #abort(id) {
    this.#requests.get(id)?.abort();
    this.#release(id);
  }

  /** @param {number} id */
  #release(id) {
    this.#requests.delete(id);
    this.#proceed();
  }
}

/** @returns {Phase} */
function waiting() {
  return { tag: 'waiting', busySeconds: 0 };
}

/** @param {readonly Item[]} items */
function names(items) {
  return items.length === 1 ? items[0].name : `${items.length} photos`;
}

/** Whether asking again could help. @param {Item} item */
export function isRetryable({ phase }) {
  return phase.tag === 'failed' && explain(phase.problem).canRetry;
}
