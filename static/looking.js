// @ts-check
// Where a word or a class looked: the shade over its photo.

const LONGEST_SIDE = 320;
const DARKEST = 185; // of 255, where nothing spoke for it

/**
 * Dims a photo where a map has little; where it speaks against the word, as dark as where it says nothing.
 * @param {HTMLCanvasElement} canvas gets the shape of the photo, so that CSS places both alike
 * @param {number[][]} map @param {Size} photo
 */
export function shade(canvas, map, { width, height }) {
  const values = map.flat();
  const most = Math.max(...values, 0) || 1;
  const places = new ImageData(map[0].length, map.length);
  values.forEach((value, index) => (places.data[4 * index + 3] = DARKEST * (1 - Math.max(value, 0) / most)));
  const small = new OffscreenCanvas(places.width, places.height);
  small.getContext('2d')?.putImageData(places, 0, 0);
  const scale = LONGEST_SIDE / Math.max(width, height);
  canvas.width = Math.ceil(width * scale);
  canvas.height = Math.ceil(height * scale);
  canvas.getContext('2d')?.drawImage(small, 0, 0, canvas.width, canvas.height); // smooth between the places
}
