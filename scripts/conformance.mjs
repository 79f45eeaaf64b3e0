// Run Transformers.js over images: `node conformance.mjs JOB.json`, called by conformance.py. For every image the
// mask goes to OUT/INDEX.mask as raw bytes, and what became of it on the way to OUT/results.json.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { work, models, model, dtype, images, out } = JSON.parse(readFileSync(process.argv[2]));
const require = createRequire(join(work, "package.json"));
const { env, pipeline, RawImage } = require("@huggingface/transformers");
env.localModelPath = models;
env.allowRemoteModels = false;

const bytes = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength);
const sha256 = (array) => createHash("sha256").update(bytes(array)).digest("hex");
const shape = ({ width, height, channels }) => [width, height, channels];

// 4.x refuses the repository's own model_type; `config` replaces it.
const segmenter = await pipeline("image-segmentation", model, { device: "cpu", dtype, config: { model_type: "isnet" } });
const results = [];
for (const [i, path] of images.entries()) {
  try {
    const image = await RawImage.read(path);
    const decoded = { shape: shape(image), sha256: sha256(image.data) };
    const { pixel_values } = await segmenter.processor([image.clone()]);
    const [{ mask }] = await segmenter(path);
    writeFileSync(join(out, `${i}.mask`), bytes(mask.data));
    results.push({ decoded, pixel_values: sha256(pixel_values.data), mask: shape(mask) });
  } catch (error) {
    results.push({ error: `${error}` });
  }
  console.log(`Transformers.js: ${i + 1} of ${images.length}`);
}
await segmenter.dispose();
writeFileSync(join(out, "results.json"), JSON.stringify({ version: env.version, results }));
