// Run Transformers.js' pipelines on folders as they are: `node conformance_folders.mjs JOB.json`, called by
// conformance_folders.py. The sha256 of each mask, or an error, goes to results.json.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { work, models, task, names, image, out } = JSON.parse(readFileSync(process.argv[2]));
const require = createRequire(join(work, "package.json"));
const { env, pipeline } = require("@huggingface/transformers");
env.localModelPath = models;
env.allowRemoteModels = false;

const results = [];
for (const name of names) {
  try {
    const run = await pipeline(task, name, { device: "cpu", dtype: "fp32" });
    const result = [await run(image)].flat()[0];
    const mask = result.mask ? result.mask.data : result.data.filter((_, i) => i % 4 === 3);
    results.push(createHash("sha256").update(mask).digest("hex"));
    await run.dispose();
  } catch (error) {
    results.push(`error: ${error.message}`);
  }
}
writeFileSync(out, JSON.stringify(results));
