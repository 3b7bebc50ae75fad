// The page: pictures in, by drop, choice, paste or camera; both models' answers out.

import { Classifier, facts, median, sideBySide, start } from "./classifier.js";
import { toPixels } from "./resize.js";

const MOST_PIXELS = 2 ** 26;
const SHOWN = 5;
const FRAMES = 15;

const at = (id) => document.getElementById(id);
const make = (tag, textContent = "", className = "") =>
  Object.assign(document.createElement(tag), { textContent, className });
const percent = (share) => `${(share * 100).toFixed(1)}%`;
const milliseconds = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(1)} ms`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;

let about;
let classifiers = [];
let stream = null;
// What was asked for last; an answer to anything before it is not shown.
let turn = 0;

function refuse(text) {
  at("problem").textContent = text;
}

// The decoded picture, at its own size, as its camera says it stands.
async function decoded(blob) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, options);
  if (bitmap.width * bitmap.height > MOST_PIXELS) {
    throw new Error(`it has more than ${MOST_PIXELS.toLocaleString("en")} pixels`);
  }
  const canvas = drawn(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return canvas;
}

function drawn(image, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0);
  return canvas;
}

// The bytes that the models take, of what a canvas shows.
function pixelsOf(canvas) {
  const rgba = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return toPixels(rgba, about.preprocess);
}

function preview(canvas) {
  const shown = at("picture");
  const scale = Math.min(1, 1024 / Math.max(canvas.width, canvas.height));
  shown.width = Math.max(1, Math.round(canvas.width * scale));
  shown.height = Math.max(1, Math.round(canvas.height * scale));
  shown.getContext("2d").drawImage(canvas, 0, 0, shown.width, shown.height);
  // A picture of a few pixels is a few pixels: they are shown as squares.
  shown.classList.toggle("small", Math.max(canvas.width, canvas.height) < 200);
  show("picture");
}

function show(id) {
  for (const other of ["invitation", "picture", "video"]) at(other).hidden = other !== id;
}

/** Classifies a file or another blob, and shows the answer; the way in for everything but the camera. */
async function classify(blob, name) {
  stopCamera();
  const mine = ++turn;
  refuse("");
  look(true);
  try {
    const canvas = await decoded(blob);
    if (mine !== turn) return;
    preview(canvas);
    at("picture").setAttribute("aria-label", name || "The picture");
    await drawnPage();
    const answers = await sideBySide(classifiers, pixelsOf(canvas));
    if (mine !== turn) return;
    showAnswers(answers);
    look(false);
    say(sentence(answers));
  } catch (error) {
    if (mine !== turn) return;
    const reason = error instanceof DOMException ? "this browser cannot read it as a picture" : error.message;
    refuse(`${name || "That"}: ${reason}.`);
    look(false);
    say("Ready for a picture");
  }
}

// While a new picture is looked at, the answer beside it is an older one's.
function look(busy) {
  at("scores").setAttribute("aria-busy", busy);
  if (busy) say("Looking…");
}

const drawnPage = () => new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)));

function best(probabilities) {
  return probabilities.indexOf(Math.max(...probabilities));
}

function sentence(answers) {
  const said = answers.map(({ probabilities }) => about.labels[best(probabilities)]);
  if (said.length > 1 && said.every((label) => label === said[0])) return `Both say: ${said[0]}`;
  return said.map((label, place) => `${classifiers[place].name} says: ${label}`).join("; ");
}

// An unchanged text is not set again, so that nobody hears it again.
function say(text) {
  if (at("status").textContent !== text) at("status").textContent = text;
}

/** Fills the table; without probabilities it shows what will be there. */
function showAnswers(answers) {
  const table = at("scores");
  const head = make("tr");
  const corner = make("th", "Class");
  corner.scope = "col";
  head.append(corner);
  answers.forEach((answer, place) => {
    const cell = make("th", "", `model${place}`);
    cell.scope = "col";
    const { name, bytes } = classifiers[place];
    const time = answer.probabilities ? milliseconds(answer.milliseconds) : "– ms";
    cell.append(make("b", name), make("span", time, "time"), make("span", megabytes(bytes), "bytes"));
    head.append(cell);
  });
  table.tHead.replaceChildren(head);
  const order = about.labels.map((_, place) => place);
  const { probabilities } = answers[0];
  if (probabilities) order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  table.tBodies[0].replaceChildren(...order.slice(0, SHOWN).map((place) => row(place, answers)));
  table.hidden = false;
  if (probabilities) compareTimes(answers);
}

function compareTimes([quantized, float]) {
  at("ratio").textContent = float
    ? `int8 takes ${(quantized.milliseconds / float.milliseconds).toFixed(2)} of float32's time here ` +
      `(medians of ${quantized.runs} runs in turn).`
    : `Median of ${quantized.runs} runs.`;
}

