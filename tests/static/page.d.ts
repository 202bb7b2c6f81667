// The types of the page's scripts, for `make types-of-scripts` alone: no browser loads them.

type Problem = import('../../static/api.js').Problem;
type ProblemKind = 'http' | 'unreachable' | 'timeout' | 'unreadable-answer' | 'unreadable-file';

/** With maps asked for: what each place of the photo does for a word or a class, row by row, and where that is, in words. */
type Mapped = { map?: number[][]; where?: string };
type Word = Mapped & { text: string; probability: number };
type ImageClass = Mapped & { id: string; label: string; probability: number };

/** `score`, at most 0, is what captions are ordered by. */
type Caption = { text: string; log_probability: number; probability: number; score: number; words: Word[] };

/** Sides in pixels. */
type Size = { width: number; height: number };

/** Above 1 the photo is unlike those of training; not a number where the model cannot tell. */
type Unlikeness = { unlikeness: number };
type Prediction = Size & Unlikeness & { captions: Caption[]; classes: ImageClass[]; timings_ms: Record<string, number> };

type Limits = { body_bytes: number; image_pixels: number; beam_size: number; image_formats: string[] };
type Service = {
  name: string;
  version: string;
  parameters: number;
  good_at: string;
  bad_at: string;
  limits: Limits;
};

/** What a request asks for; no more captions than the beam is wide. */
type Options = { captions: number; beamSize: number; explain: boolean };

/** Where a photo stands. One that waits may have been turned away by a busy server, for some seconds. */
type Phase =
  | { tag: 'waiting'; busySeconds: number }
  | { tag: 'sending' }
  | { tag: 'done'; prediction: Prediction; roundTripMs: number }
  | { tag: 'failed'; problem: Problem }
  | { tag: 'cancelled' };

/** A photo in the queue; changed by replacing it, so that the view sees by identity what has changed. */
type Item = {
  /** Rises with the time at which the photo came. */
  id: number;
  file: File;
  name: string;
  /** Of the preview. */
  url: string;
  /** False where the browser cannot show the file. */
  hasPreview: boolean;
  options: Options;
  /** How often a busy server has turned it away. */
  refusals: number;
  phase: Phase;
};

/** A word or class of a card that can be pointed at: `map` is drawn over the photo, `told` says it in words. */
type Look = { card: Element; map: number[][]; told: string };

type State = {
  /** In the order in which they are sent. */
  items: readonly Item[];
  /** Of the next request. */
  options: Options;
  service: Service;
  isDragging: boolean;
  /** For everyone to read. */
  note: string;
  /** To screen readers. */
  said: { text: string; times: number };
  /** What was copied last: a card's id and the form, such as "3 json". */
  copied: string;
  look: Look | undefined;
};

/** A problem in words. */
type Explanation = { title: string; advice: string; detail: string; canRetry: boolean };
