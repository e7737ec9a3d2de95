// clang from npm, for WebAssembly only, as a compiler on the command line: node cc.mjs -c x.c -o x.o
//
// It runs in node and sees no files but those given to it: the sources and objects below this folder.

import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { argv, cwd, env, exit } from "node:process";
import { pathToFileURL } from "node:url";

const require = createRequire(resolve(env.TOOLS ?? ".tools", "clang", "package.json"));
const { commands, Exit } = await import(pathToFileURL(require.resolve("@yowasp/clang")));

const READ = /\.(c|h|o)$/;
const SKIPPED = new Set(["node_modules", "data"]);

const args = argv.slice(2);
const out = args[args.indexOf("-o") + 1];

async function tree(folder) {
  const files = {};
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const { name } = entry;
    // A file that is there already would be given back in the place of the one that is made.
    if (join(folder, name) === resolve(out)) continue;
    if (entry.isDirectory() && !name.startsWith(".") && !SKIPPED.has(name)) {
      files[name] = await tree(join(folder, name));
    } else if (entry.isFile() && READ.test(name)) {
      files[name] = await readFile(join(folder, name));
    }
  }
  return files;
}

// How far it has read its own files is not worth a line.
const log = console.log;
console.log = (...words) => /: fetched \d+%/.test(words[0]) || log(...words);

await mkdir(dirname(out), { recursive: true });
try {
  const made = await commands.clang(args, await tree(cwd()));
  await writeFile(out, out.split("/").reduce((files, name) => files[name], made));
} catch (error) {
  if (!(error instanceof Exit)) throw error;
  exit(error.code);
}