function row(place, answers) {
  const line = make("tr");
  const name = make("th", about.labels[place]);
  name.scope = "row";
  line.append(name);
  answers.forEach(({ probabilities }, model) => {
    const cell = make("td", "", `model${model}`);
    const bar = make("span", "", "bar");
    bar.style.setProperty("--share", probabilities?.[place] ?? 0);
    cell.append(make("span", probabilities ? percent(probabilities[place]) : "–", "number"), bar);
    line.append(cell);
  });
  return line;
}

// The camera: one frame after another, with times as medians of the last few.
async function startCamera() {
  const mine = ++turn;
  const video = at("video");
  refuse("");
  try {
    if (!navigator.mediaDevices) throw new Error("this page needs HTTPS or localhost for it");
    const size = { width: { ideal: 640 }, height: { ideal: 480 } };
    const given = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", ...size } });
    if (mine !== turn) {
      // Something else was asked for while the browser asked for leave.
      given.getTracks().forEach((track) => track.stop());
      return;
    }
    stream = video.srcObject = given;
    await video.play();
  } catch (error) {
    if (mine !== turn) return;
    const reasons = { NotAllowedError: "it was not allowed", NotFoundError: "there is none" };
    refuse(`No camera: ${reasons[error.name] ?? error.message}.`);
    return;
  }
  if (mine !== turn) return;
  show("video");
  at("camera").textContent = "Stop camera";
  const kept = classifiers.map(() => []);
  let heard = 0;
  while (mine === turn && stream) {
    const canvas = drawn(video, video.videoWidth, video.videoHeight);
    const answers = await sideBySide(classifiers, pixelsOf(canvas), { rounds: 1 });
    if (mine !== turn) return;
    answers.forEach((answer, place) => {
      kept[place] = [...kept[place].slice(1 - FRAMES), answer.milliseconds];
      answer.milliseconds = median(kept[place]);
      answer.runs = kept[place].length;
    });
    showAnswers(answers);
    // Said at most every two seconds: it is read aloud to some.
    if (performance.now() - heard > 2000) {
      say(sentence(answers));
      heard = performance.now();
    }
    await drawnPage();
  }
}

function stopCamera() {
  if (!stream) return;
  const video = at("video");
  // The last frame stays, since the answer beside it is its.
  if (video.videoWidth) preview(drawn(video, video.videoWidth, video.videoHeight));
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  video.srcObject = null;
  at("camera").textContent = "Use camera";
}

function listen() {
  const chosen = (list) => {
    const file = [...(list ?? [])][0];
    if (file) classify(file, file.name);
  };
  at("file").addEventListener("change", (event) => {
    chosen(event.target.files);
    // The same file can be chosen again.
    event.target.value = "";
  });
  at("camera").addEventListener("click", () => {
    if (stream) {
      turn++;
      stopCamera();
    } else {
      startCamera();
    }
  });
  // For mice; the button beside it is for all.
  at("stage").addEventListener("click", () => {
    if (!stream) at("file").click();
  });
  document.addEventListener("paste", (event) => chosen(event.clipboardData?.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    at("stage").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) at("stage").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    at("stage").classList.remove("over");
    chosen(event.dataTransfer.files);
  });
}

function introduce() {
  const { labels } = about;
  document.title = about.title;
  at("title").textContent = about.title;
  const some = labels.slice(0, labels.length > 12 ? 11 : 12).join(", ");
  const named = labels.length > 12 ? `${some} and ${labels.length - 11} more` : some;
  at("about").textContent = `Recognizes ${named}. The models run in this browser. No picture leaves it.`;
  const measured = classifiers.filter(({ model }) => model.accuracy);
  const notes = [
    ...measured.map(({ name, model }) => `${name}: ${model.accuracy}.`),
    "They always give one of their classes, also for a picture of something else.",
    `${about.runtime}, WebAssembly, one thread. Times are measured on this device, for the model only.`,
  ];
  at("facts").replaceChildren(...notes.map((note) => make("li", note)));
  showAnswers(classifiers.map(() => ({})));
}

async function main() {
  try {
    about = await facts();
    await start();
    classifiers = [];
    for (const model of about.models) classifiers.push(await Classifier.load(model, about));
  } catch (error) {
    say("The models could not be loaded.");
    refuse(error.message);
    return;
  }
  introduce();
  // The first run of a model is slower: it is not one that anybody waits for, nor one that is timed.
  await sideBySide(classifiers, new Uint8Array(classifiers[0].shape.reduce((a, b) => a * b)), { rounds: 3 });
  listen();
  at("file").disabled = false;
  at("camera").disabled = false;
  say("Ready for a picture");
}

main();
