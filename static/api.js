// @ts-check
// Transport: the only file that knows HTTP. It answers with a prediction or throws a Problem.

/** The server's defaults, assumed until it answers. @type {Service} */
export const UNKNOWN_SERVICE = {
  name: '',
  version: '',
  parameters: 0,
  good_at: '',
  bad_at: '',
  limits: {
    body_bytes: 10 * 1024 ** 2,
    image_pixels: 50e6,
    beam_size: 10,
    image_formats: ['JPEG', 'PNG'],
  },
};
const TIMEOUT_SECONDS = 120;
const CLASSES = 5;

/** Where a request goes: beside this page, which a proxy may serve below a path. @param {Options} options */
export function predictUrl({ captions, beamSize, explain }) {
  const query = `beam_size=${beamSize}&captions=${captions}&classes=${CLASSES}${explain ? '&explain=values' : ''}`;
  return new URL(`v1/predict?${query}`, location.href).href;
}

/** Why there is no prediction. */
export class Problem extends Error {
  /** @param {ProblemKind} kind @param {{ status?: number, detail?: string, retryAfterSeconds?: number }} [facts] */
  constructor(kind, { status = 0, detail = '', retryAfterSeconds = 0 } = {}) {
    super(detail || kind);
    this.kind = kind;
    this.status = status;
    this.detail = detail;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * Asks the server what it sees in one photo. One above the limits is refused here, before it is sent.
 * @param {File} photo @param {Options} options @param {Limits} limits
 * @param {AbortSignal} signal aborting it rejects with the signal's reason
 * @returns {Promise<Prediction>}
 * @throws {Problem}
 */
export async function predict(photo, options, limits, signal) {
  if (photo.size > limits.body_bytes) throw new Problem('http', { status: 413 });
  await requireReadable(photo);
  const form = new FormData();
  form.append('image', photo, photo.name || 'photo');
  const { response, body } = await post(predictUrl(options), form, signal);
  if (!response.ok) throw refusal(response.status, body, response.headers.get('Retry-After'));
  const entry = body?.results?.[0];
  if (entry && entry.status !== 200) throw refusal(entry.status, entry, null);
  if (!Array.isArray(entry?.captions) || !Array.isArray(entry?.classes)) throw new Problem('unreadable-answer');
  return entry;
}

/** Asks which captioner answers here, within which limits. The page works without an answer. @returns {Promise<Service>} */
export async function describeService() {
  try {
    const response = await fetch('v1/model');
    return response.ok ? { ...UNKNOWN_SERVICE, ...(await response.json()) } : UNKNOWN_SERVICE;
  } catch {
    return UNKNOWN_SERVICE;
  }
}

/** A folder, or a file deleted since it was chosen, would otherwise look like a broken network. @param {File} photo */
async function requireReadable(photo) {
  try {
    await photo.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem('unreadable-file');
  }
}

/** @param {string} url @param {FormData} body @param {AbortSignal} signal */
async function post(url, body, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_SECONDS * 1000);
  try {
    const response = await fetch(url, { method: 'POST', body, signal: AbortSignal.any([signal, limit]) });
    return { response, body: await readJson(response) };
  } catch {
    throw signal.aborted ? signal.reason : new Problem(limit.aborted ? 'timeout' : 'unreachable');
  }
}

/** Returns null for a body that is not JSON, such as a proxy's error page. @param {Response} response @returns {Promise<any>} */
async function readJson(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {number} status @param {any} body @param {string | null} retryAfter */
function refusal(status, body, retryAfter) {
  const seconds = Number(retryAfter);
  return new Problem('http', {
    status,
    detail: typeof body?.detail === 'string' ? body.detail : '',
    retryAfterSeconds: Number.isFinite(seconds) ? seconds : 0,
  });
}
