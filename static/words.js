// @ts-check
// How numbers and problems are said. Pure functions, no DOM.

/** @typedef {import('./api.js').Problem} Problem */
/** @typedef {{ title: string, advice: string, detail: string, canRetry: boolean }} Explanation */

/** @type {Record<number, { title: string, advice: string, canRetry?: boolean }>} */
const REFUSALS = {
  400: {
    title: 'The server did not understand the request',
    advice: 'This page and the server may be of different versions. Reload the page and try again.',
    canRetry: true,
  },
  408: {
    title: 'The upload took too long',
    advice: 'Try again on a faster connection, or with a smaller photo.',
    canRetry: true,
  },
  413: {
    title: 'That photo is too large',
    advice: 'Save it smaller, or choose another photo.',
  },
  415: {
    title: 'That file is not an image we can read',
    advice: 'Choose a JPEG, PNG, WebP, GIF, BMP or TIFF. A HEIC or SVG has to be saved as one of these first.',
  },
  422: {
    title: 'That image could not be opened',
    advice: 'It seems to be damaged or cut short. Save or download it once more, or choose another photo.',
  },
  429: { title: 'That was a lot of photos', advice: 'Wait a moment, then try again.', canRetry: true },
  503: { title: 'The server is busy', advice: 'Wait a moment, then try again.', canRetry: true },
};

/** @type {Record<Exclude<import('./api.js').ProblemKind, 'http'>, { title: string, advice: string }>} */
const BREAKDOWNS = {
  unreachable: {
    title: 'The server could not be reached',
    advice: 'Check the connection and that the server is running, then try again.',
  },
  timeout: { title: 'The server took too long', advice: 'It may be busy, or the connection slow. Try again.' },
  'unreadable-answer': {
    title: 'The answer could not be read',
    advice: 'Something between this page and the server may have changed it. Try again.',
  },
  'unreadable-file': {
    title: 'That file could not be read',
    advice: 'It may be a folder, or may have been moved or deleted since. Choose it again.',
  },
};

/** @type {Record<string, string>} */
const SUPERSCRIPTS = {
  '-': '⁻',
  '+': '',
  0: '⁰',
  1: '¹',
  2: '²',
  3: '³',
  4: '⁴',
  5: '⁵',
  6: '⁶',
  7: '⁷',
  8: '⁸',
  9: '⁹',
};

/** @param {import('./api.js').Limits} limits */
export function sizeLimit(limits) {
  const megapixels = Math.round(limits.image_pixels / 1e5) / 10;
  return `up to ${fileSize(limits.body_bytes)} and ${megapixels} megapixels`;
}

/** @param {Problem} problem @param {import('./api.js').Limits} limits @returns {Explanation} */
export function explain(problem, limits) {
  const { kind, status, detail, retryAfterSeconds } = problem;
  if (kind !== 'http') return { ...BREAKDOWNS[kind], detail: '', canRetry: kind !== 'unreadable-file' };
  const said = REFUSALS[status] ?? unexpected(status);
  let { advice } = said;
  if (status === 413) advice = `Photos of ${sizeLimit(limits)} are accepted. ${advice}`;
  if (retryAfterSeconds > 1) advice = `Try again in ${retryAfterSeconds} seconds.`;
  return { title: said.title, advice, detail, canRetry: said.canRetry ?? false };
}

/** @param {number} status */
function unexpected(status) {
  return status >= 500
    ? {
        title: 'Something went wrong on the server',
        advice: 'It is not your photo’s fault. Try again.',
        canRetry: true,
      }
    : { title: 'The server refused this photo', advice: `It answered with status ${status}. Choose another photo.` };
}

/** @param {number} probability from 0 to 1 */
export function percent(probability) {
  if (probability > 0 && probability < 0.01) return '<1%';
  if (probability > 0.99 && probability < 1) return '>99%';
  return `${Math.round(probability * 100)}%`;
}

/** The probability of a whole sentence, which is small: "1 in 1,490". @param {number} logProbability natural */
export function odds(logProbability) {
  const probability = Math.exp(logProbability);
  if (probability >= 0.1) return percent(probability);
  if (logProbability < Math.log(1e-12)) return 'less than 1 in a trillion';
  const oneIn = 1 / probability;
  const notation = oneIn < 1e6 ? 'standard' : 'compact';
  const format = new Intl.NumberFormat('en', { maximumSignificantDigits: 3, notation, compactDisplay: 'long' });
  return `1 in ${format.format(oneIn)}`;
}

/** The same number as the API gives it, to three digits. @param {number} probability */
export function exact(probability) {
  if (probability >= 1e-4) return String(Number(probability.toPrecision(3)));
  const [digits, power] = probability.toExponential(2).split('e');
  return `${digits} × 10${Array.from(power, (character) => SUPERSCRIPTS[character]).join('')}`;
}

/** @param {number} bytes */
export function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  const kibibytes = bytes / 1024;
  return kibibytes < 1000 ? `${Math.round(kibibytes)} KiB` : `${Math.round(kibibytes / 102.4) / 10} MiB`;
}

/** @param {number} duration in milliseconds */
export function milliseconds(duration) {
  return duration < 10 ? `${duration.toFixed(1)}\u00a0ms` : `${Math.round(duration).toLocaleString('en')}\u00a0ms`;
}

/** "Labrador_retriever" -> "Labrador retriever" @param {string} label */
export function readableLabel(label) {
  return label.replaceAll('_', ' ');
}

/** @param {string} text */
export function asSentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : 'No words at all.';
}
