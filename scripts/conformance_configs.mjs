// Run Transformers.js' image processors: `node conformance_configs.mjs JOB.json`, called by conformance_configs.py.
// What each config makes of its image, the size and sha256 of pixel_values or an error, goes to results.json.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { work, models, pairs, out } = JSON.parse(readFileSync(process.argv[2]));
const require = createRequire(join(work, "package.json"));
const { AutoProcessor, env, RawImage } = require("@huggingface/transformers");
env.localModelPath = models;
env.allowRemoteModels = false;
console.warn = () => {}; // "Resampling method box is not yet supported"

const results = [];
for (const { model, image } of pairs) {
  try {
    const processor = await AutoProcessor.from_pretrained(model);
    const { pixel_values } = await processor([await RawImage.read(image)]);
    const { buffer, byteOffset, byteLength } = pixel_values.data;
    const sha256 = createHash("sha256").update(Buffer.from(buffer, byteOffset, byteLength)).digest("hex");
    results.push({ shape: pixel_values.dims, sha256 });
  } catch (error) {
    results.push({ error: `${error}` });
  }
}
writeFileSync(out, JSON.stringify(results));
