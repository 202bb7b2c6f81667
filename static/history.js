// @ts-check
// The history: the browser keeps a visit's photos and answers, so that a reload loses none. They never leave the device.

const PHOTOS = 'photos';
const LONGEST_MS = 24 * 60 * 60 * 1000; // what a closed tab leaves behind goes when the page is next opened

/** Brings back the photos of this visit, and keeps what changes from now on. @param {import('./store.js').Store} store */
export async function keepHistory(store) {
  const visit = (sessionStorage.visit ??= String(Math.random())); // as long as the tab, over all reloads
  const opening = indexedDB.open('show-and-tell');
  opening.onupgradeneeded = () => opening.result.createObjectStore(PHOTOS, { keyPath: 'id' });
  const database = await answer(opening);
  const photos = () => database.transaction(PHOTOS, 'readwrite').objectStore(PHOTOS);
  photos().delete(IDBKeyRange.upperBound(Date.now() - LONGEST_MS)); // ids are times
  const kept = (await answer(photos().getAll())).filter((record) => record.visit === visit);
  /** @type {readonly Item[]} */
  let before = kept.map((record) => ({ ...record, url: URL.createObjectURL(record.file) }));

  store.addEventListener('change', () => {
    const { items } = store.state;
    if (items === before) return;
    const changed = items.filter((item) => !before.includes(item) && item.phase.tag !== 'sending');
    const gone = before.filter(({ id }) => !store.find(id));
    before = items;
    if (changed.length + gone.length === 0) return;
    const place = photos();
    for (const item of changed) place.put({ ...item, visit, phase: settled(item.phase) });
    for (const { id } of gone) place.delete(id);
    if (items.length === 0) place.clear(); // other visits' too
  });
  store.update({ items: [...before, ...store.state.items] }); // some may be there by now
}

/** What was not answered can be tried again after a reload. @param {Phase} phase @returns {Phase} */
function settled(phase) {
  return phase.tag === 'done' ? phase : { tag: 'cancelled' };
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
