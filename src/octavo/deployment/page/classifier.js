// A model of this folder on LiteRT.js: bytes of an image in, probabilities out.

import { Tensor, loadAndCompile, loadLiteRt } from "./litert/index.js";

/**
 * Loads the runtime, once. `where` is the folder of its WebAssembly.
 * @returns {Promise<void>}
 */
export const start = (where = "litert/") => loadLiteRt(where);

/** The facts of this folder, as `octavo deploy` wrote them. */
export async function facts() {
  return (await fetched("model.json")).json();
}

async function fetched(name) {
  const answer = await fetch(name, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${name} is missing: copy the whole folder again.`);
  return answer;
}

async function digest(content) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One model, compiled. */
export class Classifier {
  /**
   * @param {object} model Its entry in model.json.
   * @param {object} facts The whole of model.json.
   */
  static async load(model, facts) {
    const content = new Uint8Array(await (await fetched(model.file)).arrayBuffer());
    // Most damage to a model still loads and runs, and answers wrongly. Pages without HTTPS have no `crypto.subtle`.
    if (globalThis.crypto?.subtle && (await digest(content)) !== model.sha256) {
      throw new Error(`${model.file} is damaged or was replaced: its SHA-256 is not the one in model.json.`);
    }
    return new Classifier(await loadAndCompile(content, { accelerator: "wasm" }), content.length, model, facts);
  }

  constructor(compiled, bytes, model, { preprocess, output }) {
    this.compiled = compiled;
    this.bytes = bytes;
    this.name = model.name;
    this.model = model;
    this.output = output;
    this.shape = [1, ...preprocess.size, preprocess.channels === "gray" ? 1 : 3];
    this.table = model.quantized ? Uint8Array.from(model.inputs) : Float32Array.from(model.inputs);
  }

  /** What the model takes for bytes of an image: each byte by the table that Octavo computed. */
  encode(pixels) {
    const input = new this.table.constructor(pixels.length);
    for (let at = 0; at < pixels.length; at++) input[at] = this.table[pixels[at]];
    return input;
  }

  /**
   * Runs the model once.
   * @param {Uint8Array} pixels Height × width × channels bytes.
   * @returns {Promise<{raw: Uint8Array|Float32Array, milliseconds: number}>} Its output as it is, and how long it ran.
   */
  async run(pixels) {
    const input = new Tensor(this.encode(pixels), this.shape);
    try {
      const began = performance.now();
      const outputs = await this.compiled.run([input]);
      const milliseconds = performance.now() - began;
      const raw = outputs[0].toTypedArray();
      outputs.forEach((tensor) => tensor.delete());
      return { raw, milliseconds };
    } finally {
      input.delete();
    }
  }

  /** The probability of each class, from a model's raw output; in float32 where Python has float32. */
  probabilities(raw) {
    const { quantized } = this.model;
    const reals = Array.from(raw, (code) =>
      quantized ? Math.fround((code - quantized.zero_point) * quantized.scale) : code,
    );
    if (this.output === "logits") {
      const top = Math.max(...reals);
      const risen = reals.map((value) => Math.exp(value - top));
      const sum = risen.reduce((total, value) => total + value, 0);
      return risen.map((value) => Math.fround(value / sum));
    }
    return reals.length === 1 ? [Math.fround(1 - reals[0]), reals[0]] : reals;
  }
}

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/**
 * Runs models in turn on one image, A B A B, so that whatever else the device does falls on all alike.
 * @param {Classifier[]} classifiers
 * @param {Uint8Array} pixels
 * @param {{rounds: number, budget: number}} limits At most so many rounds, and none begun after so many milliseconds.
 * @returns {Promise<{probabilities: number[], milliseconds: number, runs: number}[]>} Medians.
 */
export async function sideBySide(classifiers, pixels, { rounds = 25, budget = 600 } = {}) {
  const began = performance.now();
  const times = classifiers.map(() => []);
  const raws = [];
  for (let round = 0; round === 0 || (round < rounds && performance.now() - began < budget); round++) {
    for (const [place, classifier] of classifiers.entries()) {
      const { raw, milliseconds } = await classifier.run(pixels);
      raws[place] = raw;
      times[place].push(milliseconds);
    }
    // Lets the page draw and answer.
    await new Promise((resume) => setTimeout(resume));
  }
  return classifiers.map((classifier, place) => ({
    probabilities: classifier.probabilities(raws[place]),
    milliseconds: median(times[place]),
    runs: times[place].length,
  }));
}
