// @ts-check
// Wiring: what the user does -> the state -> render.

import { describeService } from './api.js';
import { Queue, isRetryable } from './queue.js';
import { shared } from './sharing.js';
import { Store } from './store.js';
import { render } from './view.js';

const store = new Store();
const queue = new Queue(store);

/** @param {string} id @param {string} type @param {(event: Event & { target: any }) => void} listener */
function on(id, type, listener) {
  document.getElementById(id)?.addEventListener(type, /** @type {EventListener} */ (listener));
}

/** @param {Event & { target: HTMLInputElement }} event */
function onChoice({ target }) {
  const files = [...(target.files ?? [])];
  target.value = ''; // so that choosing the same file again is a change
  if (files.length > 0) queue.add(files);
}

/** @param {DataTransfer} carried by a drop or a paste */
function takeFrom(carried) {
  const files = [...carried.files];
  if (files.length > 0) queue.add(files);
  else tell('There was no picture in that. Save the picture first, then choose its file.');
}

/** @param {string} note */
function tell(note) {
  store.update({ note });
  store.say(note);
}

/** Files can be dropped anywhere on the page; no drop navigates away. @param {DragEvent} event */
function onDrag(event) {
  event.preventDefault();
  if (event.type === 'dragleave' && event.relatedTarget !== null) return; // still within the window
  const isDragging = event.type === 'dragover';
  if (isDragging !== store.state.isDragging) store.update({ isDragging });
  if (event.type === 'drop' && event.dataTransfer) takeFrom(event.dataTransfer);
}

/** A drawing becomes a JPEG, as if it were a photo. @param {Event & { target: Element }} event */
async function onSample({ target }) {
  const button = target.closest('[data-sample]');
  const drawing = button?.querySelector('img');
  if (!button || !drawing) return;
  const canvas = new OffscreenCanvas(drawing.naturalWidth, drawing.naturalHeight);
  await drawing.decode();
  canvas.getContext('2d')?.drawImage(drawing, 0, 0, canvas.width, canvas.height);
  const type = 'image/jpeg';
  const blob = await canvas.convertToBlob({ type, quality: 0.92 });
  queue.add([new File([blob], `${button.getAttribute('data-sample')}.jpg`, { type })]);
}

/** @param {Event & { target: Element }} event */
function onCardAction({ target }) {
  const button = target.closest('[data-action]');
  const id = Number(target.closest('.card')?.getAttribute('data-id'));
  const item = store.find(id);
  if (!button || !item) return;
  const action = button.getAttribute('data-action');
  const form = button.getAttribute('data-form') ?? '';
  if (action === 'remove') queue.remove((other) => other.id === id);
  if (action === 'cancel') queue.cancel(id);
  if (action === 'again') queue.again((other) => other.id === id);
  if (action === 'copy') copy(shared(form, item), `${id} ${form}`);
}

/** A file that the browser cannot show: TIFF, or no image at all. @param {Event} event */
function onImageError({ target }) {
  if (!(target instanceof HTMLImageElement)) return;
  store.change(Number(target.closest('.card')?.getAttribute('data-id')), { hasPreview: false });
}

/** @param {string} text @param {string} what */
async function copy(text, what) {
  if (!(await writeClipboard(text))) return tell('The browser did not allow copying.');
  store.update({ copied: what, note: '' });
  store.say('Copied.');
}

/** @param {string} text */
async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByEvent(text); // over plain HTTP there is no navigator.clipboard, except on localhost
  }
}

/** @param {string} text */
function copyByEvent(text) {
  const fill = (/** @type {ClipboardEvent} */ event) => {
    event.preventDefault();
    event.clipboardData?.setData('text/plain', text);
  };
  document.addEventListener('copy', fill, { once: true });
  const isCopied = document.execCommand('copy');
  document.removeEventListener('copy', fill);
  return isCopied;
}

/** No more captions than the beam is wide: the other setting follows. @param {Event & { target: HTMLInputElement }} event */
function onSetting({ target }) {
  const value = Number(target.value);
  const { captions, beamSize } = store.state.options;
  const options =
    target.id === 'captions'
      ? { captions: value, beamSize: Math.max(value, beamSize) }
      : { captions: Math.min(captions, value), beamSize: value };
  store.update({ options });
}

store.addEventListener('change', () => render(store.state));
on('chooser', 'change', onChoice);
on('camera', 'change', onChoice);
on('desk', 'click', onSample);
on('captions', 'input', onSetting);
on('beam-size', 'input', onSetting);
on('cards', 'click', onCardAction);
on('retry-failed', 'click', () => queue.again(isRetryable));
on('clear', 'click', () => queue.remove(() => true));
on('copy-command', 'click', () => copy(document.getElementById('command')?.textContent ?? '', 'command'));
document.getElementById('cards')?.addEventListener('error', onImageError, true); // it does not bubble
document.addEventListener('dragover', onDrag);
document.addEventListener('dragleave', onDrag);
document.addEventListener('drop', onDrag);
document.addEventListener('paste', (event) => event.clipboardData && takeFrom(event.clipboardData));

render(store.state);
describeService().then((service) => store.update({ service }));
