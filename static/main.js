// @ts-check
// Wiring: what the person does -> the state -> render.

import { Problem, UNKNOWN_SERVICE, describeService, predict } from './api.js';
import { render } from './view.js';

/** @typedef {import('./view.js').State} State */

/** Holds the one state and says when it changes. */
class Store extends EventTarget {
  /** @type {State} */
  state = { phase: { tag: 'idle' }, photo: null, isDragging: false, note: '', service: UNKNOWN_SERVICE };

  /** @param {Partial<State>} changes */
  update(changes) {
    this.state = { ...this.state, ...changes };
    this.dispatchEvent(new Event('change'));
  }
}

const store = new Store();
const chooser = /** @type {HTMLInputElement} */ (document.getElementById('chooser'));
let request = new AbortController();
/** @type {File | null} */
let current = null;

/** Shows a photo and asks for its captions; an older request ends here. @param {File} file @param {string} [note] */
async function tell(file, note = '') {
  request.abort();
  request = new AbortController();
  const { signal } = request;
  if (file !== current) showPhoto(file);
  store.update({ phase: { tag: 'sending' }, note });
  const started = performance.now();
  try {
    const prediction = await predict(file, store.state.service.limits, signal);
    if (signal.aborted) return;
    store.update({ phase: { tag: 'done', prediction, roundTripMs: performance.now() - started } });
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
  }
}

/** @param {unknown} error */
function fail(error) {
  if (!(error instanceof Problem)) console.error(error);
  const problem = error instanceof Problem ? error : new Problem('unreadable-answer');
  store.update({ phase: { tag: 'failed', problem } });
}

/** @param {File} file */
async function showPhoto(file) {
  forgetPhoto();
  current = file;
  const photo = { name: file.name || 'Pasted picture', bytes: file.size, url: URL.createObjectURL(file) };
  store.update({ photo: { ...photo, preview: 'loading' } });
  const probe = new Image();
  probe.src = photo.url;
  const isShowable = await probe.decode().then(
    () => true,
    () => false,
  );
  if (current === file) store.update({ photo: { ...photo, preview: isShowable ? 'shown' : 'impossible' } });
}

function forgetPhoto() {
  if (store.state.photo) URL.revokeObjectURL(store.state.photo.url);
  current = null;
}

function cancel() {
  request.abort();
  forgetPhoto();
  store.update({ phase: { tag: 'idle' }, photo: null, note: 'Cancelled.' });
  chooser.focus(); // the button that had the focus is gone
}

function retry() {
  if (current) tell(current);
  chooser.focus();
}

/** @param {DataTransfer} carried by a drop or a paste */
function takeFrom(carried) {
  const [first, ...others] = carried.files;
  if (!first)
    return store.update({ note: 'There was no picture in that. Save the picture first, then choose its file.' });
  tell(first, others.length > 0 ? `One photo at a time: this is the first of ${others.length + 1}.` : '');
}

/** Anywhere on the page will do, and nowhere does a drop navigate away. @param {DragEvent} event */
function onDrag(event) {
  event.preventDefault();
  const leftWindow = event.type === 'dragleave' && event.relatedTarget === null;
  if (event.type === 'dragleave' && !leftWindow) return;
  const isDragging = event.type === 'dragover';
  if (isDragging !== store.state.isDragging) store.update({ isDragging });
  if (event.type === 'drop' && event.dataTransfer) takeFrom(event.dataTransfer);
}

store.addEventListener('change', () => render(store.state));
chooser.addEventListener('change', () => {
  const file = chooser.files?.[0];
  chooser.value = ''; // so that choosing the same file again is a change
  if (file) tell(file);
});
document.getElementById('another')?.addEventListener('click', () => chooser.click());
document.getElementById('cancel')?.addEventListener('click', cancel);
document.getElementById('retry')?.addEventListener('click', retry);
document.addEventListener('dragover', onDrag);
document.addEventListener('dragleave', onDrag);
document.addEventListener('drop', onDrag);
document.addEventListener('paste', (event) => event.clipboardData && takeFrom(event.clipboardData));

render(store.state);
describeService().then((service) => store.update({ service }));
