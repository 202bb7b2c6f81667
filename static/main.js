// @ts-check
// Wiring: what the user does -> the state -> render.

import { describeService } from './api.js';
import { looks } from './card.js';
import { part } from './dom.js';
import { keepHistory } from './history.js';
import { Queue, isRetryable } from './queue.js';
import { asCsv, asJson, shared } from './sharing.js';
import { Store } from './store.js';
import { render } from './view.js';

/** @typedef {Event & { target: any }} Happened */

/** Buttons of a card by their key, while the focus is in the card. @type {Record<string, string>} */
const SHORTCUTS = { c: '[data-form=text]', m: '[data-form=markdown]', a: '.again', Delete: '.remove', Escape: '.cancel' };

/** What a button of the page does, by its id. @type {Record<string, () => void>} */
const ACTIONS = {
  'retry-failed': () => queue.again(isRetryable),
  'save-csv': () => save('captions.csv', asCsv(store.state.items)),
  'save-json': () => save('captions.json', asJson(store.state.items)),
  clear: () => queue.remove(() => true),
};

const store = new Store();
const queue = new Queue(store);
let mouse = [0, 0];

/** Files can be dropped anywhere on the page; no drop navigates away. @param {DragEvent} event */
function onDrag(event) {
  event.preventDefault();
  if (event.type === 'dragleave' && event.relatedTarget !== null) return; // still within the window
  const isDragging = event.type === 'dragover';
  if (isDragging !== store.state.isDragging) store.update({ isDragging });
  if (event.type === 'drop' && event.dataTransfer) takeFrom(event.dataTransfer);
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

/** @param {Happened} event */
function onClick({ target }) {
  const button = target.closest('button');
  if (!button) return;
  const { action, form, sample } = button.dataset;
  const item = store.find(Number(button.closest('.card')?.dataset.id));
  ACTIONS[button.id]?.();
  if (sample) addDrawing(sample, button.querySelector('img'));
  if (!item) return;
  if (action === 'remove') queue.remove((other) => other === item);
  if (action === 'cancel') queue.cancel(item.id);
  if (action === 'again') queue.again((other) => other === item);
  if (form) copy(shared(form, item), `${item.id} ${form}`);
}

/** A drawing becomes a JPEG, as if it were a photo. @param {string} name @param {HTMLImageElement} drawing */
async function addDrawing(name, drawing) {
  await drawing.decode();
  const canvas = new OffscreenCanvas(drawing.naturalWidth, drawing.naturalHeight);
  canvas.getContext('2d')?.drawImage(drawing, 0, 0);
  const type = 'image/jpeg';
  queue.add([new File([await canvas.convertToBlob({ type, quality: 0.92 })], `${name}.jpg`, { type })]);
}

/** A file that the browser cannot show: TIFF, or no image at all. @param {Happened} event */
function onImageError({ target }) {
  store.change(Number(target.closest('.card')?.dataset.id), { hasPreview: false });
}

/** @param {string} text @param {string} copied */
async function copy(text, copied) {
  if (!(await writeClipboard(text))) return tell('The browser did not allow copying.');
  store.update({ copied, note: '' });
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

/** @param {string} name @param {string} text */
function save(name, text) {
  const link = document.createElement('a');
  link.download = name;
  link.href = URL.createObjectURL(new Blob([text]));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Files, or a setting. No more captions than the beam is wide: the other setting follows. @param {Happened} event */
function onInput({ target }) {
  const { options } = store.state;
  const { id, files, checked } = target;
  const value = Number(target.value);
  if (id === 'captions') set({ captions: value, beamSize: Math.max(value, options.beamSize) });
  if (id === 'beam-size') set({ captions: Math.min(options.captions, value), beamSize: value });
  if (id === 'explain') explain(checked);
  if (!files) return;
  if (files.length > 0) queue.add([...files]);
  target.value = ''; // so that choosing the same file again is a change
}

/** @param {Partial<Options>} options */
function set(options) {
  store.update({ options: { ...store.state.options, ...options } });
}

/** The switch is remembered where the browser allows it. What is answered is asked again, for its maps. @param {boolean} isOn */
function explain(isOn) {
  set({ explain: isOn });
  store.update({ look: undefined });
  if (isOn) queue.again(({ phase, options }) => ['done', 'waiting'].includes(phase.tag) && !options.explain);
  try {
    localStorage.explain = isOn ? 'on' : '';
  } catch {} // storage is blocked
}

function wasExplaining() {
  try {
    return localStorage.explain === 'on';
  } catch {
    return false;
  }
}

/** Shows where the word looked that is pointed at, or else has the focus. @param {Happened & MouseEvent} event */
function onPoint({ target, type, screenX, screenY }) {
  const isStill = screenX === mouse[0] && screenY === mouse[1]; // the page has scrolled below it, for the focus
  if (type === 'mousemove' && isStill) return;
  if (type === 'mousemove') mouse = [screenX, screenY];
  const look = looks.get(target.closest('.look') ?? document.activeElement);
  if (look === store.state.look) return;
  store.update({ look });
  if (look) store.say(look.told);
}

/** @param {KeyboardEvent & { target: any }} event */
function onKey({ key, target, ctrlKey, metaKey, altKey }) {
  const card = target.closest('.card');
  if (key === 'Escape') store.update({ look: undefined });
  if (!card || ctrlKey || metaKey || altKey) return;
  if (key === 'j') card.nextElementSibling?.focus();
  if (key === 'k') card.previousElementSibling?.focus();
  const button = key in SHORTCUTS && part(card, SHORTCUTS[key]);
  if (button && button.checkVisibility()) button.click();
}

/** @type {[string[], (event: any) => void][]} */
const LISTENERS = [
  [['dragover', 'dragleave', 'drop'], onDrag],
  [['mousemove', 'focusin'], onPoint],
  [['click'], onClick],
  [['input'], onInput],
  [['keydown'], onKey],
  [['paste'], ({ clipboardData }) => clipboardData && takeFrom(clipboardData)],
];
for (const [types, listener] of LISTENERS) for (const type of types) document.addEventListener(type, listener);
part(document, '#cards').addEventListener('error', onImageError, true); // it does not bubble
store.addEventListener('change', () => render(store.state));

set({ explain: wasExplaining() });
keepHistory(store).catch(() => undefined); // storage is blocked: a reload forgets
describeService().then((service) => store.update({ service }));
