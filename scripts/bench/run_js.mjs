// Worker: Transformers.js or imgly's package, on Node. `node run_js.mjs JOB.json`, where the job says which, and where
// it is installed; speaks the same JSON lines as protocol.py. `node run_js.mjs JOB.json INPUT OUTPUT`, where the job
// says `once`: one image, then exit.
import { readFileSync, writeFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const job = JSON.parse(readFileSync(process.argv[2]));
const require = createRequire(join(job.folder, "package.json"));
const say = (answer) => writeSync(1, JSON.stringify(answer) + "\n");
const quiet = (...words) => writeSync(2, words.join(" ") + "\n");
console.log = console.info = console.warn = quiet;
const versionOf = (name) => {
  const path = join(job.folder, "node_modules", name, "package.json");
  return JSON.parse(readFileSync(path)).version;
};

async function transformers() {
  const { env, pipeline } = require("@huggingface/transformers");
  env.localModelPath = job.models;
  env.allowRemoteModels = false;
  const options = { intraOpNumThreads: job.threads };
  // 4.x refuses the repository's own model_type; `config` replaces it.
  const remover = await pipeline("background-removal", job.model, {
    device: "cpu", dtype: "fp32", config: { model_type: "isnet" }, session_options: options,
  });
  return async (input, output) => {
    const [image] = [await remover(input)].flat();
    await image.save(output);
  };
}

async function imgly() {
  const { removeBackground } = require("@imgly/background-removal-node");
  const dist = dirname(require.resolve("@imgly/background-removal-node"));
  const config = { publicPath: `${pathToFileURL(dist)}/`, model: "medium", output: { format: "image/png" } };
  return async (input, output) => {
    const blob = await removeBackground(`${pathToFileURL(input)}`, config);
    writeFileSync(output, Buffer.from(await blob.arrayBuffer()));
  };
}

const packages = { transformers: "@huggingface/transformers", imgly: "@imgly/background-removal-node" };
const cutout = await { transformers, imgly }[job.which]();
if (job.once) {
  await cutout(process.argv[3], process.argv[4]);
  process.exit(0);
}
const versions = { node: process.version };
for (const name of [packages[job.which], "onnxruntime-node", "sharp"]) versions[name] = versionOf(name);
say({ ready: true, versions });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line), start = performance.now();
  try {
    const inputs = request.op === "folder" ? request.inputs : [request.input];
    for (const input of inputs) {
      const name = `${basename(input).replace(/\.[^.]*$/, "")}.png`;
      await cutout(input, request.op === "folder" ? join(request.output, name) : request.output);
    }
    say({ seconds: (performance.now() - start) / 1000 });
  } catch (error) {
    say({ error: `${error}` });
  }
}
