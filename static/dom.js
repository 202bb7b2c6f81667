// @ts-check
// Parts of the document by their selectors, and text in them.

/** @param {ParentNode} place @param {string} selector */
export function part(place, selector) {
  const found = place.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`index.html has no "${selector}".`);
  return found;
}

/** Writes text only where it differs; what has none is hidden. @param {ParentNode} place @param {string} selector @param {string} text */
export function write(place, selector, text) {
  const target = part(place, selector);
  target.hidden = text === '';
  if (target.textContent !== text) target.textContent = text;
}

/** @param {string} name @param {string} className @param {string} [text] */
export function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
