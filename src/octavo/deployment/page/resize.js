// Pixels brought to a model's size and channels, with the same bytes as Pillow gives in Python.
//
// A browser's own scaling differs from one browser to the next. This one is the separable filter that Pillow applies:
// weights rounded to 22 bits, and each of the two passes rounded to bytes.

const BITS = 22;

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

// Keys' cubic with a = -1/2.
function cubic(x) {
  const a = Math.abs(x);
  if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
  return a < 2 ? (((a - 5) * a + 8) * a - 4) * -0.5 : 0;
}

// How far each filter reaches, in pixels of the larger image, and its weight at a distance.
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weight: cubic },
  lanczos: { reach: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

// For every place of the result: where its window of the source begins, and the window's integer weights.
function windows(source, target, { reach, weight }) {
  const scale = source / target;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: target }, (_, place) => {
    const center = (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - reach * stretch + 0.5));
    const end = Math.min(source, Math.trunc(center + reach * stretch + 0.5));
    const reals = Array.from({ length: end - start }, (_, step) =>
      weight((start + step - center + 0.5) * (1 / stretch)),
    );
    const total = reals.reduce((sum, value) => sum + value, 0);
    const weights = reals.map((value) => {
      const share = (total === 0 ? value : value / total) * 2 ** BITS;
      return Math.trunc(share + (share < 0 ? -0.5 : 0.5));
    });
    return { start, weights: Int32Array.from(weights) };
  });
}

// One pass: `lines` lines of `windows.length` results each; strides are in bytes.
function pass(pixels, out, lines, channels, plan, from, to) {
  for (let line = 0; line < lines; line++) {
    for (let place = 0; place < plan.length; place++) {
      const { start, weights } = plan[place];
      for (let channel = 0; channel < channels; channel++) {
        let sum = 1 << (BITS - 1);
        let at = line * from.line + start * from.step + channel;
        for (let step = 0; step < weights.length; step++, at += from.step) sum += pixels[at] * weights[step];
        out[line * to.line + place * to.step + channel] = Math.min(255, Math.max(0, sum >> BITS));
      }
    }
  }
}

function alongRows({ width, height, channels, data }, target, filter) {
  const out = new Uint8Array(target * height * channels);
  const from = { line: width * channels, step: channels };
  pass(data, out, height, channels, windows(width, target, filter), from, { line: target * channels, step: channels });
  return { width: target, height, channels, data: out };
}

function alongColumns({ width, height, channels, data }, target, filter) {
  const out = new Uint8Array(width * target * channels);
  const stride = { line: channels, step: width * channels };
  pass(data, out, width, channels, windows(height, target, filter), stride, stride);
  return { width, height: target, channels, data: out };
}

/**
 * Resizes an image.
 * @param {{width: number, height: number, channels: number, data: Uint8Array}} image Bytes, row by row.
 * @param {number} width Of the result.
 * @param {number} height Of the result.
 * @param {"nearest"|"bilinear"|"bicubic"|"lanczos"} name Pillow's filter.
 * @returns The same kind of object; bytes are unchanged where the size already fits.
 */
export function resize(image, width, height, name) {
  if (name === "nearest") return nearest(image, width, height);
  const rows = (at) => (at.width === width ? at : alongRows(at, width, FILTERS[name]));
  const columns = (at) => (at.height === height ? at : alongColumns(at, height, FILTERS[name]));
  // Pillow 13 takes columns first where an image loses far more rows than columns; earlier ones always rows.
  const taller = image.height - height;
  return taller > 0 && taller > 2 * (image.width - width) ? rows(columns(image)) : columns(rows(image));
}

// The source of every place of the result. Added up, as Pillow does: a product would round elsewhere.
function sources(source, target) {
  const scale = source / target;
  const found = new Int32Array(target);
  for (let place = 0, at = scale * 0.5; place < target; place++, at += scale) found[place] = Math.trunc(at);
  return found;
}

function nearest(image, width, height) {
  const { channels } = image;
  const [across, down] = [sources(image.width, width), sources(image.height, height)];
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (down[y] * image.width + across[x]) * channels;
      data.set(image.data.subarray(from, from + channels), (y * width + x) * channels);
    }
  }
  return { width, height, channels, data };
}

/**
 * What a canvas holds, in the channels of a model before it is resized.
 * @param {{width: number, height: number, data: Uint8ClampedArray}} rgba As of `getImageData`.
 * @param {"rgb"|"bgr"|"gray"} channels Of the model; `bgr` stays RGB until `reversed`.
 */
export function withChannels({ width, height, data }, channels) {
  const count = channels === "gray" ? 1 : 3;
  const out = new Uint8Array(width * height * count);
  for (let from = 0, to = 0; from < data.length; from += 4, to += count) {
    if (count === 1) {
      // Luma of ITU-R BT.601 in 16 bits.
      out[to] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
    } else {
      out[to] = data[from];
      out[to + 1] = data[from + 1];
      out[to + 2] = data[from + 2];
    }
  }
  return { width, height, channels: count, data: out };
}

/**
 * A model's pixels from what a canvas holds.
 * @param {{width: number, height: number, data: Uint8ClampedArray}} rgba As of `getImageData`.
 * @param {{size: number[], interpolation: string, channels: string}} preprocess Of the model.
 * @returns {Uint8Array} Height × width × channels bytes, equal to those of Octavo in Python.
 */
export function toPixels(rgba, preprocess) {
  const [height, width] = preprocess.size;
  const { data } = resize(withChannels(rgba, preprocess.channels), width, height, preprocess.interpolation);
  if (preprocess.channels !== "bgr") return data;
  const turned = new Uint8Array(data.length);
  for (let at = 0; at < data.length; at += 3) turned.set([data[at + 2], data[at + 1], data[at]], at);
  return turned;
}
