// Make the calls of tests/conformance/option_table.py in Transformers.js: `node conformance_options.mjs JOB.json`, called
// by conformance.py. What came of each goes to OUT: {call: {ok: description} or {error: text}}.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { work, models, id, files, calls, out } = JSON.parse(readFileSync(process.argv[2]));
const require = createRequire(join(work, "package.json"));
const { env, pipeline, RawImage } = require("@huggingface/transformers");
env.localModelPath = models;
env.allowRemoteModels = false;

const load = (task, options = {}) => pipeline(task, id, { config: { model_type: "isnet" }, ...options });
const file_of = async (options) => {
  const names = [];
  const progress_callback = ({ status, file }) => status === "initiate" && names.push(file);
  await load("image-segmentation", { progress_callback, ...options });
  return names.find((name) => name.endsWith(".onnx"));
};
const read = (path) => readFileSync(path);
const data_url = (path) => `data:image/png;base64,${read(path).toString("base64")}`;

function describe(value) {
  if (value instanceof RawImage) return `image ${value.width}×${value.height}×${value.channels}`;
  if (typeof value === "function") return "a pipeline";
  if (Array.isArray(value)) return `[${value.map(describe).join(", ")}]`;
  if (value && typeof value === "object")
    return `{${Object.entries(value).map(([key, item]) => `${key}: ${describe(item)}`).join(", ")}}`;
  return value == null ? "null" : `${value}`;
}

const AsyncFunction = (async () => {}).constructor;
const names = { RawImage, data_url, file_of, files, id, load, pipeline, read };
const results = {};
for (const call of calls) {
  try {
    for (const [name, task] of [["segmenter", "image-segmentation"], ["remover", "background-removal"]])
      if (call.includes(name)) names[name] = await load(task);
    const made = new AsyncFunction(...Object.keys(names), `return ${call}`);
    results[call] = { ok: describe(await made(...Object.values(names))) };
  } catch (error) {
    results[call] = { error: `${error}` };
  }
}
writeFileSync(out, JSON.stringify(results));
